"""A server with keys, and those who call it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from keepworld.credentials import Credentials
from keepworld.v1 import asset_service_pb2_grpc, export_service_pb2_grpc, world_service_pb2_grpc
from keepworld_runtime.serving.keys import Allowance, KeyFile, Scope

from tests.runtime.serving.client import error_info, serving

CUT_OFF = "Internal error from Core"  # what grpc.aio's client says if a call is answered while it is still writing
OPTIONS = [("grpc.use_local_subchannel_pool", 1)]


class Keys:
    """A file of keys, with one of each kind, and two tenants of whom everybody has the scopes of a walk."""

    def __init__(self, folder) -> None:
        self.now_s = 1e9
        self.file = KeyFile(folder / "keys", clock=lambda: self.now_s, make=True)
        self.ids: dict[str, str] = {}
        self.shown: dict[str, str] = {}
        for name in ("acme", "rival"):
            self.make(name, tenant=name)
        for scope in Scope:
            self.make(scope.value, scopes=(scope,))

    def make(
        self, name: str, tenant: str = "acme", scopes: Any = (Scope.STREAM, Scope.EXPORT), **allowance: Any
    ) -> str:
        lasts_s = allowance.pop("lasts_s", None)
        key, self.shown[name] = self.file.create(tenant, scopes, Allowance(**allowance), lasts_s=lasts_s)
        self.ids[name] = key.id
        return self.shown[name]


@asynccontextmanager
async def guarded(tmp_path, keys: Keys, **settings: Any) -> AsyncIterator[Any]:
    """A server that takes only these keys; its clock for them is the test's."""
    async with serving(keys=tmp_path / "keys", **settings) as (server, _):
        server._keys.clock = keys.file.clock
        yield server


@asynccontextmanager
async def calling(server, shown: str | None) -> AsyncIterator[Any]:
    """A caller who shows a key, or none: a channel and stubs."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options=OPTIONS) as channel:
        carried = Credentials(api_key=shown).carried_by(channel)
        yield SimpleNamespace(
            channel=carried,
            worlds=world_service_pb2_grpc.WorldServiceStub(carried),
            assets=asset_service_pb2_grpc.AssetServiceStub(carried),
            exports=export_service_pb2_grpc.ExportServiceStub(carried),
        )


async def refusal(call) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value.code(), error_info(error.value.trailing_metadata()).reason


async def answered(ask: Callable[[], Any]) -> Any:
    """What a call of several messages comes to; asked again if its answer came while it was still writing."""
    for _ in range(10):
        try:
            return await ask()
        except grpc.aio.AioRpcError as error:
            if error.details() != CUT_OFF:
                raise
    raise AssertionError("the call was never answered")
