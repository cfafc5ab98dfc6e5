"""A server that means harm: the client says what is wrong, and spends no memory, time or file on it."""

from __future__ import annotations

import asyncio
import itertools
import resource
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from keepworld import AsyncClient
from keepworld.connection import MAX_MESSAGE_BYTES
from keepworld.errors import ProtocolError, SessionLostError
from keepworld.v1 import frame_pb2, geometry_pb2, session_pb2, world_service_pb2

from tests.sdk.scripted_server import (
    FIRST,
    SIZE,
    Request,
    Response,
    ScriptedWorld,
    chunk_end,
    frame,
    serving,
)

_ROOM_BYTES = 64 * 2**20  # what the peak may grow by, in kB-sized steps of the system


def _attached(**said: object) -> Response:
    return Response(attached=session_pb2.Attached(**{"epoch": 1, "heartbeat_s": 0.2, "line": 1, **said}))


def _frames(*numbers: int) -> Iterator[Response]:
    return (Response(frame=frame(number, 0, number)) for number in numbers)


def _changed(change: Callable[[frame_pb2.Frame], object]) -> Iterator[Response]:
    message = frame(0, 0, 0, depth=True)
    change(message)
    yield Response(frame=message)


def _chunk() -> Iterator[Response]:
    yield from _frames(*range(FIRST))
    yield Response(chunk_end=chunk_end(0))


async def _meet(items: Iterator[Response], *, first: Response | None = None) -> list[int]:
    """Walk on a server that sends these; gives the frames that came before it was found out."""
    world = ScriptedWorld()

    async def stream(requests: AsyncIterator[Request]) -> AsyncIterator[Response]:
        yield first or _attached()
        for item in items:
            yield item
            await asyncio.sleep(0)
        await asyncio.Event().wait()

    world.stream = stream
    numbers = []
    async with serving(world) as address, AsyncClient(address, resume_s=0) as client:
        session = await client.sessions.open("meadow", size=SIZE)
        with pytest.raises((ProtocolError, SessionLostError)) as caught:
            async with asyncio.timeout(20):
                async for item in session.frames(depth=True, pace="fast"):
                    numbers.append(item.number)  # noqa: PERF401 - what came before the error counts
        assert isinstance(caught.value, ProtocolError), caught.value
    return numbers


ORDER = {
    "a frame doubled": lambda: _frames(0, 1, 1),
    "a frame left out": lambda: _frames(0, 2),
    "two frames swapped": lambda: _frames(0, 2, 1),
    "a frame from before": lambda: _frames(0, 1, 0),
    "a chunk doubled": lambda: itertools.chain(_chunk(), _chunk()),
    "a chunk's end doubled": lambda: itertools.chain(_chunk(), [Response(chunk_end=chunk_end(0))]),
    "an end before its frames": lambda: iter([Response(chunk_end=chunk_end(3))]),
    "an end of another chunk": lambda: itertools.chain(_frames(*range(FIRST)), [Response(chunk_end=chunk_end(1))]),
    "a chunk without end": lambda: _frames(*range(10_000)),
    "attached twice": lambda: itertools.chain(_frames(0), [_attached()], _frames(0)),
}


@pytest.mark.parametrize("name", ORDER)
async def test_frames_out_of_order_are_not_passed_on(name: str) -> None:
    numbers = await _meet(ORDER[name]())
    assert numbers == list(range(len(numbers)))


