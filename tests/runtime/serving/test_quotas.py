"""What keys may use: sessions, drawing, uploads, time; counted by the server, refused with when to come back."""

import asyncio
import uuid

import grpc
import pytest
from google.rpc import error_details_pb2
from keepworld import png
from keepworld.v1 import world_service_pb2
from keepworld_runtime.serving.keys import Allowance, KeyFile, Scope
from keepworld_runtime.serving.quotas import QuotaError, Quotas

from tests.runtime.serving.callers import Keys, answered, calling, guarded, refusal
from tests.runtime.serving.client import AS_FAST, RAW, Walk, create, error_info, eventually, rich_status, script
from tests.runtime.serving.test_assets import frame, grey, header

EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
DAY_S = 86_400.0


@pytest.fixture
def keys(tmp_path):
    made = Keys(tmp_path)
    yield made
    made.file.close()


def close(caller, created):
    named = {"session_id": created.session.session_id, "token": created.token}
    return caller.worlds.CloseSession(world_service_pb2.CloseSessionRequest(**named))


async def test_one_session_more_than_a_key_may_have_is_refused_with_whose_quota_and_when(tmp_path, keys):
    keys.make("two", max_sessions=2)
    async with (
        guarded(tmp_path, keys) as server,
        calling(server, keys.shown["two"]) as caller,
        calling(server, keys.shown["acme"]) as colleague,
    ):
        first, _ = await create(caller.worlds), await create(caller.worlds)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await create(caller.worlds)
        assert error.value.code() is EXHAUSTED
        trailing = error.value.trailing_metadata()
        assert (error_info(trailing).reason, error_info(trailing).metadata["quota"]) == ("QUOTA", "max_sessions")
        failure, retry = error_details_pb2.QuotaFailure(), error_details_pb2.RetryInfo()
        assert any(detail.Unpack(failure) for detail in rich_status(trailing).details)
        assert any(detail.Unpack(retry) for detail in rich_status(trailing).details)
        assert failure.violations[0].subject == f"key:{keys.ids['two']}" and retry.retry_delay.seconds > 0

        assert await create(colleague.worlds)  # another key of the tenant has its own
        await close(caller, first)
        assert await create(caller.worlds)


async def test_asking_again_for_what_was_opened_is_no_second_session(tmp_path, keys):
    keys.make("one", max_sessions=1)
    asked = str(uuid.uuid4())
    async with guarded(tmp_path, keys) as server, calling(server, keys.shown["one"]) as caller:
        assert (await refusal(create(caller.worlds, "x" * 5000, request_id=asked)))[1] == "INVALID_FIELD"
        created = await create(caller.worlds, request_id=asked)
        assert await create(caller.worlds, request_id=asked) == created
        assert (await refusal(create(caller.worlds, request_id=str(uuid.uuid4()))))[0] is EXHAUSTED
        assert (await refusal(create(caller.worlds, "another", request_id=asked)))[1] == "REQUEST_ID_REUSED"
        assert len(server.engine.sessions()) == 1


async def test_who_goes_while_a_session_is_opened_has_it_counted(tmp_path, keys, monkeypatch):
    keys.make("one", max_sessions=1)
    async with guarded(tmp_path, keys) as server, calling(server, keys.shown["one"]) as caller:
        begun, go, create_session = asyncio.Event(), asyncio.Event(), server.engine.create

        async def slow(*arguments, **named):
            begun.set()
            await go.wait()
            return await create_session(*arguments, **named)

        monkeypatch.setattr(server.engine, "create", slow)
        asked = asyncio.create_task(create(caller.worlds))
        await begun.wait()
        asked.cancel()
        assert (await refusal(create(caller.worlds)))[0] is EXHAUSTED  # it is being opened
        go.set()
        await eventually(lambda: server.engine.sessions())
        await eventually(lambda: not server._guard._openings)
        assert (await refusal(create(caller.worlds)))[0] is EXHAUSTED  # it is there
        assert len(server.engine.sessions()) == 1


async def test_a_stream_ends_with_the_chunk_that_used_up_the_drawing_and_goes_on_tomorrow(tmp_path, keys):
    keys.make("brief", draw_s=1e-3)
    async with guarded(tmp_path, keys) as server, calling(server, keys.shown["brief"]) as caller:
        created = await create(caller.worlds, "slow=0.001")
        walk = Walk(caller.worlds, created)
        await walk.attach()
        frames, end = await walk.chunk()
        assert len(frames) == end.frames and end.timing.draw_us >= 1000
        code, info = await walk.status()
        assert (code, info.reason, info.metadata["quota"]) == (EXHAUSTED, "QUOTA", "draw_s")
        again = Walk(caller.worlds, created)
        await again.send(attach={"session_id": created.session.session_id, "token": created.token})
        assert (await again.status())[1].reason == "QUOTA"
        assert (await refusal(create(caller.worlds)))[1] == "QUOTA"
        keys.now_s += DAY_S
        tomorrow = Walk(caller.worlds, created)
        await tomorrow.attach()
        await tomorrow.chunk()


