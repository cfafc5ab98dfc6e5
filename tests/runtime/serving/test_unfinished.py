"""Uploads that break off are gone on with where they were; what is never finished goes."""

import hashlib
import uuid

import grpc
import pytest
from keepworld import png
from keepworld.v1 import asset_service_pb2, asset_service_pb2_grpc
from keepworld_runtime.serving import server as server_module
from keepworld_runtime.serving.assets import AssetLimits

from tests.runtime.serving.callers import Keys, answered, calling, guarded
from tests.runtime.serving.client import WITHIN_S, create, error_info, eventually, serving, violation
from tests.runtime.serving.test_assets import CLIP, Request, frame, grey, header

FRAMES = [frame(png.encode(grey(value))) for value in range(5)]
DIGEST = hashlib.sha256(b"".join(each.frame.image.data for each in FRAMES)).digest()
OUT_OF_RANGE, INVALID, NOT_FOUND = (
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
)


@pytest.fixture
async def served():
    async with serving() as (server, stub), grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield server, asset_service_pb2_grpc.AssetServiceStub(channel), stub


async def begun(assets, number=5, request_id="") -> str:
    request = asset_service_pb2.BeginUploadRequest(request_id=request_id, header=header(CLIP, number).header)
    return (await assets.BeginUpload(request)).upload_id


def resume(upload_id: str, offset: int) -> Request:
    return Request(resume=asset_service_pb2.UploadResume(upload_id=upload_id, offset=offset))


async def got(assets, upload_id: str) -> asset_service_pb2.GetUploadResponse:
    return await assets.GetUpload(asset_service_pb2.GetUploadRequest(upload_id=upload_id))


async def half_sent(server, assets, upload_id: str, first: int, last: int) -> None:
    """Send some frames, then let the call break."""
    call = assets.UploadAsset()
    for message in (resume(upload_id, first), *FRAMES[first:last]):
        await call.write(message)
    await eventually(lambda: server.unfinished.get(upload_id, "").arriving.received == last)
    call.cancel()


async def rest(assets, upload_id: str, offset: int, sha256: bytes = DIGEST):
    return await assets.UploadAsset(
        iter([resume(upload_id, offset), *FRAMES[offset:], Request(sha256=sha256)]), timeout=WITHIN_S
    )


