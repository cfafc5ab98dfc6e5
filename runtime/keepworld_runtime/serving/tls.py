"""Encrypted connections, whose certificates can be replaced while they are served."""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import grpc

from keepworld_runtime.config import TlsFiles

logger = logging.getLogger(__name__)

Read = TypeVar("Read")
Stamps = tuple[tuple[int, int, int], ...]


def credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """What a port needs to encrypt; files that change are taken up by the next connection, and never half of them.

    Raises:
        ValueError: a file cannot be read, or they do not belong together.
    """
    rotation = Rotation(files)
    return grpc.dynamic_ssl_server_credentials(
        rotation.current,
        rotation.fetch,  # type: ignore[arg-type]  # None says that nothing has changed; the stubs do not know
        require_client_authentication=files.client_ca is not None,
    )


class Rotation:
    """The certificates being served, and those that took their place in the files.

    A connection that is open keeps what it began with.

    Raises:
        ValueError: a file cannot be read, or they do not belong together.
    """

    def __init__(self, files: TlsFiles) -> None:
        assert files.cert and files.key
        self._cert, self._key, self._client_ca = files.cert, files.key, files.client_ca
        self._stamps = self._stamp()
        self.current = self._read()

    def fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """What the next connection takes instead, None if nothing has changed; gRPC asks from threads of its own."""
        try:
            stamps = self._stamp()
            if stamps == self._stamps:
                return None
            fresh = self._read()
            if self._stamp() != stamps:
                raise ValueError("they are being written")
        except ValueError as error:
            # One of two files has been written so far: the old ones serve until they belong together.
            logger.warning("certificates unchanged: %s", error)
            return None
        self._stamps = stamps
        logger.info("certificates replaced")
        return fresh

    def _paths(self) -> list[tuple[str, Path]]:
        named = (("tls.cert", self._cert), ("tls.key", self._key), ("tls.client_ca", self._client_ca))
        return [(name, path) for name, path in named if path is not None]

    def _stamp(self) -> Stamps:
        stats: list[os.stat_result] = [_from_file(name, path.stat) for name, path in self._paths()]
        return tuple((each.st_mtime_ns, each.st_size, each.st_ino) for each in stats)

    def _read(self) -> grpc.ServerCertificateConfiguration:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self._cert, self._key, password=_no_password)
        except (OSError, ValueError):
            raise ValueError(
                "tls.cert and tls.key must be a certificate and its key without a password, in PEM"
            ) from None
        try:
            if self._client_ca:
                context.load_verify_locations(self._client_ca)
        except OSError:
            raise ValueError("tls.client_ca must be certificates in PEM") from None
        contents = {name: _from_file(name, path.read_bytes) for name, path in self._paths()}
        pair = (contents["tls.key"], contents["tls.cert"])
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=contents.get("tls.client_ca"))


def _from_file(name: str, read: Callable[[], Read]) -> Read:
    try:
        return read()
    except OSError as error:
        raise ValueError(f"{name} cannot be read: {error.strerror}") from None


def _no_password() -> str:
    """Instead of asking for one on a terminal."""
    raise ValueError("the key has a password")
