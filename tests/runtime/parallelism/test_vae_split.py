"""A decode split by width over several ranks gives what one rank gives."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from keepworld_runtime.layers.vae import VideoVAE
from keepworld_runtime.parallelism.vae import split_decoder

from tests import vaes
from tests.ranks import run_on_ranks

WIDTHS = (4, 6, 7)  # over 2 ranks and over 4: even, and not


def decode(vae: VideoVAE, width: int) -> tuple[torch.Tensor, int]:
    """Decode three latents one by one: the frames, and the bytes of state."""
    state, frames = vae.initial_state(), []
    for latent in vaes.latents(3, width=width).split(1, dim=2):
        decoded, state = vae.decode(latent, state)
        frames.append(decoded)
    return torch.cat(frames, dim=2), state.num_bytes


def decode_split() -> dict[tuple[vaes.Name, int], tuple[torch.Tensor, int]]:
    """What one rank of a group gets, for every VAE and width."""
    results = {}
    for name in vaes.NAMES:
        vae = vaes.ours(name)
        split_decoder(vae, dist.group.WORLD)
        results.update({(name, width): decode(vae, width) for width in WIDTHS})
    return results


@pytest.mark.parametrize("num_ranks", [2, 4])
def test_every_rank_gets_the_frames_that_one_rank_alone_decodes(num_ranks):
    alone = {(name, width): decode(vaes.ours(name), width) for name in vaes.NAMES for width in WIDTHS}
    for results in run_on_ranks(num_ranks, decode_split):
        for case, (frames, num_bytes) in results.items():
            wanted, whole_bytes = alone[case]
            torch.testing.assert_close(frames, wanted, rtol=0, atol=1e-5)
            assert num_bytes < 0.75 * whole_bytes  # a stripe's columns and one of each neighbour, not the whole


def refusal() -> str:
    vae = vaes.ours("wan")
    split_decoder(vae, dist.group.WORLD)
    with pytest.raises(ValueError, match="columns wide") as error:
        vae.decode(vaes.latents(1, width=1), vae.initial_state())
    return str(error.value)


def test_a_latent_with_fewer_columns_than_ranks_is_refused_on_every_rank():
    assert run_on_ranks(2, refusal) == ["a latent 1 columns wide cannot be decoded on 2 ranks"] * 2
