"""How a server is run: read once, from a TOML file and the command line."""

from __future__ import annotations

import ipaddress
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from keepworld_runtime.engine.group import Patience
from keepworld_runtime.families import FAMILIES

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerConfig:
    """A server's settings.

    Attributes:
        host: address to listen on.
        port: 0 takes any free one.
        families: names out of `families.FAMILIES`, or "name=module" for one from elsewhere.
        threads: for drawing; 0 takes all cores.
        max_sessions: at once.
        idle_s: a session without a stream is closed after this.
        dead_man_s: after this without a live control the camera stands still.
        log_level: of the log on stderr.
        reflection: whether the server describes its services to those who ask.
        insecure: whether to listen beyond this machine although connections are not encrypted.
        chunk_floor_s: no chunk is given up before this.
        patience: how long a worker may take.

    Raises:
        ValueError: a setting is out of its range.
    """

    host: str = "127.0.0.1"
    port: int = 7600
    families: tuple[str, ...] = ("diorama",)
    threads: int = 0
    max_sessions: int = 8
    idle_s: float = 600.0
    dead_man_s: float = 2.0
    log_level: str = "INFO"
    reflection: bool = True
    insecure: bool = False
    chunk_floor_s: float = 20.0
    patience: Patience = field(default_factory=Patience)

    def __post_init__(self) -> None:
        if not 0 <= self.port < 65536:
            raise ValueError(f"port must be in [0, 65535], got {self.port}")
        for name in ("max_sessions", "idle_s", "dead_man_s", "chunk_floor_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.threads < 0:
            raise ValueError(f"threads must be 0 (all cores) or more, got {self.threads}")
        if self.log_level not in LOG_LEVELS:
            raise ValueError(f"log_level must be one of {', '.join(LOG_LEVELS)}, got {self.log_level!r}")
        if not self.families:
            raise ValueError("families must name at least one")
        if not self.insecure and not _is_loopback(self.host):
            raise ValueError(
                f"host {self.host!r} can be reached from other machines, and connections are not encrypted; "
                "say insecure to accept that"
            )
        _ = self.modules

    @property
    def modules(self) -> dict[str, str]:
        """Name of each family -> the module whose `FAMILY` it is."""
        modules = {}
        for entry in self.families:
            name, _, module = entry.partition("=")
            if not module and name not in FAMILIES:
                raise ValueError(f"unknown family {name!r}; known: {', '.join(FAMILIES)}")
            modules[name] = module or FAMILIES[name]
        return modules


def read(path: Path | None, overrides: Mapping[str, Any]) -> ServerConfig:
    """Read a TOML file, if there is one, and let `overrides` win.

    Raises:
        ValueError: the file is not TOML, a key is unknown, or a setting is out of its range.
    """
    values = tomllib.loads(path.read_text()) if path else {}
    known = {each.name for each in fields(ServerConfig)}
    unknown = sorted(values.keys() - known)
    if unknown:
        raise ValueError(f"unknown settings: {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    if "families" in values:
        values["families"] = tuple(values["families"])
    if "patience" in values:
        values["patience"] = _patience(values["patience"])
    return ServerConfig(**{**values, **overrides})


def _patience(values: Mapping[str, float]) -> Patience:
    known = {each.name for each in fields(Patience)}
    unknown = sorted(values.keys() - known)
    if unknown:
        raise ValueError(f"unknown settings: {', '.join('patience.' + name for name in unknown)}")
    return Patience(**values)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