async def test_a_chunk_is_counted_once_however_often_it_is_sent_and_again_when_another_session_has_it_drawn(
    tmp_path, keys
):
    keys.make("much", draw_s=1000.0)
    async with guarded(tmp_path, keys) as server, calling(server, keys.shown["much"]) as caller:

        def used() -> float:
            key = keys.file.get(keys.ids["much"])
            return server._guard._quotas._used(key)[0]

        spent = [used()]
        for created in [await create(caller.worlds, "slow=0.001") for _ in range(2)]:
            named = {"session_id": created.session.session_id, "token": created.token}
            for last_seq in ({}, {"last_seq": 2**64 - 1}):
                walk = Walk(caller.worlds, created)
                attach = {
                    **named,
                    **last_seq,
                    "config": {"encoding": RAW},
                    "pace": {"mode": AS_FAST, "only_scripted": True},
                }
                await walk.send(attach=attach)
                if not last_seq:
                    await walk.send(script=script((0.1, 5)))
                _, end = await walk.chunk()
                assert end.chunk == 0 and end.digest
                if not last_seq:
                    await eventually(lambda: used() > spent[-1])  # it is counted when it has been sent
                spent.append(used())
                walk.call.cancel()
        first, again, second, once_more = spent[1:]
        assert spent[0] == 0.0 < first == again < second == once_more


async def test_uploads_are_counted_as_they_come_in_refused_ones_too(tmp_path, keys):
    keys.make("little", upload_bytes=2000)
    picture = png.encode(grey(1))
    assert len(picture) < 1000
    async with guarded(tmp_path, keys) as server, calling(server, keys.shown["little"]) as caller:
        assert (await caller.assets.UploadAsset(iter([header(), frame(picture)]))).asset_id
        for data in (b"x" * 3000, picture):
            messages = [header(), frame(data)]
            asked = answered(lambda messages=messages: caller.assets.UploadAsset(iter(messages)))
            assert await refusal(asked) == (EXHAUSTED, "QUOTA")
        assert server.assets.num_kept == 1


async def test_a_session_ends_when_it_has_lasted_as_long_as_its_key_allows(tmp_path, keys):
    keys.make("short", max_session_s=60.0)
    async with guarded(tmp_path, keys) as server, calling(server, keys.shown["short"]) as caller:
        now_s = server._guard._clock()
        server._guard._clock = lambda: now_s
        created, unread = await create(caller.worlds), await create(caller.worlds)
        server._guard.sweep()
        now_s += 59.0
        server._guard.sweep()
        walk = Walk(caller.worlds, created)
        await walk.attach(only_scripted=True)
        await walk.send(script=script((0.1, 3)))
        await walk.chunk()
        now_s += 1.0
        server._guard.sweep()
        assert server.engine.sessions() == []
        code, info = await walk.status()
        assert (code, info.reason, info.metadata["lease_s"]) == (
            grpc.StatusCode.FAILED_PRECONDITION,
            "LEASE_OVER",
            "60",
        )
        ended = Walk(caller.worlds, unread)
        assert (await _why_not(ended)) == "SESSION_CLOSED"
        await eventually(lambda: not server._guard._calls)


async def _why_not(walk: Walk) -> str:
    with pytest.raises(grpc.aio.AioRpcError):
        await walk.attach()
    return (await walk.status())[1].reason


class Counted:
    """A key of an allowance, and quotas at a time that the test says."""

    def __init__(self, folder, **allowance) -> None:
        self.now_s = 10 * DAY_S
        self.file = KeyFile(folder / "keys", clock=lambda: self.now_s, make=True)
        self.key, _ = self.file.create("acme", [Scope.STREAM], Allowance(**allowance))
        self.live = 0
        self.quotas = Quotas(self.file, lambda _: self.live)


def test_a_day_ends_at_midnight_and_its_use_with_it(tmp_path):
    counted = Counted(tmp_path, draw_s=10.0)
    counted.now_s += DAY_S - 30.0
    counted.quotas.draw(counted.key, 9.0)
    with pytest.raises(QuotaError) as refused:
        counted.quotas.draw(counted.key, 1.0)
    assert refused.value.retry_s == pytest.approx(30.0)
    counted.now_s += 29.0
    with pytest.raises(QuotaError):
        counted.quotas.check_draw(counted.key)
    counted.now_s += 1.0
    counted.quotas.check_draw(counted.key)


def test_what_was_used_is_known_after_a_restart(tmp_path):
    counted = Counted(tmp_path, upload_bytes=100)
    counted.quotas.upload(counted.key, 100)
    counted.file.close()
    again = Quotas(KeyFile(tmp_path / "keys", clock=lambda: counted.now_s), lambda _: 0)
    with pytest.raises(QuotaError):
        again.upload(counted.key, 1)


def test_sessions_being_opened_hold_their_places(tmp_path):
    counted = Counted(tmp_path, max_sessions=2)
    counted.live = 1
    with counted.quotas.session(counted.key), pytest.raises(QuotaError), counted.quotas.session(counted.key):
        pass
    with counted.quotas.session(counted.key):
        pass
    with pytest.raises(RuntimeError), counted.quotas.session(counted.key):
        raise RuntimeError("could not be opened")
    with counted.quotas.session(counted.key):
        pass


def test_a_key_without_an_allowance_uses_what_it_likes(tmp_path):
    counted = Counted(tmp_path)
    counted.live = 10**6
    counted.quotas.draw(counted.key, 1e9)
    counted.quotas.upload(counted.key, 10**12)
    with counted.quotas.session(counted.key):
        pass