async def refused(call) -> tuple[grpc.StatusCode, str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    trailing = error.value.trailing_metadata()
    return error.value.code(), error_info(trailing).reason, violation(trailing)


async def test_an_upload_that_breaks_again_and_again_is_whole_in_the_end(served):
    server, assets, stub = served
    upload_id = await begun(assets)
    for first, last in ((0, 2), (2, 2), (2, 4)):
        assert (await got(assets, upload_id)).received == first
        await half_sent(server, assets, upload_id, first, last)
    answer = await rest(assets, upload_id, 4)
    assert (answer.frames, answer.width, answer.height) == (5, 24, 16)
    clip = server.assets.clip(answer.asset_id, "")
    assert [int(each[0, 0, 0]) for each in clip.frames] == [0, 1, 2, 3, 4]
    assert await create(stub, clip_asset_id=answer.asset_id)


async def test_an_answer_that_was_lost_is_there_to_be_had(served):
    server, assets, _ = served
    upload_id = await begun(assets)
    answer = await rest(assets, upload_id, 0)
    again = await rest(assets, upload_id, 5)
    told = await got(assets, upload_id)
    assert again == answer == told.asset
    assert told.received == 5
    assert server.assets.num_kept == 1


async def test_what_is_thought_to_have_come_must_have(served):
    server, assets, _ = served
    upload_id = await begun(assets)
    await half_sent(server, assets, upload_id, 0, 2)
    for offset in (0, 3, 2**32 - 1):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await answered(lambda offset=offset: rest(assets, upload_id, offset))
        info = error_info(error.value.trailing_metadata())
        assert (error.value.code(), info.reason, info.metadata["received"]) == (OUT_OF_RANGE, "UPLOAD_OFFSET", "2")
    assert await rest(assets, upload_id, 2)


async def test_what_hashes_to_something_else_is_refused_for_good_and_holds_nothing(served):
    server, assets, _ = served
    upload_id = await begun(assets)
    await half_sent(server, assets, upload_id, 0, 3)
    assert await refused(answered(lambda: rest(assets, upload_id, 3, bytes(32)))) == (
        INVALID,
        "INVALID_FIELD",
        "sha256",
    )
    assert await refused(got(assets, upload_id)) == (INVALID, "INVALID_FIELD", "sha256")  # whoever missed the answer
    assert await refused(answered(lambda: rest(assets, upload_id, 3))) == (INVALID, "INVALID_FIELD", "sha256")
    assert (server.assets.num_kept, server.assets._total_bytes) == (0, 0)


async def test_who_goes_on_with_an_upload_has_it_alone(served):
    server, assets, _ = served
    upload_id = await begun(assets)
    first = assets.UploadAsset()
    await first.write(resume(upload_id, 0))
    await first.write(FRAMES[0])
    await eventually(lambda: server.unfinished.get(upload_id, "").arriving.received == 1)
    second = assets.UploadAsset()
    await second.write(resume(upload_id, 1))
    await second.write(FRAMES[1])
    await eventually(lambda: server.unfinished.get(upload_id, "").arriving.received == 2)
    await first.write(FRAMES[4])
    assert (await refused(first))[:2] == (grpc.StatusCode.ABORTED, "UPLOAD_REPLACED")
    for each in FRAMES[2:]:
        await second.write(each)
    await second.done_writing()
    clip = server.assets.clip((await second).asset_id, "")
    assert [int(each[0, 0, 0]) for each in clip.frames] == [0, 1, 2, 3, 4]


async def test_a_beginning_that_is_asked_for_twice_is_one(served):
    server, assets, _ = served
    request_id = str(uuid.uuid4())
    assert await begun(assets, request_id=request_id) == await begun(assets, request_id=request_id)
    assert (await refused(begun(assets, 3, request_id)))[1] == "REQUEST_ID_REUSED"
    assert (await refused(begun(assets, 0)))[2] == "header.frames"
    assert len(server.unfinished) == 1


async def test_half_an_upload_goes_after_its_time_and_frees_what_it_held(monkeypatch):
    monkeypatch.setattr(server_module, "AssetLimits", lambda: AssetLimits(kept_s=1.0))
    async with serving() as (server, _), grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        assets = asset_service_pb2_grpc.AssetServiceStub(channel)
        upload_id = await begun(assets)
        await half_sent(server, assets, upload_id, 0, 2)
        assert server.assets._total_bytes == 5 * 24 * 16 * 3
        await eventually(lambda: len(server.unfinished) == 0)
        assert server.assets._total_bytes == 0
        assert (await refused(got(assets, upload_id)))[0] is NOT_FOUND


async def test_there_are_so_many_at_most_and_the_longest_silent_makes_room(monkeypatch):
    monkeypatch.setattr(server_module, "AssetLimits", lambda: AssetLimits(max_assets=2))
    async with serving() as (server, _), grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        assets = asset_service_pb2_grpc.AssetServiceStub(channel)
        first, second = await begun(assets), await begun(assets)
        calls = [assets.UploadAsset() for _ in range(2)]
        await calls[0].write(resume(first, 0))
        await eventually(lambda: server.unfinished.get(first, "").is_busy)
        third = await begun(assets)
        assert (await refused(got(assets, second)))[0] is NOT_FOUND
        await calls[1].write(resume(third, 0))
        await eventually(lambda: server.unfinished.get(third, "").is_busy)
        assert (await refused(begun(assets)))[:2] == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_ASSETS")
        for call in calls:
            call.cancel()
        await eventually(lambda: not server.unfinished.get(third, "").is_busy)
        assert await begun(assets)


async def test_half_an_upload_counts_and_is_its_tenants_alone(tmp_path):
    keys = Keys(tmp_path)
    keys.make("little", upload_bytes=FRAMES[0].ByteSize() * 3)
    async with (
        guarded(tmp_path, keys) as server,
        calling(server, keys.shown["little"]) as little,
        calling(server, keys.shown["rival"]) as rival,
    ):
        upload_id = await begun(little.assets)
        await half_sent(server, little.assets, upload_id, 0, 2)
        assert (await refused(answered(lambda: rest(rival.assets, upload_id, 2))))[0] is NOT_FOUND
        assert (await refused(answered(lambda: rest(little.assets, upload_id, 2))))[:2] == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "QUOTA",
        )
