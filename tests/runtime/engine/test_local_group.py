"""One spawned worker: worlds drawn, continued, skipped into, and lost."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest
from keepworld.motion import Control
from keepworld_runtime.engine.group import ChunkDrawn, LoadFailedError, LocalGroup, WorldBrokenError, WorldFailedError
from keepworld_runtime.engine.process import GroupLostError
from keepworld_runtime.engine.worker import WorkerSetup
from keepworld_runtime.families import Chosen
from keepworld_runtime.families.family import ChunkRequest, Event, FamilyOptions, WorldSpec, WorldState

from tests import families

SETUP = WorkerSetup(
    families={"gradient": Chosen(module="tests.families")}, num_threads=1, slot_bytes=64 * 48 * 9, log_level="ERROR"
)


def spec(prompt: str = "", width: int = 64) -> WorldSpec:
    return WorldSpec(prompt=prompt, seed=3, width=width, height=48, mode="fly")


@pytest.fixture
async def group():
    group = LocalGroup(SETUP)
    await group.start()
    yield group
    await group.stop()


async def draw(group: LocalGroup, chunk: int, *, skip: int = 0, within_s: float = 10.0) -> tuple[list, ChunkDrawn]:
    frames = 13 if chunk == 0 else 16
    request = ChunkRequest(chunk=chunk, controls=(Control(move=(0, 0, 0.5)),) * frames, poses=(None,) * frames)
    *drawn, end = [each async for each in group.draw("w", request, skip=skip, within_s=within_s)]
    assert isinstance(end, ChunkDrawn)
    return [each.data for each in drawn], end


async def test_more_frames_than_the_arena_has_slots_come_in_order_and_whole(group):
    await group.open("w", "gradient", spec(), None)
    frames, end = await draw(group, 0)
    assert [frame.index for frame in frames] == list(range(13))
    for frame in frames:
        walked = 0.5 * (frame.index + 1)
        np.testing.assert_array_equal(frame.image, families.picture(spec(), frame.index, walked, 0))
        assert (frame.depth == frame.index).all()
        assert frame.confidence is None
    assert end.change.head == b"6.5 0"


async def test_a_world_opened_with_a_state_goes_on_from_it(group):
    await group.open("w", "gradient", spec(), WorldState(head=b"6.5 0", parts={}))
    (first, *_), _ = await draw(group, 1)
    np.testing.assert_array_equal(first.image, families.picture(spec(), 13, 7.0, 0))


async def test_a_part_of_the_state_is_told_once(group):
    await group.open("w", "gradient", spec(), None)
    ends = [(await draw(group, chunk))[1] for chunk in range(5)]
    assert [list(end.change.new) for end in ends] == [[f"chunk {chunk}"] for chunk in range(5)]
    assert ends[4].change.names == ("chunk 2", "chunk 3", "chunk 4")


async def test_the_parts_a_world_was_opened_with_are_known(group):
    state = None
    await group.open("w", "gradient", spec(), None)
    for chunk in range(2):
        state = (await draw(group, chunk))[1].change.onto(state)
    await group.open("w", "gradient", spec(), state)
    _, end = await draw(group, 2)
    assert list(end.change.new) == ["chunk 2"]
    assert end.change.names == ("chunk 0", "chunk 1", "chunk 2")


async def test_a_broken_chunk_is_told_apart_and_leaves_the_worker_well(group):
    await group.open("w", "gradient", spec("break=0 at=4"), None)
    with pytest.raises(WorldBrokenError, match="not a number"):
        await draw(group, 0)
    await group.open("w", "gradient", spec(), None)
    assert len((await draw(group, 0))[0]) == 13


async def test_an_event_is_prepared_while_a_chunk_is_drawn(group, tmp_path):
    prompt = f"awaits=0 at=5 prepared={tmp_path}/prepared"  # its sixth frame is drawn when the event has been prepared
    await group.open("w", "gradient", spec(prompt), None)
    request = ChunkRequest(chunk=0, controls=(Control(),) * 13, poses=(None,) * 13)
    frames = 0
    async for drawn in group.draw("w", request, skip=0, within_s=20.0):
        frames += not isinstance(drawn, ChunkDrawn)
        if frames == 1:
            group.prepare("w", Event(text="rain", ramp_s=0.0))
    assert frames == 13
    assert (tmp_path / "prepared").read_text() == "rain\n"


async def test_an_event_that_cannot_be_prepared_leaves_the_worker_well(group):
    await group.open("w", "gradient", spec("prepare=raise"), None)
    group.prepare("w", Event(text="rain", ramp_s=0.0))
    group.prepare("no such world", Event(text="rain", ramp_s=0.0))
    assert len((await draw(group, 0))[0]) == 13


async def test_a_family_that_cannot_load_says_why(tmp_path):
    options = FamilyOptions(checkpoint=tmp_path / "nowhere")
    group = LocalGroup(
        replace(SETUP, families={"gradient": Chosen(module="tests.families", options=options)}, log_level="CRITICAL")
    )
    with pytest.raises(LoadFailedError, match=r"no weights in .*nowhere"):
        await group.start()
    await group.stop()


async def test_skipped_frames_are_drawn_but_not_sent(group):
    await group.open("w", "gradient", spec(), None)
    frames, end = await draw(group, 0, skip=11)
    assert [frame.index for frame in frames] == [11, 12]
    assert end.change.head == b"6.5 0"


async def test_a_world_that_raises_leaves_the_worker_well(group):
    await group.open("w", "gradient", spec("raise=0"), None)
    with pytest.raises(WorldFailedError):
        await draw(group, 0)
    await group.open("w", "gradient", spec(), None)
    assert len((await draw(group, 0))[0]) == 13


async def test_a_frame_larger_than_its_slot_is_a_failure_not_a_crash(group):
    await group.open("w", "gradient", spec(width=1024), None)
    with pytest.raises(WorldFailedError, match="slot"):
        await draw(group, 0)


async def test_a_dead_worker_is_noticed_and_can_be_started_again(group):
    await group.open("w", "gradient", spec(), None)
    before = group.generation
    os.kill(group.pids[0], signal.SIGKILL)
    with pytest.raises(GroupLostError, match="died"):
        await draw(group, 0)
    await group.start()
    assert group.generation == before + 1
    await group.open("w", "gradient", spec(), None)
    assert len((await draw(group, 0))[0]) == 13


async def test_a_chunk_past_its_time_is_a_loss(group):
    await group.open("w", "gradient", spec("hang=0 at=2"), None)
    with pytest.raises(GroupLostError, match="in time"):
        await draw(group, 0, within_s=0.3)


async def test_signals_to_the_process_group_leave_the_worker_to_the_server(group):
    await group.open("w", "gradient", spec(), None)
    os.kill(group.pids[0], signal.SIGINT)
    os.kill(group.pids[0], signal.SIGTERM)
    assert len((await draw(group, 0))[0]) == 13
