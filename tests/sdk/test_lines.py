"""Going back and branching off: what is asked of the server, and what becomes of frames, scripts and recordings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from keepworld import AsyncClient, AsyncSession, PlannedEvent
from keepworld.capture import Capture
from keepworld.errors import NotFoundError
from keepworld.motion import Control, Segment
from keepworld.plans import PathPortion, ScriptPortion

from tests.sdk.scripted_server import SIZE, ScriptedWorld, first_frame_of, serving


@pytest.fixture
def world() -> ScriptedWorld:
    return ScriptedWorld()


@pytest.fixture
async def client(world: ScriptedWorld) -> AsyncIterator[AsyncClient]:
    async with serving(world) as address, AsyncClient(address, deadline_s=5) as client:
        yield client


@pytest.fixture
async def session(client: AsyncClient) -> AsyncIterator[AsyncSession]:
    async with client.sessions.open("meadow", size=SIZE, seed=3) as session:
        yield session


async def test_undoing_goes_back_from_what_was_seen_not_from_what_was_made(
    session: AsyncSession, world: ScriptedWorld
) -> None:
    seen = []
    async for chunk in session.stream(pace="fast"):
        seen.append((chunk.index, chunk.frames[0].number))
        if len(seen) == 3:
            await session.undo(2)
        if len(seen) == 5:
            break
    assert [index for index, _ in seen] == [0, 1, 2, 1, 2]
    assert all(number == first_frame_of(index) for index, number in seen)
    assert world.asked[0].chunks == 1
    assert world.line == 2


async def test_more_than_there_is_cannot_be_undone(session: AsyncSession, world: ScriptedWorld) -> None:
    await session.steer("forward 1s")
    for n in (3, -1):
        with pytest.raises(ValueError, match="n must be 0 to 2"):
            await session.undo(n)
    assert not world.asked


async def test_what_is_undone_is_no_longer_in_the_capture(session: AsyncSession) -> None:
    await session.steer("forward 2s")
    before = await session.capture()
    kept = [frame.number for frame in before.frames][: first_frame_of(2)]
    await session.undo(2)
    after = Capture((await session.capture()).folder)
    assert [frame.number for frame in after.frames] == kept
    files = {path.name for path in (after.folder / "frames").iterdir()}
    assert files == {f"{number:06d}.png" for number in kept}
    await session.steer("forward 1s")
    again = await session.capture()
    assert [frame.number for frame in again.frames] == list(range(len(again)))


async def test_all_can_be_undone_and_recorded_anew(session: AsyncSession) -> None:
    await session.steer("forward 1s")
    await session.undo(2)
    walk = await session.steer("forward 2s")
    capture = await session.capture()
    assert [frame.number for frame in capture.frames] == list(range(walk.last_frame + 1))


async def test_a_branch_begins_where_you_are_or_where_you_say(
    client: AsyncClient, session: AsyncSession, world: ScriptedWorld
) -> None:
    await session.steer("forward 2s")
    branch = await session.branch()
    assert world.asked[-1].chunks == world.made
    assert (branch.id, branch.reading) == ("branch", session.reading)
    early = await session.branch(at=1)
    assert world.asked[-1].chunks == 1
    assert (await anext(early.stream(pace="fast"))).index == 1
    await client.close()
    assert branch.is_closed
    assert early.is_closed


async def test_a_snapshot_has_a_name_and_can_be_listed_and_deleted(
    client: AsyncClient, session: AsyncSession, world: ScriptedWorld
) -> None:
    await session.steer("forward 1s")
    kept = await session.snapshot("noon")
    assert (kept.name, kept.prompt, kept.seed, kept.chunks) == ("noon", "meadow", 3, 2)
    assert [each.id for each in await client.snapshots()] == [kept.id]
    async with client.sessions.open(snapshot=kept.id):
        assert (world.opened[-1].snapshot_id, world.opened[-1].family) == (kept.id, "")
    await client.delete_snapshot(kept)
    assert await client.snapshots() == []
    with pytest.raises(NotFoundError):
        await client.delete_snapshot(kept.id)


async def test_events_go_along_when_a_world_is_opened(client: AsyncClient, world: ScriptedWorld) -> None:
    events = [PlannedEvent("rain", at=2.0, ramp=1.0), (4.0, "fireworks"), PlannedEvent("snow", chunk=3, duration=5)]
    async with client.sessions.open("meadow", events=events):
        sent = world.opened[-1].events
    assert [(event.text, event.WhichOneof("when"), event.ramp_s) for event in sent] == [
        ("rain", "seconds", 1.0), ("fireworks", "seconds", 2.0), ("snow", "chunk", 2.0)
    ]  # fmt: skip
    assert len({event.request_id for event in sent}) == 3


async def test_an_event_is_taken_back_by_its_receipt_or_as_it_is_listed(
    session: AsyncSession, world: ScriptedWorld
) -> None:
    receipt = await session.event("rain", chunk=4)
    await session.event("snow", chunk=6)
    await session.cancel_event(receipt)
    (left,) = await session.waiting_events()
    assert (left.text, left.chunk) == ("snow", 6)
    await session.cancel_event(left)
    assert world.events == []


def test_what_is_left_of_a_plan_is_the_plan_without_its_beginning(tmp_path: Path) -> None:
    steps = [Segment(Control(move=(0, 0, 1)), 5), Segment(Control(), 3), Segment(Control(turn=(1, 0, 0)), 4)]
    flat = [step.control for step in steps for _ in range(step.frames)]
    c2ws = np.tile(np.eye(4), (12, 1, 1))
    c2ws[:, 0, 3] = np.arange(12)
    for done in range(13):
        rest = ScriptPortion(tuple(steps)).after(done)
        assert [step.control for step in rest.segments for _ in range(step.frames)] == flat[done:]
        assert (PathPortion(c2ws).after(done).c2ws == c2ws[done:]).all()
        assert rest.frames == PathPortion(c2ws).after(done).frames == 12 - done


async def test_frames_and_chunks_count_back_and_forth(session: AsyncSession) -> None:
    there = session.capabilities
    for chunk in range(5):
        frames = range(there.first_frame_of(chunk), there.first_frame_of(chunk + 1))
        assert {there.chunk_of(frame) for frame in frames} == {chunk}
