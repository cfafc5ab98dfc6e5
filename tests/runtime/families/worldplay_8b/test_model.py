from __future__ import annotations

import json

import pytest
import torch
from keepworld_runtime.families.worldplay_8b.config import MODEL
from keepworld_runtime.families.worldplay_8b.model import (
    JointPass,
    JointText,
    Row,
    TextPass,
    VisionPass,
    WorldPlay8B,
)
from keepworld_runtime.kernels.attention import sdpa
from keepworld_runtime.layers.attention import Geometry
from keepworld_runtime.layers.camera_rope import camera_maps
from keepworld_runtime.layers.rope import grid_positions, rotary_table
from keepworld_runtime.layers.tokens import even
from keepworld_runtime.memory.kv_cache import KVCache, KVShape
from keepworld_runtime.parallelism.exchange import Alone
from torch import Tensor
from torch.nn import functional as F

from tests import goldens
from tests.runtime.families.worldplay_8b.worlds import (
    CONFIG,
    HEIGHT,
    TOKENS,
    WIDTH,
    places,
    recorded,
    recorded_model,
    recorded_states,
)

PASS = {"atol": 1e-5, "rtol": 1e-5}


def cache_of(model: WorldPlay8B, latents: int, text: int) -> KVCache:
    shape = KVShape(
        layers=model.config.num_layers,
        heads=model.config.num_heads,
        capacity=text + latents * TOKENS,
        head_dim=model.config.head_dim,
    )
    return KVCache(shape, dtype=torch.float32, device="cpu")


