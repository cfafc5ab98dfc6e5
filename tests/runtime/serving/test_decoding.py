"""Bytes that are no message: refused as the caller's mistake, whatever kind the call is, and counted."""

import grpc
import pytest

from tests.runtime.serving.client import error_info, serving
from tests.runtime.serving.test_metrics import free_port, scrape

WORLDS, ASSETS = "/keepworld.v1.WorldService/", "/keepworld.v1.AssetService/"
JUNK = b"\xff\xff\xff\xff"


async def refused(call) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value


@pytest.mark.parametrize(
    "junk", [JUNK, b"\x0a\xff", b"\x12\x02\xc3\x28"], ids=["no tag", "cut off", "a string that is not UTF-8"]
)
async def test_each_kind_of_call_refuses_what_it_cannot_read(junk):
    port = free_port()
    async with serving(metrics_port=port) as (server, _):
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            errors = [
                await refused(channel.unary_unary(WORLDS + "CreateSession")(junk)),
                await refused(channel.stream_unary(ASSETS + "UploadAsset")(iter([junk]))),
                await refused(channel.stream_stream(WORLDS + "StreamSession")(iter([junk])).read()),
                await refused(channel.unary_stream(WORLDS + "GetJournal")(junk).read()),
            ]
        text = scrape(port)
    assert {error.code() for error in errors} == {grpc.StatusCode.INVALID_ARGUMENT}
    assert {error_info(error.trailing_metadata()).reason for error in errors} == {"INVALID_FIELD"}
    assert not [error for error in errors if "Error" in (error.details() or "")]  # no class of ours is named
    assert 'keepworld_refusals_total{reason="INVALID_FIELD"} 4.0' in text


async def test_a_method_that_nobody_has_written_is_unimplemented():
    async with serving() as (server, _), grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        error = await refused(channel.unary_unary("/grpc.health.v1.Health/List")(b""))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
