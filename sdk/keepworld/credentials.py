"""How a client shows who it is, and how it knows the server for the one it wants."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self  # Any: a wrapped call is passed through as gRPC has it
from urllib.parse import urlsplit

import grpc
import grpc.aio

_MAX_KEY_CHARS = 512


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is.

    Attributes:
        target: host and port.
        is_encrypted: whether it was written grpcs://.
    """

    target: str
    is_encrypted: bool

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read "grpc://host:port", "grpcs://host:port" or "host:port".

        Raises:
            ValueError: it is none of these.
        """
        parts = urlsplit(text if "://" in text else f"grpc://{text}")
        try:
            is_whole = parts.scheme in ("grpc", "grpcs") and bool(parts.hostname) and parts.port is not None
        except ValueError:  # the port is not a number
            is_whole = False
        if not is_whole or parts.path.strip("/") or parts.query or parts.username:
            raise ValueError(f"address must look like grpc://host:port or grpcs://host:port, got {text!r}")
        return cls(parts.netloc, parts.scheme == "grpcs")

    @property
    def is_this_machine(self) -> bool:
        """Whether nobody between could listen in."""
        host = urlsplit(f"//{self.target}").hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """What a client shows and trusts.

    Attributes:
        api_key: sent with every call; None: no key.
        root_certificates: a PEM file of who vouches for the server; None: whom gRPC trusts.
        client_certificate: PEM files of the client's certificate and its key, where the server wants one.

    Raises:
        ValueError: the key cannot be one.
    """

    api_key: str | None = field(default=None, repr=False)
    root_certificates: str | Path | None = None
    client_certificate: tuple[str | Path, str | Path] | None = None

    def __post_init__(self) -> None:
        key = self.api_key
        if key is not None and not (0 < len(key) <= _MAX_KEY_CHARS and key.isascii() and key.isprintable()):
            raise ValueError("api_key must be a key as `keepworld keys create` prints it")

    def check(self, address: Address) -> None:
        """See that these go with an address.

        Raises:
            ValueError: certificates would not be looked at, or others could read the key.
        """
        if address.is_encrypted:
            return
        if self.root_certificates is not None or self.client_certificate is not None:
            raise ValueError(f"certificates need an address of grpcs://, got {address.target!r}")
        if self.api_key is not None and not address.is_this_machine:
            raise ValueError(f"a key is sent to other machines by grpcs:// alone, got {address.target!r}")

    def connect(self, address: Address, options: Sequence[tuple[str, int]]) -> grpc.aio.Channel:
        """Open a channel.

        Raises:
            OSError: a certificate cannot be read.
        """
        if not address.is_encrypted:
            return grpc.aio.insecure_channel(address.target, options=options)
        cert, key = self.client_certificate or (None, None)
        encryption = grpc.ssl_channel_credentials(_content(self.root_certificates), _content(key), _content(cert))
        return grpc.aio.secure_channel(address.target, encryption, options=options)

    def carried_by(self, channel: grpc.aio.Channel) -> grpc.aio.Channel:
        """The channel, as stubs take it, with the key in every call."""
        return channel if self.api_key is None else _KeyedChannel(channel, self.api_key)


class _KeyedChannel(grpc.aio.Channel):
    """A channel whose calls carry a key.

    gRPC's own credentials of calls refuse connections that are not encrypted, even within a machine, and its interceptors
    put a queue before every message of a stream.
    """

    def __init__(self, channel: grpc.aio.Channel, key: str) -> None:
        self._channel = channel
        self._shown = (("authorization", f"Bearer {key}"),)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        await self._channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._channel.channel_ready()

    def unary_unary(self, *method: Any, **coding: Any) -> Any:
        return self._keyed(self._channel.unary_unary(*method, **coding))

    def unary_stream(self, *method: Any, **coding: Any) -> Any:
        return self._keyed(self._channel.unary_stream(*method, **coding))

    def stream_unary(self, *method: Any, **coding: Any) -> Any:
        return self._keyed(self._channel.stream_unary(*method, **coding))

    def stream_stream(self, *method: Any, **coding: Any) -> Any:
        return self._keyed(self._channel.stream_stream(*method, **coding))

    def _keyed(self, call: Any) -> Any:
        def keyed(*request: Any, metadata: Sequence[tuple[str, str]] | None = None, **options: Any) -> Any:
            return call(*request, metadata=(*(metadata or ()), *self._shown), **options)

        return keyed


def _content(path: str | Path | None) -> bytes | None:
    return None if path is None else Path(path).read_bytes()