def in_use(cache: KVCache, layer: int, geometry: Geometry, *, start: int) -> tuple[Tensor, Tensor]:
    """Keys and values [2, H, S, d] in the cache from slot `start` on, as the branches by place and by camera see them."""
    end = start + geometry.layout.num_tokens
    k, v = cache.k[layer, :, :, start:end], cache.v[layer, :, :, start:end]
    cos, sin = geometry.cos.repeat_interleave(2, dim=-1), geometry.sin.repeat_interleave(2, dim=-1)
    crossed = torch.stack([-k[..., 1::2], k[..., ::2]], dim=-1).flatten(-2)
    maps = geometry.cameras.unproject[0].repeat_interleave(len(cos) // geometry.layout.num_frames, dim=0)
    k_seen, v_seen = (torch.einsum("sij,bhscj->bhsci", maps, x.unflatten(-1, (-1, 4))).flatten(-2) for x in (k, v))
    return torch.cat([k * cos + crossed * sin, k_seen]), torch.cat([v, v_seen])


def test_the_full_network_has_exactly_the_released_names_and_shapes() -> None:
    wanted = json.loads((goldens.folder("worldplay8b") / "full_state_dict_keys.json").read_text())
    with torch.device("meta"):
        model = WorldPlay8B(MODEL)
    assert {name: list(tensor.shape) for name, tensor in model.state_dict().items()} == wanted
    assert len(wanted) == 1905
    assert sum(parameter.numel() for parameter in model.parameters()) == 8_557_933_856


@pytest.mark.parametrize("name", ["bi_forward", "bi_forward_noaction", "bi_forward_t2v"])
def test_the_joint_pass_gives_what_was_recorded(name: str) -> None:
    tensors, about = recorded(name)
    model, states = recorded_model(), recorded_states(tensors)
    assert (states.vision is None) == (about["mask_type"] == "t2v")
    tokens, mask = model.text_tokens(states, tensors["in.timestep_txt"])
    bias = torch.zeros(mask.shape).masked_fill(~mask, float("-inf"))[:, None, None]
    found = model.bidirectional(
        tensors["in.hidden_states"],
        tensors["in.timestep"].view(2, 3),
        tensors["in.action"].view(2, 3) if about["action"] == "true" else None,
        JointText(tokens, tensors["in.timestep_txt"], bias),
        places(range(3), tensors["in.viewmats"], tensors["in.Ks"]),
    )
    torch.testing.assert_close(found, tensors["out.sample"], **PASS)


def test_what_happens_inside_the_joint_pass_is_what_was_recorded() -> None:
    tensors, _ = recorded("bi_forward")
    model, states, made = recorded_model(), recorded_states(tensors), {}
    tokens, mask = model.text_tokens(states, tensors["in.timestep_txt"])
    names = (
        "txt_in",
        "byt5_in",
        "vision_in",
        "img_in",
        "action_in",
        "double_blocks.0",
        "double_blocks.1",
        "final_layer",
    )
    for name in names:
        model.get_submodule(name).register_forward_hook(lambda _, __, out, name=name: made.__setitem__(name, out))
    model.text_tokens(states, tensors["in.timestep_txt"])
    bias = torch.zeros(mask.shape).masked_fill(~mask, float("-inf"))[:, None, None]
    model.bidirectional(
        tensors["in.hidden_states"],
        tensors["in.timestep"].view(2, 3),
        tensors["in.action"].view(2, 3),
        JointText(tokens, tensors["in.timestep_txt"], bias),
        places(range(3), tensors["in.viewmats"], tensors["in.Ks"]),
    )
    assert torch.equal(mask, tensors["inter.text_tokens_mask"].bool())
    torch.testing.assert_close(tokens[mask], tensors["inter.text_tokens"][mask], **PASS)
    words, quoted = states.text_mask, states.byt5_mask
    torch.testing.assert_close(made["txt_in"][words], tensors["inter.txt_in"][words], **PASS)
    torch.testing.assert_close(made["byt5_in"][quoted], tensors["inter.byt5_in"][quoted], **PASS)
    for name in ("vision_in", "img_in", "final_layer"):
        torch.testing.assert_close(made[name], tensors[f"inter.{name}"], **PASS)
    torch.testing.assert_close(made["action_in"].flatten(0, 1), tensors["inter.action_in"], **PASS)
    torch.testing.assert_close(model.time_in(tensors["in.timestep"]), tensors["inter.time_in_frames"], **PASS)
    torch.testing.assert_close(model.time_in(tensors["in.timestep_txt"]), tensors["inter.time_in_txt"], **PASS)
    for block in range(2):
        img, txt = made[f"double_blocks.{block}"]
        torch.testing.assert_close(img, tensors[f"inter.double_blocks.{block}.0"], **PASS)
        torch.testing.assert_close(txt[mask], tensors[f"inter.double_blocks.{block}.1"][mask], **PASS)


class TestPasses:
    """Text, then context, then a chunk, as recorded."""

    def test_the_text_pass_gives_the_recorded_keys_and_values(self) -> None:
        tensors, _ = recorded("ar_passes")
        k, v = recorded_model().text_kv(*recorded_states(tensors).unpadded())
        for layer in range(2):
            torch.testing.assert_close(k[layer], tensors[f"txt.{layer}.k"], **PASS)
            torch.testing.assert_close(v[layer], tensors[f"txt.{layer}.v"], **PASS)

    def test_the_vision_passes_give_what_was_recorded(self) -> None:
        tensors, _ = recorded("ar_passes")
        model = recorded_model()
        text = model.text_kv(*recorded_states(tensors).unpadded())
        num_text = text[0].shape[3]
        cache = cache_of(model, 12, num_text)
        cache.write_text([text])
        latents, actions = tensors["in.hidden_states"], tensors["in.action"][0]

        def part(start: int, end: int, times: range) -> Geometry:
            return places(times, tensors["in.viewmats"][:, start:end], tensors["in.Ks"][:, start:end])

        first = part(0, 4, range(4))
        row = Row(queries=first, keys=first, cache=cache, at=num_text)
        found = model.velocity(latents[:, :, :4], torch.full((4,), 1000.0), actions[:4], row)
        torch.testing.assert_close(found, tensors["chunk0.out"], **PASS)

        past = part(0, 8, range(8))
        row = Row(queries=past, keys=past, cache=cache, at=num_text)
        model.write_context(latents[:, :, :8], torch.full((8,), 14.0), actions[:8], row)
        for layer in range(2):
            k, v = in_use(cache, layer, past, start=num_text)
            torch.testing.assert_close(k, tensors[f"mem.{layer}.k"], **PASS)
            torch.testing.assert_close(v, tensors[f"mem.{layer}.v"], **PASS)

        cache.num_context = past.layout.num_tokens
        row = Row(queries=part(8, 12, range(8, 12)), keys=part(0, 12, range(12)), cache=cache, at=cache.past)
        for timestep, name in ((937.5, "chunk2.out_t937"), (625.0, "chunk2.out_t625")):
            found = model.velocity(latents[:, :, 8:], torch.full((4,), timestep), actions[8:], row)
            torch.testing.assert_close(found, tensors[name], **PASS)


class TestBlock:
    """A block alone; what is a latent's elsewhere is a token's here, so each token is a latent of its own."""

    def given(self) -> tuple[dict[str, Tensor], Geometry]:
        tensors, _ = recorded("block0")
        cameras = camera_maps(tensors["in.viewmats"].double().numpy(), tensors["in.Ks"].double().numpy())
        return tensors, Geometry(even(48, 1), tensors["in.cos"][:, ::2], tensors["in.sin"][:, ::2], cameras)

    @pytest.mark.parametrize("name", ["bi", "noaction"])
    def test_latents_and_text_together(self, name: str) -> None:
        tensors, geometry = self.given()
        mask = tensors["in.text_mask"].bool()
        hidden = torch.zeros(1, 1, 1, 48 + 7)
        hidden[..., 48:].masked_fill_(~mask[:, None, None], float("-inf"))
        given = JointPass(
            vec=F.silu(tensors["in.vec"])[None],
            text_vec=F.silu(tensors["in.vec_txt"])[:, None],
            geometry=geometry,
            has_cameras=name == "bi",
            bias=hidden,
            share=geometry.layout,
            exchange=Alone(),
            attend=sdpa,
        )
        block = recorded_model().double_blocks[0]
        img, txt = block(given, (tensors["in.img"], tensors["in.txt"]), 0, keys_only=False)
        torch.testing.assert_close(img, tensors[f"{name}.img"], **PASS)
        torch.testing.assert_close(txt[mask], tensors[f"{name}.txt"][mask], **PASS)

    def test_text_then_context_then_more_latents(self) -> None:
        tensors, geometry = self.given()
        model = recorded_model()
        block = model.double_blocks[0]
        txt, k, v = block(TextPass(F.silu(tensors["in.vec_txt"])[:, None], sdpa), tensors["in.txt"], 0, keys_only=False)
        for found, name in ((txt, "txt"), (k, "k"), (v, "v")):
            torch.testing.assert_close(found, tensors[f"ar_txt.{name}"], **PASS)
        cache = cache_of(model, 4, 7)
        cache.write_text([(k[None], v[None])])

        def vision(img: Tensor, queries: Geometry, keys: Geometry, at: int) -> Tensor:
            row = Row(queries=queries, keys=keys, cache=cache, at=at)
            given = VisionPass(F.silu(tensors["in.vec"])[None], row, queries.layout, Alone(), sdpa)
            found: Tensor = block(given, img, 0, keys_only=False)
            return found

        found = vision(tensors["in.img"], geometry, geometry, 7)
        torch.testing.assert_close(found, tensors["ar_vision_nomem.img"], **PASS)
        k, v = in_use(cache, 0, geometry, start=7)
        torch.testing.assert_close(k, tensors["ar_vision_nomem.k"], **PASS)
        torch.testing.assert_close(v, tensors["ar_vision_nomem.v"], **PASS)

        more = camera_maps(tensors["in.viewmats_b"].double().numpy(), tensors["in.Ks"].double().numpy())
        cos, sin = rotary_table(grid_positions((2, 3), HEIGHT, WIDTH), CONFIG.rope_dims, CONFIG.rope_theta)
        queries = Geometry(even(48, 1), cos, sin, more)
        both = type(more)(
            torch.cat([geometry.cameras.project, more.project], dim=1),
            torch.cat([geometry.cameras.unproject, more.unproject], dim=1),
        )
        keys = Geometry(even(96, 1), torch.cat([geometry.cos, cos]), torch.cat([geometry.sin, sin]), both)
        found = vision(tensors["in.img_b"], queries, keys, 7 + 48)
        torch.testing.assert_close(found, tensors["ar_vision_mem.img"], **PASS)
