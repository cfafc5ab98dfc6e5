"""Certificates for tests, made by openssl: an authority, and what it vouches for."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

OPENSSL = shutil.which("openssl")
CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")


@dataclass(frozen=True)
class Pair:
    cert: Path
    key: Path

    def put(self, cert: Path, key: Path) -> None:
        """Take the place of the files that a server reads."""
        shutil.copy(self.key, key)
        shutil.copy(self.cert, cert)

    def bytes(self) -> tuple[bytes, bytes]:
        return self.key.read_bytes(), self.cert.read_bytes()


def _request(folder: Path, name: str, *more: str) -> Pair:
    if OPENSSL is None:
        pytest.skip("openssl is not installed")
    pair = Pair(folder / f"{name}.pem", folder / f"{name}.key")
    command = (OPENSSL, "req", "-x509", *CURVE, "-subj", f"/CN={name}", "-keyout", pair.key, "-out", pair.cert, *more)
    subprocess.run(command, check=True, capture_output=True)
    return pair


def authority(folder: Path, name: str) -> Pair:
    return _request(folder, name)


def vouched_for(folder: Path, name: str, ca: Pair, hosts: str = "DNS:localhost,IP:127.0.0.1") -> Pair:
    """A certificate of this machine, or of other hosts, signed by an authority."""
    here = f"subjectAltName={hosts}"
    leaf = ("-addext", here, "-addext", "basicConstraints=critical,CA:FALSE")
    return _request(folder, name, "-CA", str(ca.cert), "-CAkey", str(ca.key), *leaf)
