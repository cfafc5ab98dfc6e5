import importlib
import threading

import numpy as np
import pytest
import torch
from keepworld.motion import NEUTRAL
from keepworld_runtime.families import FAMILIES, load_family
from keepworld_runtime.families.family import ChunkRequest, FamilyOptions, Place, WorldSpec
from keepworld_runtime.families.latent.offload import Lodger, StreamedBlocks, keep_beside
from torch import nn

from tests import checkpoints

BLOCK_BYTES = (8 * 8 + 8) * 4


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.blocks = nn.ModuleList(nn.Linear(8, 8) for _ in range(5))

    def forward(self, x):
        x = self.first(x)
        for block in self.blocks:
            x = block(x).tanh()
        return x


def network():
    torch.manual_seed(3)
    return Network().requires_grad_(False)


def streamed():
    made = network()
    made.blocks = StreamedBlocks(made.blocks, "cpu")
    keep_beside(made, "cpu")
    return made


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_streamed_blocks_compute_the_same(mode):
    x = torch.randn(2, 8)
    there, alike = streamed(), network()
    with mode():
        assert torch.equal(there(x), alike(x)) and torch.equal(there(x), alike(x))
    assert there.state_dict().keys() == alike.state_dict().keys()


def test_no_more_than_two_blocks_are_there_at_a_time():
    there = streamed()
    assert there.blocks.resident_bytes == 0
    counts = [there.blocks.resident_bytes for _ in there.blocks]
    assert counts == [2 * BLOCK_BYTES] * 4 + [BLOCK_BYTES]
    assert there.blocks.resident_bytes == 0


def test_breaking_off_leaves_nothing_behind():
    there = streamed()
    for number, _ in enumerate(there.blocks):
        if number == 2:
            break
    assert there.blocks.resident_bytes == 0


def test_an_error_in_a_block_leaves_nothing_behind():
    there, seen = streamed(), []
    with pytest.raises(RuntimeError):
        for block in there.blocks:
            seen.append(there.blocks.resident_bytes)
            block(torch.zeros(1, 9))
    del block
    assert seen == [2 * BLOCK_BYTES]
    assert torch.equal(there(torch.ones(1, 8)), network()(torch.ones(1, 8)))


def test_two_threads_may_go_through_the_blocks_at_once():
    there, x, results = streamed(), torch.randn(2, 8), []
    together = threading.Barrier(3)

    def go():
        together.wait()
        results.extend(there(x) for _ in range(50))

    threads = [threading.Thread(target=go) for _ in range(2)]
    for thread in threads:
        thread.start()
    together.wait()
    for thread in threads:
        thread.join()
    wanted = network()(x)
    assert len(results) == 100 and all(torch.equal(result, wanted) for result in results)
    assert there.blocks.resident_bytes == 0


def test_a_lodger_is_there_while_someone_uses_it():
    lodger, x = Lodger(network(), "cpu", stays=False), torch.randn(2, 8)
    assert lodger.resident_bytes == 0
    with lodger.there() as outer:
        with lodger.there() as inner:
            assert inner is outer
        assert lodger.resident_bytes == 6 * BLOCK_BYTES
        assert torch.equal(outer(x), network()(x))
    assert lodger.resident_bytes == 0


def test_one_that_stays_costs_nothing_more():
    lodger = Lodger(network(), "cpu", stays=True)
    with lodger.there() as module:
        assert lodger.resident_bytes == 0
        assert torch.equal(module(torch.ones(1, 8)), network()(torch.ones(1, 8)))


@pytest.mark.parametrize(
    ("name", "write", "blocks"),
    [
        ("worldplay-8b", checkpoints.write_worldplay_8b, "double_blocks"),
        ("worldplay-5b", checkpoints.write_worldplay_5b, "blocks"),
    ],
)
def test_a_world_is_the_same_with_its_networks_blocks_streamed(tmp_path, monkeypatch, name, write, blocks):
    checkpoint = importlib.import_module(f"{FAMILIES[name]}.checkpoint")
    family, load, counts = load_family(name, FamilyOptions(checkpoint=write(tmp_path))), checkpoint.load, []

    class Counted(StreamedBlocks):
        def __iter__(self):
            for block in super().__iter__():
                counts.append(self.resident_bytes)
                yield block

    def load_streaming(*arguments, **more):
        loaded = load(*arguments, **more)
        setattr(loaded.model, blocks, Counted(getattr(loaded.model, blocks), "cpu"))
        return loaded

    def load_copied(*arguments, **more):
        """Like streamed weights, not where the file has them: kernels round by how numbers lie in memory."""
        loaded = load(*arguments, **more)
        for parameter in getattr(loaded.model, blocks).parameters():
            parameter.data = parameter.data.clone()
        return loaded

    frames = []
    for way in (load_streaming, load_copied):
        monkeypatch.setattr(checkpoint, "load", way)
        frames.append(walk(family))
    assert np.array_equal(*frames)
    assert counts and max(counts) == counts[0]


def walk(family):
    """The frames of a world's first two chunks."""
    world = family.load(Place(num_threads=1)).open(WorldSpec(prompt="sea", seed=1, width=64, height=64, mode="walk"))
    frames = []
    for chunk in range(2):
        count = family.capabilities.frames_in(chunk)
        request = ChunkRequest(chunk=chunk, controls=(NEUTRAL,) * count, poses=(None,) * count)
        frames += [frame.image for frame in world.next_chunk(request)]
    return np.stack(frames)
