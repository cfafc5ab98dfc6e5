from __future__ import annotations

import numpy as np
import pytest
import torch
from keepworld_runtime.families.worldplay_5b.config import MODEL
from keepworld_runtime.families.worldplay_5b.model import PreparedPrompt, Row, WorldPlay5B
from keepworld_runtime.layers.attention import Geometry
from keepworld_runtime.layers.camera_rope import CameraMaps, camera_maps
from keepworld_runtime.layers.rope import grid_positions, rotary_table
from keepworld_runtime.layers.tokens import even
from keepworld_runtime.memory.kv_cache import KVCache, KVShape
from torch import Tensor

from tests import goldens
from tests.runtime.families.worldplay_5b.worlds import TOKENS, recorded_model

PASS = {"atol": 1e-5, "rtol": 1e-5}

RELEASED = {
    "scale_shift_table": (1, 2, 3072),
    "patch_embedding.weight": (3072, 48, 1, 2, 2),
    "patch_embedding.bias": (3072,),
    "proj_out.weight": (192, 3072),
    "proj_out.bias": (192,),
}
EMBEDDERS = {
    "time_embedder.linear_1": (3072, 256),
    "time_embedder.linear_2": (3072, 3072),
    "time_proj": (18432, 3072),
    "text_embedder.linear_1": (3072, 4096),
    "text_embedder.linear_2": (3072, 3072),
    "action_embedder.linear_1": (3072, 256),
    "action_embedder.linear_2": (3072, 3072),
}
BLOCK = {
    **{f"attn1.{name}": (3072, 3072) for name in ("to_q", "to_k", "to_v", "to_out.0", "to_out_prope.0")},
    **{f"attn2.{name}": (3072, 3072) for name in ("to_q", "to_k", "to_v", "to_out.0")},
    "ffn.net.0.proj": (14336, 3072),
    "ffn.net.2": (3072, 14336),
}


def released_names() -> dict[str, tuple[int, ...]]:
    """The released checkpoint's table of names and shapes."""
    shapes = dict(RELEASED)
    linears = {f"condition_embedder.{name}": shape for name, shape in EMBEDDERS.items()}
    for block in range(30):
        shapes[f"blocks.{block}.scale_shift_table"] = (1, 6, 3072)
        for name in ("attn1.norm_q", "attn1.norm_k", "attn2.norm_q", "attn2.norm_k", "norm2"):
            shapes[f"blocks.{block}.{name}.weight"] = (3072,)
        shapes[f"blocks.{block}.norm2.bias"] = (3072,)
        linears |= {f"blocks.{block}.{name}": shape for name, shape in BLOCK.items()}
    for name, shape in linears.items():
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = shape, shape[:1]
    return shapes


def test_the_full_network_has_exactly_the_released_names_and_shapes() -> None:
    with torch.device("meta"):
        model = WorldPlay5B(MODEL)
    found = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert found == released_names()
    assert len(found) == 889
    assert sum(tensor.numel() for tensor in model.state_dict().values()) == 5_293_225_152


class Recorded:
    """Forwards of the recorded network on recorded inputs."""

    def __init__(self) -> None:
        self.model = recorded_model()
        config = self.model.config
        shape = KVShape(
            layers=config.num_layers,
            heads=config.num_attention_heads,
            capacity=8 * TOKENS,
            head_dim=config.attention_head_dim,
        )
        self.cache = KVCache(shape, dtype=torch.float32, device="cpu")

    def tables(self, start: int, end: int) -> tuple[Tensor, Tensor]:
        config = self.model.config
        return rotary_table(grid_positions(range(start, end), 4, 6), config.rope_dims, config.rope_theta)

    def geometry(self, start: int, end: int, cameras: CameraMaps) -> Geometry:
        return Geometry(even(end - start, TOKENS), *self.tables(start, end), cameras)

    def arguments(self, tensors: dict[str, Tensor], name: str) -> tuple[Tensor, Tensor, Tensor]:
        return tensors[f"{name}.hidden_states"], tensors[f"{name}.timestep"], tensors[f"{name}.action"][0]

    def cameras(self, tensors: dict[str, Tensor], *names: str) -> CameraMaps:
        """Of what was recorded, the one after the other."""
        parts = ([tensors[f"{name}.{what}"][0].double().numpy() for name in names] for what in ("viewmats", "Ks"))
        viewmats, Ks = (np.concatenate(part) for part in parts)
        return camera_maps(viewmats, Ks)

    def text(self, tensors: dict[str, Tensor], name: str) -> PreparedPrompt:
        return self.model.text_kv(tensors[f"{name}.encoder_hidden_states"])


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    return Recorded()


