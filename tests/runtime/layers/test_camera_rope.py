from __future__ import annotations

import numpy as np
import pytest
import torch
from keepworld_runtime.kernels.attention import sdpa
from keepworld_runtime.layers.camera_rope import CameraMaps, camera_maps
from keepworld_runtime.layers.tokens import TokenLayout, even
from numpy.typing import NDArray
from torch import Tensor

from tests import goldens
from tests.runtime.memory.walks import random_viewmats

K = np.array([[0.51, 0.1, 0.4], [0, 0.9, 0.6], [0, 0, 1]])


def cameras_of(viewmats: NDArray[np.float64]) -> CameraMaps:
    return camera_maps(viewmats, np.tile(K, (len(viewmats), 1, 1)))


def rows(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["per_token", "per_frame", "noK"])
def test_tokens_are_mapped_as_recorded(name: str) -> None:
    recorded, _ = goldens.load(goldens.folder("worldplay8b") / "prope.safetensors")
    told = {key.removeprefix(f"{name}."): tensor for key, tensor in recorded.items() if key.startswith(f"{name}.")}
    viewmats = told["viewmats"].double().numpy()
    Ks = told["Ks"].double().numpy() if "Ks" in told else np.broadcast_to(np.eye(3), (*viewmats.shape[:2], 3, 3))
    maps = camera_maps(viewmats, Ks)
    layout = even(viewmats.shape[1], told["q"].shape[2] // viewmats.shape[1])
    for found, wanted in (
        (maps.on_query(told["q"], layout), told["q_out"]),
        (maps.on_key(told["k"], layout), told["k_out"]),
        (maps.on_key(told["v"], layout), told["v_out"]),
        (maps.on_output(told["o"], layout), told["o_out"]),
    ):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_the_map_is_a_projection_and_its_inverse() -> None:
    viewmats = random_viewmats(np.random.default_rng(1), 5)
    maps = cameras_of(viewmats)
    wanted = np.diag([0.51, 0.9, 1.0, 1.0]) @ viewmats
    np.testing.assert_allclose(maps.project[0], wanted, atol=1e-6)
    np.testing.assert_allclose(maps.unproject[0], np.linalg.inv(wanted), atol=1e-5)


def test_attention_by_camera_does_not_know_where_the_world_is() -> None:
    rng = np.random.default_rng(2)
    viewmats, elsewhere = random_viewmats(rng, 3), random_viewmats(rng, 1)[0]
    layout = TokenLayout(((2, 4), (1, 2)))
    q, k, v = rows(3, 1, 2, 10, 8)

    def seen(viewmats: NDArray[np.float64]) -> Tensor:
        maps = cameras_of(viewmats)
        out = sdpa(maps.on_query(q, layout), maps.on_key(k, layout), maps.on_key(v, layout))
        return maps.on_output(out, layout)

    torch.testing.assert_close(seen(viewmats @ elsewhere), seen(viewmats), atol=2e-4, rtol=2e-4)
    assert (seen(viewmats[[1, 0, 2]]) - seen(viewmats)).abs().max() > 1e-2


def test_some_of_the_latents_have_some_of_the_maps() -> None:
    maps, x = cameras_of(random_viewmats(np.random.default_rng(3), 4)), rows(1, 2, 12, 8)
    whole = maps.on_key(x, even(4, 3))
    assert torch.equal(maps[1:3].on_key(x[:, :, 3:9], even(2, 3)), whole[:, :, 3:9])
