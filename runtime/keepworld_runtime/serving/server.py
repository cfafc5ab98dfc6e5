"""The server: engine, worker, gRPC, from binding the port to letting go of the last reader."""

from __future__ import annotations

import asyncio
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection
from keepworld import keepalive
from keepworld.v1 import asset_service_pb2_grpc, export_service_pb2_grpc, world_service_pb2_grpc

from keepworld_runtime.config import ServerConfig
from keepworld_runtime.engine.engine import Engine
from keepworld_runtime.engine.group import LocalGroup
from keepworld_runtime.engine.limits import Limits
from keepworld_runtime.engine.worker import WorkerSetup
from keepworld_runtime.families.family import Capabilities
from keepworld_runtime.journal.blobs import MemoryBlobs, StoredBlobs
from keepworld_runtime.journal.journal import Journal
from keepworld_runtime.serving import metrics, tls, tracing
from keepworld_runtime.serving.assets import AssetLimits, AssetStore
from keepworld_runtime.serving.decoding import DecodeInterceptor
from keepworld_runtime.serving.exports.metrics import OperationCollector
from keepworld_runtime.serving.exports.runner import Exports
from keepworld_runtime.serving.exports.servicer import ExportServicer
from keepworld_runtime.serving.exports.store import OperationStore
from keepworld_runtime.serving.guard import Guard
from keepworld_runtime.serving.health import SERVICE, Health
from keepworld_runtime.serving.interceptors import ErrorInterceptor
from keepworld_runtime.serving.keys import KeyFile
from keepworld_runtime.serving.owners import Owners
from keepworld_runtime.serving.servicer import WorldServicer
from keepworld_runtime.serving.unfinished import Unfinished
from keepworld_runtime.serving.uploads import AssetServicer
from keepworld_runtime.serving.watch import Watcher, WatchInterceptor

logger = logging.getLogger(__name__)

ASSET_SERVICE = "keepworld.v1.AssetService"
EXPORT_SERVICE = "keepworld.v1.ExportService"
MAX_RECEIVE_BYTES = 4 << 20
MIN_PING_MS = int(keepalive.SERVER_MIN_PING_S * 1000)  # more often than this is refused with ENHANCE_YOUR_CALM
_MAX_CALLS = 4096  # at once, streams included
# What one connection may cost: beyond these it is refused the call, or closed.
_BOUNDS = (
    ("grpc.max_metadata_size", 16 << 10),
    ("grpc.absolute_max_metadata_size", 32 << 10),
    ("grpc.max_concurrent_streams", 1024),
    ("grpc.http2.max_ping_strikes", 2),
    ("grpc.server_handshake_timeout_ms", 10_000),
)
DRAIN_S = 5.0
_STOP_S = 1.0
_MEMORY_BYTES = 4 << 30  # of a journal in memory, beside its records
_BYTES_PER_PIXEL = 9  # colour 3, depth 4, labels 1, confidence 1
_ROOM_BYTES = 1 << 20  # for what a message has beside pixels, and for pixels that do not compress


