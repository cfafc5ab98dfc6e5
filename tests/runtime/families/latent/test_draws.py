import json

import numpy as np
import pytest
import torch
from keepworld_runtime.families.latent.draws import CountedDraws, PublishedDraws

from tests import goldens

SHAPE = (4, 3, 5)


def test_counted_noise_is_of_a_latents_number_alone():
    draws = CountedDraws(7, 8.0, SHAPE)
    assert torch.equal(draws.noise(0, 8)[:, :, 4:], draws.noise(4, 4))


def test_published_draws_are_those_of_the_recorded_walk():
    folder = goldens.folder("worldplay5b")
    walk, about = goldens.load(folder / "rollout_t2v.safetensors")
    shape = (json.loads(about["config"])["in_channels"], *walk["noise"].shape[-2:])
    draws = PublishedDraws(0, 8.0, shape, num_latents=walk["noise"].shape[2], is_shared=True)
    assert torch.equal(draws.noise(8, 4), walk["noise"][:, :, 8:12])
    points = goldens.load(folder / "memory_selection.safetensors")[0]["points_local"]
    assert np.allclose(draws.points(0), points, atol=1e-5)


def test_published_points_of_the_8b_are_the_recorded_ones():
    points = goldens.load(goldens.folder("worldplay8b") / "points.safetensors")[0]["points50k_seed0"]
    draws = PublishedDraws(0, 8.0, SHAPE, num_latents=4, is_shared=False)
    assert np.allclose(draws.points(0), points, atol=1e-5)
    alone = torch.randn((1, 4, 4, 3, 5), generator=torch.Generator().manual_seed(0))
    assert torch.equal(draws.noise(0, 4), alone)


def test_a_walk_with_published_noise_has_an_end():
    draws = PublishedDraws(0, 8.0, SHAPE, num_latents=4, is_shared=True)
    with pytest.raises(ValueError, match="at most 4 latents, got 8"):
        draws.noise(4, 4)
