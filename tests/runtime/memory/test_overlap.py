from __future__ import annotations

import numpy as np
import pytest
import torch
from keepworld_runtime.memory.overlap import Field, ball_points, overlaps, shared_count, shared_counts

from tests import goldens
from tests.runtime.memory.walks import random_viewmats, strewn, turned, wander

PLAIN, SINGLE = Field(), Field(dtype=np.float32)


@pytest.mark.parametrize(("name", "seed", "num"), [("points50k_seed0", 0, 50_000), ("points2k_seed7", 7, 2_000)])
def test_points_from_the_published_random_numbers_are_the_published_points(name: str, seed: int, num: int) -> None:
    recorded, _ = goldens.load(goldens.folder("worldplay8b") / "points.safetensors")
    drawn = torch.Generator().manual_seed(seed)
    uniforms = torch.stack([torch.rand(num, generator=drawn) for _ in range(3)]).numpy()
    assert np.abs(ball_points(uniforms, 8.0) - recorded[name].numpy()).max() < 5e-6


def test_points_fill_the_ball_evenly() -> None:
    points = strewn(50_000)(0)
    distances = np.linalg.norm(points, axis=-1)
    assert distances.max() <= 8 + 1e-5
    assert (distances < 4).mean() == pytest.approx(1 / 8, abs=0.01)  # by volume
    assert np.abs(points.mean(axis=0)).max() < 0.1


def test_the_share_of_a_ball_in_view_is_that_of_its_solid_angle() -> None:
    _, in_view = shared_count(np.eye(4), np.eye(4), strewn(50_000)(1), PLAIN)
    # azimuth 60 of 360 degrees, elevation within 17.5: sin(17.5) of the sphere's height
    assert in_view / 50_000 == pytest.approx(60 / 360 * np.sin(np.radians(17.5)), rel=0.03)


@pytest.mark.parametrize(("degrees", "share"), [(0, 1.0), (15, 0.75), (30, 0.5), (-45, 0.25), (60, 0.0), (180, 0.0)])
def test_a_camera_that_only_turned_has_seen_what_is_left_of_its_azimuths(degrees: float, share: float) -> None:
    found = overlaps(np.eye(4)[None], turned(degrees)[None], strewn(50_000)(2), PLAIN)
    assert found[0, 0] == pytest.approx(share, abs=0.03)


def test_what_is_farther_away_than_the_radius_has_not_been_seen() -> None:
    behind = turned(0, (0, 0, -16.1))
    assert overlaps(np.eye(4)[None], behind[None], strewn()(3), PLAIN)[0, 0] == 0


def test_rolling_the_head_changes_nothing() -> None:
    rolled = np.diag([-1.0, -1.0, 1.0, 1.0])
    assert overlaps(np.eye(4)[None], rolled[None], strewn()(4), PLAIN)[0, 0] == 1


@pytest.mark.parametrize("field", [PLAIN, SINGLE], ids=["float64", "float32"])
def test_many_pairs_at_once_count_the_same_points_as_one_pair_at_a_time(field: Field, rng: np.random.Generator) -> None:
    viewmats = np.concatenate([random_viewmats(rng, 6, 2.0), wander(rng, 6)])
    cloud = strewn(50_000)(5)
    shared, in_view = shared_counts(viewmats[:5], viewmats, cloud, field)
    for q in range(5):
        for m in range(len(viewmats)):
            assert (shared[q, m], in_view) == shared_count(viewmats[q], viewmats[m], cloud, field)


def test_overlaps_are_those_of_the_published_8b_code() -> None:
    folder = goldens.folder("worldplay8b")
    recorded, _ = goldens.load(folder / "memory_selection.safetensors")
    cloud = goldens.load(folder / "points.safetensors")[0]["points50k_seed0"].numpy()
    cases = {name: tensor.numpy() for name, tensor in recorded.items() if ".overlap" in name}
    for name, wanted in cases.items():  # [clips, 4 queries, 2]: clips from latent 4 on, their first and third latent
        walk, at = name.split(".overlap")
        viewmats = recorded[f"{walk}.w2c"].numpy()
        firsts = 4 + 4 * np.arange(len(wanted))
        for probe, latents in enumerate((firsts, firsts + 2)):
            found = overlaps(viewmats[int(at) : int(at) + 4], viewmats[latents], cloud, PLAIN)
            np.testing.assert_array_equal(found.T, wanted[:, :, probe], err_msg=name)
    assert len(cases) == 21


def test_overlaps_are_those_of_the_published_5b_code() -> None:
    recorded, _ = goldens.load(goldens.folder("worldplay5b") / "memory_selection.safetensors")
    viewmats, wanted = recorded["viewmats"].numpy().astype(np.float64), recorded["similarity"].numpy()
    found = overlaps(viewmats, viewmats, recorded["points_local"].numpy(), SINGLE)
    computed = wanted >= 0
    assert computed.sum() == 192
    np.testing.assert_array_equal(found[computed], wanted[computed])
