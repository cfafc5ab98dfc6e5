from __future__ import annotations

import torch
from keepworld_runtime.sampling.denoise import denoise
from keepworld_runtime.sampling.schedule import shifted_sigmas

from tests import goldens


def test_steps_are_the_recorded_ones() -> None:
    recorded, _ = goldens.load(goldens.folder("worldplay8b") / "scheduler.safetensors")
    outputs, trajectory = recorded["euler.model_outputs"], recorded["euler.trajectory"]
    asked: list[torch.Tensor] = []

    def velocity(latents: torch.Tensor, sigma: float) -> torch.Tensor:
        asked.append(latents)
        return outputs[len(asked) - 1]

    found = denoise(velocity, recorded["euler.x"], shifted_sigmas(4, 5.0))
    for latents, wanted in zip([*asked[1:], found], trajectory, strict=True):
        torch.testing.assert_close(latents, wanted, atol=1e-6, rtol=1e-6)


def test_along_a_straight_line_it_arrives_in_any_number_of_steps() -> None:
    data, noise = torch.randn(2, 1, 4, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    for num_steps in (1, 4, 17):
        found = denoise(lambda *_: noise - data, noise, shifted_sigmas(num_steps, 5.0))
        torch.testing.assert_close(found, data)


def test_the_level_is_told_before_each_step() -> None:
    told: list[float] = []
    denoise(lambda x, sigma: told.append(sigma) or x, torch.zeros(1), (1.0, 0.5, 0.0))
    assert told == [1.0, 0.5]
