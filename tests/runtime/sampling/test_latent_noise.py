from __future__ import annotations

import torch
from keepworld_runtime.sampling.latent_noise import latent_noise


def test_how_latents_are_grouped_changes_nothing() -> None:
    at_once = latent_noise(7, 3, (1, 4, 9, 5, 6))
    parts = [latent_noise(7, 3, (1, 4, 4, 5, 6)), latent_noise(7, 7, (1, 4, 5, 5, 6))]
    assert torch.equal(torch.cat(parts, dim=2), at_once)


def test_it_is_normal_and_no_two_latents_or_seeds_have_the_same() -> None:
    noise = torch.stack([latent_noise(seed, 0, (1, 16, 8, 16, 16)) for seed in range(4)])[:, 0]
    assert abs(float(noise.mean())) < 0.01 and abs(float(noise.std()) - 1) < 0.01
    flat = noise.transpose(1, 2).reshape(32, -1)
    off = torch.corrcoef(flat) - torch.eye(32)
    assert off.abs().max() < 5 / flat.shape[1] ** 0.5
