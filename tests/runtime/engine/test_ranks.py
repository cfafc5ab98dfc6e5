"""Several ranks answer as one: the first one's frames, and the loss of any is the loss of all."""

import os
import signal

import psutil
import pytest
from keepworld_runtime.engine import ranks
from keepworld_runtime.engine.group import ChunkDrawn, LocalGroup, WorldBrokenError, WorldFailedError
from keepworld_runtime.engine.process import GroupLostError
from keepworld_runtime.engine.ranks import RanksDisagreeError
from keepworld_runtime.engine.worker import WorkerSetup
from keepworld_runtime.families import Chosen
from keepworld_runtime.families.family import Event

from tests.runtime.engine.test_local_group import draw, spec

SETUP = WorkerSetup(
    families={"gradient": Chosen(module="tests.families")},
    num_threads=2,
    num_ranks=2,
    slot_bytes=64 * 48 * 9,
    log_level="CRITICAL",
)


@pytest.fixture
async def group():
    group = LocalGroup(SETUP)
    await group.start()
    yield group
    await group.stop()


async def test_frames_and_states_come_from_the_first_rank_alone(group):
    await group.open("w", "gradient", spec(), None)
    for chunk in range(2):
        frames, end = await draw(group, chunk)
        assert [frame.index for frame in frames] == list(range(13 if chunk == 0 else 16))
        assert {int(frame.image[0, 0, 1]) for frame in frames} == {20}  # two ranks, this one is 0
    assert end.change.head == b"14.5 0"
    assert end.change.names == ("chunk 0", "chunk 1")


async def test_the_loss_of_any_rank_is_the_loss_of_all(group):
    await group.open("w", "gradient", spec("slow=0.02"), None)
    os.kill(group.pids[1], signal.SIGKILL)
    with pytest.raises(GroupLostError, match="rank 1"):
        await draw(group, 0)
    before = [psutil.Process(pid) for pid in group.pids if psutil.pid_exists(pid)]
    await group.start()
    assert not any(process.is_running() and process.status() != "zombie" for process in before)
    await group.open("w", "gradient", spec(), None)
    assert len((await draw(group, 0))[0]) == 13


async def test_what_fails_on_every_rank_is_the_worlds_failure(group):
    await group.open("w", "gradient", spec("raise=0"), None)
    with pytest.raises(WorldFailedError):
        await draw(group, 0)
    await group.open("w", "gradient", spec(), None)
    assert len((await draw(group, 0))[0]) == 13


@pytest.mark.parametrize("rank", [0, 1])
async def test_a_rank_that_fails_alone_cannot_go_on_with_the_others(group, rank):
    await group.open("w", "gradient", spec(f"raise=0 rank={rank}"), None)
    with pytest.raises(RanksDisagreeError, match="RuntimeError"):
        await draw(group, 0)


async def test_a_rank_that_waits_for_one_that_failed_is_not_waited_for_long(group, monkeypatch):
    monkeypatch.setattr(ranks, "STRAGGLER_S", 0.3)
    await group.open("w", "gradient", spec("raise=0 rank=1 others=hang"), None)
    with pytest.raises(RanksDisagreeError, match="the first waits for it"):
        await draw(group, 0)


async def test_broken_on_one_rank_is_broken(group):
    await group.open("w", "gradient", spec("break=0 rank=1"), None)
    with pytest.raises(WorldBrokenError):
        await draw(group, 0)


async def test_every_rank_prepares_an_event(group, tmp_path):
    await group.open("w", "gradient", spec(f"prepared={tmp_path}/prepared"), None)
    group.prepare("w", Event(text="rain", ramp_s=0.0))
    _, end = await draw(group, 0)  # behind the preparation, on every rank
    assert isinstance(end, ChunkDrawn)
    assert (tmp_path / "prepared").read_text().splitlines() == ["rain", "rain"]
