"""How a server is run: read once, from a TOML file and the command line."""

from __future__ import annotations

import ipaddress
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from keepworld_runtime.engine.group import Patience
from keepworld_runtime.families import FAMILIES, PROCEDURAL, Chosen
from keepworld_runtime.families.family import FamilyOptions
from keepworld_runtime.logs import FORMATS as LOG_FORMATS
from keepworld_runtime.serving.exports.limits import ExportLimits

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


@dataclass(frozen=True, kw_only=True, slots=True)
class TlsFiles:
    """Where the PEM files of encrypted connections lie; read again when they change.

    Attributes:
        cert: the server's certificate, with those that vouch for it; None: connections are not encrypted.
        key: its private key.
        client_ca: who vouches for clients; None: clients need no certificate.

    Raises:
        ValueError: some are given without others.
    """

    cert: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None

    def __post_init__(self) -> None:
        if bool(self.cert) != bool(self.key):
            raise ValueError("tls.cert and tls.key belong together: give both, or neither")
        if self.client_ca and not self.cert:
            raise ValueError("tls.client_ca needs tls.cert and tls.key beside it")


_Table = Patience | FamilyOptions | TlsFiles | ExportLimits
_TABLES: Mapping[str, type[_Table]] = {
    "patience": Patience,
    "options": FamilyOptions,
    "tls": TlsFiles,
    "export": ExportLimits,
}
_PATHS = ("checkpoint", "cert", "key", "client_ca", "keys", "journal", "exports")


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
        log_format: "text", or "json" for one object a line.
        metrics_port: where Prometheus can read; 0: nowhere.
        metrics_host: the address of that port.
        reflection: whether the server describes its services to those who ask.
        tls: how connections are encrypted.
        keys: the file of the keys that callers need; None: they need none.
        journal: the folder that all that happens is kept in, so that sessions outlive the server; None: they do not.
        journal_blobs: where what is big in it goes instead, as a URL that fsspec knows, such as s3://bucket/walks.
        exports: the folder for captures and exports, so that they outlive the server; None: a folder in the journal's, or a
            temporary one without it.
        export: what exports may take.
        insecure: whether to listen beyond this machine although connections are not encrypted, or callers not known.
        chunk_floor_s: no chunk is given up before this.
        patience: how long a worker may take.
        ranks: how many processes draw each chunk together.
        options: how the one family that takes them is run: a checkpoint, a device and so on.

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
    log_format: str = "text"
    metrics_port: int = 0
    metrics_host: str = "127.0.0.1"
    reflection: bool = True
    tls: TlsFiles = field(default_factory=TlsFiles)
    keys: Path | None = None
    journal: Path | None = None
    journal_blobs: str = ""
    exports: Path | None = None
    export: ExportLimits = field(default_factory=ExportLimits)
    insecure: bool = False
    chunk_floor_s: float = 20.0
    patience: Patience = field(default_factory=Patience)
    ranks: int = 1
    options: FamilyOptions = field(default_factory=FamilyOptions)

    def __post_init__(self) -> None:
        if not 0 <= self.port < 65536:
            raise ValueError(f"port must be in [0, 65535], got {self.port}")
        for name in ("max_sessions", "idle_s", "dead_man_s", "chunk_floor_s", "ranks"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.threads < 0:
            raise ValueError(f"threads must be 0 (all cores) or more, got {self.threads}")
        if self.log_level not in LOG_LEVELS:
            raise ValueError(f"log_level must be one of {', '.join(LOG_LEVELS)}, got {self.log_level!r}")
        if self.log_format not in LOG_FORMATS:
            raise ValueError(f"log_format must be one of {', '.join(LOG_FORMATS)}, got {self.log_format!r}")
        if not 0 <= self.metrics_port < 65536:
            raise ValueError(f"metrics_port must be in [0, 65535], got {self.metrics_port}")
        if not self.families:
            raise ValueError("families must name at least one")
        if not self.insecure and not _is_loopback(self.host):
            reached = f"host {self.host!r} can be reached from other machines, and"
            if not self.tls.cert:
                raise ValueError(
                    f"{reached} connections are not encrypted: give tls.cert and tls.key, or say insecure to accept that"
                )
            if not self.keys and not self.tls.client_ca:
                raise ValueError(
                    f"{reached} anyone may call: give keys or tls.client_ca, or say insecure to accept that"
                )
        single = sorted(self.chosen.keys() & PROCEDURAL)
        if self.ranks > 1 and single:
            raise ValueError(f"ranks must be 1 for {', '.join(single)}, which draws in one process, got {self.ranks}")

    @property
    def chosen(self) -> dict[str, Chosen]:
        """The families to be served, by name; `options` go to the one that takes them."""
        modules = {}
        for entry in self.families:
            name, _, module = entry.partition("=")
            if not module and name not in FAMILIES:
                raise ValueError(f"unknown family {name!r}; known: {', '.join(FAMILIES)}")
            modules[name] = module or FAMILIES[name]
        takers = [name for name in modules if name not in PROCEDURAL] or list(modules)
        if self.options.given and len(takers) > 1:
            raise ValueError(
                f"{', '.join(self.options.given)}: it is not clear whether {' or '.join(takers)} is meant; "
                "serve them by a server each"
            )
        return {
            name: Chosen(module=module, options=self.options if name in takers else FamilyOptions())
            for name, module in modules.items()
        }


def read(path: Path | None, overrides: Mapping[str, Any]) -> ServerConfig:
    """Read a TOML file, if there is one, and let `overrides` win; those within a table have dotted keys.

    Raises:
        ValueError: the file is not TOML, a key is unknown, or a setting is out of its range.
    """
    values = tomllib.loads(path.read_text()) if path else {}
    for table in _TABLES:
        if not isinstance(values.get(table, {}), dict):
            raise ValueError(f"{table} must be a table, got {values[table]!r}")
    for name, value in overrides.items():
        table, dot, key = name.partition(".")
        if dot:
            values.setdefault(table, {})[key] = value
        else:
            values[name] = value
    _check_known(values, ServerConfig)
    if "families" in values:
        values["families"] = tuple(values["families"])
    for table, kind in _TABLES.items():
        if table in values:
            _check_known(values[table], kind, prefix=f"{table}.")
            values[table] = kind(**_typed(values[table]))
    return ServerConfig(**_typed(values))


def _check_known(values: Mapping[str, Any], kind: type[ServerConfig | _Table], prefix: str = "") -> None:
    known = {each.name for each in fields(kind)}
    unknown = sorted(values.keys() - known)
    if unknown:
        raise ValueError(
            f"unknown settings: {', '.join(prefix + name for name in unknown)}; "
            f"known: {', '.join(prefix + name for name in sorted(known))}"
        )


def _typed(values: Mapping[str, Any]) -> dict[str, Any]:
    """TOML has neither paths nor tuples."""
    typed = dict(values)
    for name in _PATHS:
        if isinstance(typed.get(name), str):
            typed[name] = Path(typed[name])
    if isinstance(typed.get("kernels"), list):
        typed["kernels"] = tuple(typed["kernels"])
    return typed


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