def _zeros(num_bytes: int) -> bytes:
    """So many, packed; never all at once."""
    packer, part = zlib.compressobj(1), bytes(min(num_bytes, 2**20))
    return b"".join(packer.compress(part) for _ in range(num_bytes // len(part))) + packer.flush()


PICTURES: dict[str, Callable[[frame_pb2.Frame], object]] = {
    "another size": lambda f: f.camera.intrinsics.MergeFrom(geometry_pb2.Intrinsics(width=16_000, height=16_000)),
    "short": lambda f: setattr(f.image, "data", b"123"),
    "of no encoding": lambda f: setattr(f.image, "encoding", 99),
    "depth that unpacks to 256 megabytes": lambda f: setattr(f.pixels, "depth", _zeros(2**28)),
    "labels that unpack to 256 megabytes": lambda f: setattr(f.pixels, "labels", _zeros(2**28)),
    "depth that is no zlib": lambda f: setattr(f.pixels, "depth", b"\0" * 100),
    "depth that is too short": lambda f: setattr(f.pixels, "depth", _zeros(10)),
    "a camera that is not a number": lambda f: setattr(f.camera.intrinsics, "fx", float("nan")),
    "a turn of no length": lambda f: setattr(f.camera.world_from_camera.rotation, "w", 0.0),
    "infinitely late": lambda f: setattr(f, "time_s", float("inf")),
    "a number beyond counting": lambda f: setattr(f, "seq", 2**64 - 1),
    "a chunk beyond counting": lambda f: setattr(f, "chunk", 2**32 - 1),
}


@pytest.mark.parametrize("name", PICTURES)
async def test_a_frame_that_cannot_be_is_refused_within_bounds(name: str) -> None:
    items = list(_changed(PICTURES[name]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert await _meet(iter(items)) == []
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < _ROOM_BYTES


async def test_a_giant_message_is_not_taken_in() -> None:
    message = Response(notice=session_pb2.Notice(message="x" * (MAX_MESSAGE_BYTES + 1)))
    assert await _meet(iter([message])) == []


@pytest.mark.parametrize("kind", ["heartbeat", "notice", "receipt", "refusal"])
async def test_a_stream_of_nothing_useful_costs_no_memory(kind: str) -> None:
    said = {
        "heartbeat": Response(heartbeat=session_pb2.Heartbeat()),
        "notice": Response(notice=session_pb2.Notice(message="y" * 1000)),
        "receipt": Response(receipt=session_pb2.Receipt(request_id="nobody", used=["z" * 1000])),
        "refusal": Response(refusal=session_pb2.Refusal(request_id="nobody", message="z" * 1000)),
    }[kind]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    numbers = await _meet(itertools.chain(_frames(0, 1), itertools.repeat(said, 5_000), _frames(5)))
    assert numbers == [0, 1]
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < _ROOM_BYTES


@pytest.mark.parametrize("heartbeat_s", [float("nan"), float("inf"), -1.0, 1e300])
async def test_a_heartbeat_that_cannot_be_is_not_waited_for(heartbeat_s: float) -> None:
    assert await _meet(_frames(1), first=_attached(heartbeat_s=heartbeat_s)) == []


async def test_a_stream_that_begins_with_something_else_is_none() -> None:
    assert await _meet(iter(()), first=Response(heartbeat=session_pb2.Heartbeat())) == []


async def test_names_that_are_paths_write_nothing_outside_the_folder(tmp_path: Path) -> None:
    world = ScriptedWorld()
    evil = "../../../" + str(tmp_path / "escaped") + "\x00\n\x1b[2J"

    def session(session_id: str) -> world_service_pb2.Session:
        return world_service_pb2.Session(
            session_id=evil, family="diorama", family_version=evil, mode=evil,
            size=world_service_pb2.Size(width=SIZE[0], height=SIZE[1]),
        )  # fmt: skip

    async def create(request: object, context: object) -> world_service_pb2.CreateSessionResponse:
        world.opened.append(request)
        return world_service_pb2.CreateSessionResponse(session=session(""), token="t", used=[evil], ignored=[evil])

    world.CreateSession = create
    inside = tmp_path / "inside"
    inside.mkdir()
    async with (
        serving(world) as address,
        AsyncClient(address) as client,
        client.sessions.open("meadow", size=SIZE, record=inside / "walk") as opened,
    ):
        async for chunk in opened.stream(pace="fast"):
            if chunk.index == 1:
                break
        capture = await opened.capture()
        assert "\x1b" not in repr(opened) + repr(capture.provenance)
    written = [*tmp_path.rglob("*")]  # noqa: ASYNC240
    assert {path.relative_to(tmp_path).parts[:2] for path in written} == {("inside",), ("inside", "walk")}


async def test_a_family_that_nobody_has_is_no_world() -> None:
    world = ScriptedWorld()
    original = world.CreateSession

    async def create(request: object, context: object) -> world_service_pb2.CreateSessionResponse:
        response = await original(request, context)
        response.session.family = "another"
        return response

    world.CreateSession = create
    async with serving(world) as address, AsyncClient(address) as client:
        with pytest.raises(ProtocolError, match="another"):
            await client.sessions.open("meadow", size=SIZE)
