from __future__ import annotations

import re

import pytest
import torch
from keepworld_runtime.sampling.schedule import shifted_sigmas

from tests import goldens


def test_levels_are_the_recorded_ones_for_every_shift_and_number_of_steps() -> None:
    recorded, _ = goldens.load(goldens.folder("worldplay8b") / "scheduler.safetensors")
    cases = [match for name in recorded if (match := re.fullmatch(r"shift(\d+)\.n(\d+)\.sigmas", name))]
    for case in cases:
        found = torch.tensor(shifted_sigmas(int(case[2]), float(case[1])))
        torch.testing.assert_close(found, recorded[case[0]], atol=1e-6, rtol=0.0)
        timesteps = recorded[case[0].replace("sigmas", "timesteps")]
        torch.testing.assert_close(1000 * found[:-1], timesteps, atol=1e-3, rtol=0.0)
    assert len(cases) == 20


def test_four_steps_are_the_published_ones() -> None:
    assert shifted_sigmas(4, 5.0) == pytest.approx((1.0, 0.9375, 5 / 6, 0.625, 0.0))


def test_without_a_shift_steps_are_even() -> None:
    assert shifted_sigmas(5, 1.0) == pytest.approx((1.0, 0.8, 0.6, 0.4, 0.2, 0.0))


def test_no_step_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="num_steps must be at least 1, got 0"):
        shifted_sigmas(0, 5.0)
