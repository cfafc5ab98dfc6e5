"""A decode split by width over several ranks gives what one rank gives."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from keepworld_runtime.layers.vae import VideoVAE
from keepworld_runtime.parallelism.vae import split_decoder

from tests import vaes
from tests.ranks import run_on_ranks

WIDTHS = (4, 7)  # columns that 2 ranks and 4 share evenly, and columns that neither do

Frames = dict[tuple[vaes.Name, int, int], tuple[torch.Tensor, int]]


def decode(vae: VideoVAE, width: int) -> tuple[torch.Tensor, int]:
    """Decode three latents one by one: the frames, and the bytes of state."""
    state, frames = vae.initial_state(), []
    for latent in vaes.latents(3, width=width).split(1, dim=2):
        decoded, state = vae.decode(latent, state)
        frames.append(decoded)
    return torch.cat(frames, dim=2), state.num_bytes


def decode_split() -> tuple[Frames, str]:
    """What one of four ranks gets by VAE, ranks and width, in its pair and with all; and how a narrow latent is refused."""
    pairs = [dist.new_group([0, 1]), dist.new_group([2, 3])]
    frames: Frames = {}
    for name in vaes.NAMES:
        vae = vaes.ours(name)
        for group in (pairs[dist.get_rank() // 2], dist.group.WORLD):
            split_decoder(vae, group)
            frames |= {(name, group.size(), width): decode(vae, width) for width in WIDTHS}
    with pytest.raises(ValueError, match="columns wide") as refusal:
        vae.decode(vaes.latents(1, width=3), vae.initial_state())
    return frames, str(refusal.value)


@pytest.fixture(scope="module")
def ranks() -> list[tuple[Frames, str]]:
    return run_on_ranks(4, decode_split)


@pytest.mark.parametrize("name", vaes.NAMES)
@pytest.mark.parametrize("num_ranks", [2, 4])
@pytest.mark.parametrize("width", WIDTHS)
def test_every_rank_gets_the_frames_that_one_rank_alone_decodes(ranks, name, num_ranks, width):
    wanted, whole_bytes = decode(vaes.ours(name), width)
    for results, _ in ranks:
        frames, num_bytes = results[name, num_ranks, width]
        torch.testing.assert_close(frames, wanted, rtol=0, atol=1e-5)
        assert num_bytes < 0.75 * whole_bytes  # a stripe's columns and one of each neighbour, not the whole


def test_a_latent_with_fewer_columns_than_ranks_is_refused_on_every_rank(ranks):
    assert {refusal for _, refusal in ranks} == {"a latent 3 columns wide cannot be decoded on 4 ranks"}