class Server:
    """A keepworld server.

    Attributes:
        port: the one it listens on, once started.
        failed: done, with an exception, when the workers cannot be brought to life any more.

    Raises:
        ValueError: a family cannot be run as asked, or a certificate, the file of keys or the journal cannot be used.
    """

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        families = {name: chosen.make() for name, chosen in config.chosen.items()}
        self._capabilities = [family.capabilities for family in families.values()]
        self._limits = Limits(max_sessions=config.max_sessions, idle_s=config.idle_s, dead_man_s=config.dead_man_s)
        self._credentials = tls.credentials(config.tls) if config.tls.cert else None
        self._keys = KeyFile(config.keys) if config.keys else None
        self._families = families
        self._journal = journal_in(config.journal, config.journal_blobs)
        limits = AssetLimits()
        self.assets, self.unfinished = AssetStore(limits), Unfinished(limits.kept_s, limits.max_assets)
        self._operations = operations_in(config)
        self.port = 0

    async def start(self) -> None:
        """Bind, answer, and begin to load the families.

        Raises:
            OSError: the port cannot be had.
        """
        config = self._config
        setup = WorkerSetup(
            families=config.chosen,
            num_threads=config.threads or os.cpu_count() or 1,
            num_ranks=config.ranks,
            slot_bytes=frame_bytes(self._capabilities),
            log_level=config.log_level,
            log_format=config.log_format,
        )
        self.group = LocalGroup(setup, config.patience)
        owners = Owners(self._keys.connection) if self._keys else None
        self.engine = Engine(
            self._families,
            self.group,
            self._journal,
            self._limits,
            chunk_floor_s=config.chunk_floor_s,
            warm_s=config.patience.warm_s,
            tenant_of=owners.tenant if owners else lambda _: None,
        )
        self._threads = ThreadPoolExecutor(max(2, os.cpu_count() or 1), thread_name_prefix="pictures")
        self.exports = Exports(self.engine, self._operations, self._threads)
        self._health = Health(self._families)
        self._metrics = metrics.of_engine(self.engine, self.group)
        self._metrics.registry.register(OperationCollector(self._operations))
        self._guard = Guard(self._keys, owners, self.engine) if self._keys and owners else None
        self._server = self._grpc_server()
        self.port = self._listen()
        self._scraped = self._metrics.serve(config.metrics_host, config.metrics_port) if config.metrics_port else None
        await self._health.set_serving(False)
        await self.engine.bring_back()
        await self._server.start()
        self.failed = asyncio.create_task(self.engine.run())
        self._announcing = asyncio.create_task(self._announce())
        self._exporting = asyncio.create_task(self.exports.run())
        self._sweeping = asyncio.create_task(self._guard.run()) if self._guard else None

    async def ready(self) -> None:
        """Wait until the families are loaded.

        Raises:
            GroupLostError, LoadFailedError: they cannot be.
        """
        ready = asyncio.create_task(self.engine.ready.wait())
        await asyncio.wait((ready, self.failed), return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if self.failed.done():
            self.failed.result()

    async def stop(self, grace_s: float = DRAIN_S) -> None:
        """Tell every reader, let them have what was made, and end the worker."""
        self._announcing.cancel()
        await self._health.set_serving(False)
        self._exporting.cancel()
        await self.exports.stop()
        await self.engine.drain(grace_s)
        await self._server.stop(_STOP_S)
        self.failed.cancel()
        await asyncio.gather(self.failed, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._sweeping:
            self._sweeping.cancel()
        if self._keys:
            self._keys.close()
        if self._scraped:
            self._scraped.close()

    async def _announce(self) -> None:
        await self.engine.ready.wait()
        await self._health.set_serving(True)

    def _listen(self) -> int:
        address = f"{self._config.host}:{self._config.port}"
        try:
            if self._credentials:
                return self._server.add_secure_port(address, self._credentials)
            return self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}") from error

    def _watchers(self) -> list[Watcher]:
        watchers: list[Watcher] = [self._metrics] if self._config.metrics_port else []
        return [*watchers, tracing.Traces()] if tracing.is_available() else watchers

    def _grpc_server(self) -> grpc.aio.Server:
        server = grpc.aio.server(
            interceptors=[
                ErrorInterceptor(),
                WatchInterceptor(self._watchers()),
                DecodeInterceptor(),
                *((self._guard,) if self._guard else ()),
            ],
            options=[
                ("grpc.so_reuseport", 0),  # two servers on one port would each get half of the calls
                ("grpc.max_receive_message_length", MAX_RECEIVE_BYTES),
                ("grpc.max_send_message_length", frame_bytes(self._capabilities) + _ROOM_BYTES),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", MIN_PING_MS),
                *_BOUNDS,
            ],
            maximum_concurrent_rpcs=_MAX_CALLS,
        )
        worlds = WorldServicer(self.engine, self.assets, self._operations.limits, self._threads)
        assets = AssetServicer(self.assets, self.unfinished, self._operations, self._threads)
        exports = ExportServicer(self.engine, self.exports)
        world_service_pb2_grpc.add_WorldServiceServicer_to_server(worlds, server)
        asset_service_pb2_grpc.add_AssetServiceServicer_to_server(assets, server)
        export_service_pb2_grpc.add_ExportServiceServicer_to_server(exports, server)
        self._health.add_to(server)
        if self._config.reflection:
            names = (
                SERVICE,
                ASSET_SERVICE,
                EXPORT_SERVICE,
                health_pb2.DESCRIPTOR.services_by_name["Health"].full_name,
                reflection.SERVICE_NAME,
            )
            reflection.enable_server_reflection(names, server)
        return server


def journal_in(folder: Path | None, blobs: str) -> Journal:
    """The journal in a folder, what is big in it at another place if `blobs` names one; without a folder: in memory.

    Raises:
        ValueError: it cannot be opened.
    """
    if folder is None:
        return Journal(None, MemoryBlobs(_MEMORY_BYTES))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return Journal(folder / "journal.sqlite", StoredBlobs(blobs or (folder / "blobs").absolute().as_uri()))
    except OSError as error:
        raise ValueError(f"the journal cannot be kept: {error.strerror or error}") from None


def operations_in(config: ServerConfig) -> OperationStore:
    """The operations of a server.

    Raises:
        ValueError: they cannot be kept.
    """
    folder = config.exports or (config.journal / "exports" if config.journal else None)
    try:
        return OperationStore(folder, config.export)
    except OSError as error:
        raise ValueError(f"exports cannot be kept: {error.strerror or error}") from None


def frame_bytes(capabilities: list[Capabilities]) -> int:
    """The most that one uncompressed frame of any family takes."""
    return max(family.max_pixels for family in capabilities) * _BYTES_PER_PIXEL
