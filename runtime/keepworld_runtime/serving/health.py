"""grpc.health.v1: the server as a whole, its service, and each family."""

from __future__ import annotations

from collections.abc import Iterable

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

SERVICE = "keepworld.v1.WorldService"


class Health:
    """Says SERVING while the families are loaded and the server is not stopping."""

    def __init__(self, families: Iterable[str]) -> None:
        self._servicer = HealthServicer()
        self._names = ("", SERVICE, *(f"keepworld.family.{name}" for name in families))

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serve health on a server."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def set_serving(self, is_serving: bool) -> None:
        """Tell everyone who asks or watches."""
        status = health_pb2.HealthCheckResponse
        for name in self._names:
            await self._servicer.set(name, status.SERVING if is_serving else status.NOT_SERVING)