def test_a_forward_without_context_is_the_recorded_one(recorded: Recorded) -> None:
    tensors, _ = goldens.load(goldens.folder("worldplay5b") / "forward_full.safetensors")
    assert tensors["full.ints"].tolist()[:2] == [0, 4 * TOKENS]
    there = recorded.geometry(0, 4, recorded.cameras(tensors, "full"))
    row = Row(text=recorded.text(tensors, "full"), queries=there, keys=there, cache=recorded.cache, at=0)
    out = recorded.model.velocity(*recorded.arguments(tensors, "full"), row)
    torch.testing.assert_close(out, tensors["full.out"], **PASS)


def test_context_is_written_and_attended_to_as_recorded(recorded: Recorded) -> None:
    tensors, _ = goldens.load(goldens.folder("worldplay5b") / "forward_cached.safetensors")
    cameras = recorded.cameras(tensors, "cache", "denoise")
    past, everything = recorded.geometry(0, 4, cameras[:4]), recorded.geometry(0, 8, cameras)
    own = recorded.geometry(4, 8, cameras[4:])
    cache, model = recorded.cache, recorded.model
    text = recorded.text(tensors, "cache")
    model.write_context(
        *recorded.arguments(tensors, "cache"), Row(text=text, queries=past, keys=past, cache=cache, at=0)
    )
    written = slice(0, 4 * TOKENS)
    for layer in range(model.config.num_layers):
        k, v = cache.k[layer][:, :, written], cache.v[layer][:, :, written]
        cos, sin = (table.repeat_interleave(2, -1) for table in recorded.tables(0, 4))
        turned = k * cos + torch.stack([-k[..., 1::2], k[..., ::2]], -1).flatten(-2) * sin
        keys = torch.cat([turned, cameras[:4].on_key(k, past.layout)], dim=-1)
        values = torch.cat([v, cameras[:4].on_key(v, past.layout)], dim=-1)
        torch.testing.assert_close(keys, tensors[f"cache.out.{layer}.k"], **PASS)
        torch.testing.assert_close(values, tensors[f"cache.out.{layer}.v"], **PASS)
    row = Row(text=text, queries=own, keys=everything, cache=cache, at=4 * TOKENS)
    out = model.velocity(*recorded.arguments(tensors, "denoise"), row)
    torch.testing.assert_close(out, tensors["denoise.out"], **PASS)


@pytest.mark.parametrize("broken", ["cameras", "norm", "time"])
def test_the_recorded_forward_is_not_met_by_a_network_that_is_broken_on_purpose(
    recorded: Recorded, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors, _ = goldens.load(goldens.folder("worldplay5b") / "forward_full.safetensors")
    there = recorded.geometry(0, 4, recorded.cameras(tensors, "full"))
    latents, timesteps, actions = recorded.arguments(tensors, "full")
    if broken == "cameras":
        there = recorded.geometry(0, 4, camera_maps(np.tile(np.eye(4), (4, 1, 1)), np.tile(np.eye(3), (4, 1, 1))))
    if broken == "norm":
        for block in recorded.model.blocks:
            monkeypatch.setattr(block.attn1.norm_q, "forward", lambda x: x)
    if broken == "time":
        timesteps = timesteps - 1
    row = Row(text=recorded.text(tensors, "full"), queries=there, keys=there, cache=recorded.cache, at=0)
    out = recorded.model.velocity(latents, timesteps, actions, row)
    assert (out - tensors["full.out"]).abs().max() > 1e-3
