from __future__ import annotations

import itertools
import math
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from keepworld_runtime.families.latent.denoiser import ChunkInput, heard
from keepworld_runtime.families.worldplay_8b.config import DISTILLED, RolloutConfig
from keepworld_runtime.families.worldplay_8b.model import JointText, Row
from keepworld_runtime.families.worldplay_8b.plain import Plain8B
from keepworld_runtime.families.worldplay_8b.rollout import PreparedPrompt, Rollout8B
from keepworld_runtime.kernels.attention import sdpa
from keepworld_runtime.layers.attention import Geometry
from keepworld_runtime.layers.camera_rope import camera_maps
from keepworld_runtime.layers.rope import grid_positions, rotary_table
from keepworld_runtime.layers.tokens import even
from keepworld_runtime.memory.kv_cache import KVCache, KVShape
from keepworld_runtime.memory.overlap import ball_points
from keepworld_runtime.memory.policies import Plan
from keepworld_runtime.memory.reconstituted import Reconstituted
from keepworld_runtime.memory.retrieval import Retrieval
from keepworld_runtime.memory.views import Views, rebased
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from tests.runtime.families.worldplay_8b.worlds import (
    CONFIG,
    GUIDED,
    HEIGHT,
    JOINT,
    TOKENS,
    WIDTH,
    chunk_of,
    places,
    rollout_of,
    small_model,
    states,
    walk,
)

# Sums of float32 in another order: a few last bits of numbers near 10.
ROUNDING = {"atol": 5e-5, "rtol": 5e-5}
IMAGE = torch.linspace(-1, 1, CONFIG.latent_channels * TOKENS).view(1, CONFIG.latent_channels, 1, HEIGHT, WIDTH)


@pytest.fixture(scope="module")
def rollout() -> Rollout8B:
    return rollout_of(small_model())


@pytest.fixture(scope="module")
def prompt(rollout: Rollout8B) -> PreparedPrompt:
    return rollout.prepare(states())


def places_of(views: Views, times: range) -> Geometry:
    return places(times, torch.from_numpy(views.viewmats), torch.from_numpy(views.Ks))


@pytest.mark.parametrize("config", [DISTILLED, GUIDED, JOINT], ids=["few steps", "guided", "bidirectional"])
@pytest.mark.parametrize("num_context", [0, 8, 20])
@pytest.mark.parametrize("has_image", [False, True], ids=["text", "image"])
def test_a_chunk_is_what_the_published_way_makes_of_it(
    rollout: Rollout8B, config: RolloutConfig, num_context: int, has_image: bool
) -> None:
    said = states(texts=1 if config is DISTILLED else 2, has_picture=has_image)
    image = IMAGE if has_image else None
    ours, theirs = (
        denoiser.denoise(chunk_of((denoiser.prepare(said), 1.0), num_context=num_context, image=image))
        for denoiser in (rollout_of(rollout.model, config), Plain8B(rollout.model, config))
    )
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, theirs, **ROUNDING)


def test_text_and_context_in_a_cache_are_as_good_as_in_the_same_row_blind_to_what_follows(
    rollout: Rollout8B, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small_model()
    (said,) = states().unpadded()
    k, v = model.text_kv(said)
    num_text, views = k.shape[3], walk(12)
    whole = places_of(views, range(12))
    latents = torch.randn(1, 9, 12, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    actions, levels = torch.from_numpy(views.actions), torch.tensor([14.0] * 8 + [900.0] * 4)
    shape = KVShape(layers=2, heads=4, capacity=num_text + 12 * TOKENS, head_dim=16)
    cache = KVCache(shape, dtype=torch.float32, device="cpu")
    cache.write_text([(k, v)])
    past = places_of(views[:8], range(8))
    model.write_context(
        latents[:, :, :8], levels[:8], actions[:8], Row(queries=past, keys=past, cache=cache, at=num_text)
    )
    cache.num_context = 8 * TOKENS
    row = Row(queries=places_of(views[8:], range(8, 12)), keys=whole, cache=cache, at=cache.past)
    cached = model.velocity(latents[:, :, 8:], levels[8:], actions[8:], row)

    comes = torch.cat(
        [torch.full((8 * TOKENS,), 1), torch.full((4 * TOKENS,), 2), torch.zeros(num_text, dtype=torch.long)]
    )
    blind = torch.zeros(len(comes), len(comes)).masked_fill(comes[:, None] < comes, -math.inf)

    def masked(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        return sdpa(q, k, v, blind[: q.shape[2]])

    tokens, _ = model.text_tokens(said, torch.zeros(1))
    monkeypatch.setattr(model, "attend", masked)
    joint = model.bidirectional(latents, levels[None], actions[None], JointText(tokens, torch.zeros(1)), whole)
    torch.testing.assert_close(cached, joint[:, :, 8:], **ROUNDING)


def test_what_was_made_before_changes_nothing(rollout: Rollout8B, prompt: PreparedPrompt) -> None:
    chunk = chunk_of((prompt, 1.0), num_context=8)
    before = rollout.denoise(chunk)
    rollout.denoise(chunk_of((prompt, 1.0), num_context=16, views=walk(20, origin=(3.0, 1.0, 2.0))))
    assert torch.equal(rollout.denoise(chunk), before)


def test_bfloat16_makes_nearly_the_same(rollout: Rollout8B, prompt: PreparedPrompt) -> None:
    rough = rollout_of(small_model(torch.bfloat16))
    found = rough.denoise(chunk_of((rough.prepare(states()), 1.0), num_context=8))
    wanted = rollout.denoise(chunk_of((prompt, 1.0), num_context=8))
    assert found.dtype == torch.float32
    # Eight bits through two layers and four steps; latents that are not of this chunk are 1.4 away.
    assert (found - wanted).norm() / wanted.norm() < 0.05


class TestPrompts:
    def test_one_may_be_prepared_while_a_chunk_is_being_made(self, rollout: Rollout8B, prompt: PreparedPrompt) -> None:
        chunk = chunk_of((prompt, 1.0), num_context=8)
        alone = rollout.denoise(chunk)
        prepared: list[PreparedPrompt] = []
        beside = threading.Thread(target=lambda: prepared.extend(rollout.prepare(states(seed)) for seed in range(30)))
        beside.start()
        together = [rollout.denoise(chunk) for _ in range(3)]
        beside.join()
        assert all(torch.equal(latents, alone) for latents in together)
        assert torch.equal(prepared[29].texts[0].k, rollout.prepare(states(29)).texts[0].k)

    def test_preparing_leaves_the_cache_alone(self, rollout: Rollout8B, prompt: PreparedPrompt) -> None:
        rollout.denoise(chunk_of((prompt, 1.0), num_context=8))
        before = rollout.caches[0], rollout.caches[0].k.clone(), rollout.caches[0].workspace.clone()
        rollout.prepare(states(9, length=12))
        assert rollout.caches[0] is before[0]
        assert torch.equal(rollout.caches[0].k, before[1]) and torch.equal(rollout.caches[0].workspace, before[2])

    @pytest.mark.parametrize("config", [DISTILLED, GUIDED, JOINT], ids=["few steps", "guided", "bidirectional"])
    def test_all_weight_on_one_is_that_prompt_to_the_bit(self, config: RolloutConfig) -> None:
        rollout = rollout_of(small_model(), config)
        old, new = (rollout.prepare(states(seed, texts=rollout.num_texts)) for seed in (1, 2))
        for weight, only in ((0.0, old), (1.0, new)):
            ramp = rollout.denoise(chunk_of((old, 1 - weight), (new, weight), num_context=4))
            assert torch.equal(ramp, rollout.denoise(chunk_of((only, 1.0), num_context=4)))

    def test_one_that_gives_way_to_itself_stays_what_it_is(self, rollout: Rollout8B, prompt: PreparedPrompt) -> None:
        twice = rollout.denoise(chunk_of((prompt, 0.3), (prompt, 0.7), num_context=4))
        torch.testing.assert_close(twice, rollout.denoise(chunk_of((prompt, 1.0), num_context=4)), **ROUNDING)

    def test_the_way_from_one_to_another_is_gradual(self, rollout: Rollout8B) -> None:
        old, new = rollout.prepare(states(1)), rollout.prepare(states(2, length=9))
        weights = (0.0, 0.25, 0.5, 0.75, 1.0)
        made = [rollout.denoise(chunk_of((old, 1 - w), (new, w), num_context=4)) for w in weights]
        away = [float((latents - made[0]).norm()) for latents in made]
        left = [float((latents - made[-1]).norm()) for latents in made]
        assert away == sorted(away) and left == sorted(left, reverse=True)
        assert max(b - a for a, b in itertools.pairwise(away)) < 0.6 * away[-1]

    def test_a_longer_one_gets_more_room_before_it_is_heard(self, rollout: Rollout8B) -> None:
        rollout = rollout_of(rollout.model)
        short = rollout.prepare(states())
        rollout.denoise(chunk_of((short, 1.0), num_context=4))
        small = rollout.caches[0].capacity
        rng = torch.Generator().manual_seed(0)
        many = replace(states(), text=torch.randn(1, 300, 48, generator=rng), text_mask=torch.ones(1, 300).bool())
        long = rollout.prepare(many)
        rollout.denoise(chunk_of((short, 1.0), num_context=4))
        roomy = rollout.caches[0]
        assert roomy.capacity > small
        rollout.denoise(chunk_of((short, 0.5), (long, 0.5), num_context=4))
        rollout.denoise(chunk_of((long, 1.0), num_context=4))
        assert rollout.caches[0] is roomy

    @pytest.mark.parametrize("weights", [(0.5, 0.4), (1.5, -0.5), ()])
    def test_weights_that_are_no_share_are_refused(self, prompt: PreparedPrompt, weights: tuple[float, ...]) -> None:
        with pytest.raises(ValueError, match="weights of prompts must be at least 0 and add up to 1"):
            heard([(prompt, weight) for weight in weights])


class TestPicture:
    def test_it_stands_beside_the_first_latent_of_the_world_wherever_that_is_seen(
        self, rollout: Rollout8B, prompt: PreparedPrompt, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        inputs: list[Tensor] = []
        inner = rollout.model.img_in.forward
        monkeypatch.setattr(rollout.model.img_in, "forward", lambda x: inputs.append(x) or inner(x))
        rollout.denoise(chunk_of((prompt, 1.0), num_context=0, image=IMAGE))
        rollout.denoise(chunk_of((prompt, 1.0), num_context=4, image=IMAGE))
        channels = CONFIG.latent_channels
        chunk, context, later = inputs[0], inputs[4], inputs[5]
        for first in (chunk, context):
            assert torch.equal(first[:, channels:-1, :1], IMAGE) and bool((first[:, -1, 0] == 1).all())
            assert not first[:, channels:, 1:].any()
        assert not later[:, channels:].any()

    def test_without_one_nothing_stands_there(
        self, rollout: Rollout8B, prompt: PreparedPrompt, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        inputs: list[Tensor] = []
        inner = rollout.model.img_in.forward
        monkeypatch.setattr(rollout.model.img_in, "forward", lambda x: inputs.append(x) or inner(x))
        rollout.denoise(chunk_of((prompt, 1.0), num_context=4))
        assert not any(bool(x[:, CONFIG.latent_channels :].any()) for x in inputs)


class TestOrigin:
    AWAY = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 3.0], [0, 0, 0, 1]])

    def both(self, rollout: Rollout8B, prompt: PreparedPrompt) -> tuple[Tensor, Tensor]:
        """One chunk, its views told from the first camera and from elsewhere."""
        views = walk(8)
        here, there = (
            rollout.denoise(chunk_of((prompt, 1.0), num_context=4, views=each))
            for each in (views, rebased(views, self.AWAY))
        )
        return here, there

    def test_text_makes_the_world_depend_on_where_its_origin_is(
        self, rollout: Rollout8B, prompt: PreparedPrompt
    ) -> None:
        here, there = self.both(rollout, prompt)
        assert (here - there).abs().max() > 1e-2

    def test_without_text_it_does_not(self, rollout: Rollout8B, prompt: PreparedPrompt) -> None:
        text = prompt.texts[0]
        silent = PreparedPrompt((replace(text, k=text.k[:, :, :, :0], v=text.v[:, :, :, :0]),))
        torch.testing.assert_close(*self.both(rollout, silent), **ROUNDING)

    def test_reanchored_it_does_not(self, rollout: Rollout8B, prompt: PreparedPrompt) -> None:
        reanchored = rollout_of(rollout.model, replace(DISTILLED, is_reanchored=True))
        torch.testing.assert_close(*self.both(reanchored, prompt), **ROUNDING)


class TestCost:
    def test_from_the_sixth_chunk_on_every_chunk_costs_the_same(self) -> None:
        rollout = rollout_of(small_model())
        prompt = rollout.prepare(states())
        points = ball_points(np.random.default_rng(0).random((3, 2000), np.float32), 8.0)
        memory = Reconstituted(Plan(retrieval=Retrieval(), points=lambda _: points, capacity=36))
        views, flops, slots = walk(48), [], set()
        for start in range(0, 48, 4):
            part = views[start : start + 4]
            noise = torch.randn(1, 4, 4, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(start))
            chunk = ChunkInput(
                start=start, noise=noise, views=part, context=memory.select(part), prompts=((prompt, 1.0),), image=None
            )
            with FlopCounterMode(display=False) as counter:
                latents = rollout.denoise(chunk)
            memory.remember(latents, part)
            flops.append(counter.get_total_flops())
            (cache,) = rollout.caches
            slots.add((cache.num_bytes, cache.k.data_ptr(), cache.v.data_ptr(), cache.workspace.data_ptr()))
        assert flops[:6] == sorted(set(flops[:6]))  # the context grows until it is full
        assert len(set(flops[5:])) == 1
        assert len(slots) == 1

    def test_nothing_is_computed_for_nothing(self, rollout: Rollout8B, prompt: PreparedPrompt) -> None:
        model = rollout.model
        calls: dict[str, int] = {}
        watched = (
            "double_blocks.1.img_mlp",
            "double_blocks.1.img_attn_q",
            "double_blocks.0.img_mlp",
            "double_blocks.0.txt_attn_k",
            "txt_in",
            "final_layer",
        )
        hooks = [
            model.get_submodule(name).register_forward_hook(
                lambda *_, name=name: calls.__setitem__(name, calls.get(name, 0) + 1)
            )
            for name in watched
        ]
        rollout.denoise(chunk_of((prompt, 1.0), num_context=4))
        once = dict(calls)
        calls.clear()
        rollout.prepare(states())
        for hook in hooks:
            hook.remove()
        steps = DISTILLED.num_steps
        last = dict.fromkeys(("double_blocks.1.img_mlp", "double_blocks.1.img_attn_q", "final_layer"), steps)
        assert once == last | {"double_blocks.0.img_mlp": steps + 1}  # and nothing of the text
        assert calls == {"double_blocks.0.txt_attn_k": 1, "txt_in": 1}

    def test_a_latents_time_and_action_act_once_not_for_every_token(
        self, rollout: Rollout8B, prompt: PreparedPrompt, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sizes: set[int] = set()
        hook = rollout.model.double_blocks[0].img_mod.linear.register_forward_hook(
            lambda _, given, __: sizes.add(given[0].shape[1])
        )
        rollout.denoise(chunk_of((prompt, 1.0), num_context=8))
        hook.remove()
        assert sizes == {8, 4}


class TestPooling:
    SIDES = np.array([2, 2, 1, 2, 1, 1, 1, 1])

    def test_pooled_context_is_the_mean_of_its_keys_and_values_in_the_middle_of_their_squares(
        self, rollout: Rollout8B, prompt: PreparedPrompt
    ) -> None:
        chunk = chunk_of((prompt, 1.0), num_context=8, pooling=self.SIDES)
        found = rollout.denoise(chunk)
        torch.testing.assert_close(found, self.on_means(rollout, chunk, prompt), **ROUNDING)

    def test_two_prompts_are_heard_by_pooled_context_too(self, rollout: Rollout8B, prompt: PreparedPrompt) -> None:
        once, twice = (
            rollout.denoise(chunk_of(*prompts, num_context=8, pooling=self.SIDES))
            for prompts in (((prompt, 1.0),), ((prompt, 0.3), (prompt, 0.7)))
        )
        torch.testing.assert_close(twice, once, **ROUNDING)

    def test_it_needs_room_for_what_is_left_only(self, rollout: Rollout8B, prompt: PreparedPrompt) -> None:
        chunk = chunk_of((prompt, 1.0), num_context=8, pooling=self.SIDES)
        left = chunk.context.num_tokens(HEIGHT, WIDTH)
        assert left == 3 * TOKENS // 4 + 5 * TOKENS
        fits = Rollout8B(rollout.model, DISTILLED, height=HEIGHT, width=WIDTH, context_tokens=left)
        torch.testing.assert_close(fits.denoise(chunk), rollout.denoise(chunk), **ROUNDING)
        tight = Rollout8B(rollout.model, DISTILLED, height=HEIGHT, width=WIDTH, context_tokens=left - 1)
        with pytest.raises(ValueError, match=f"context must have at most {left - 1} tokens, got {left}"):
            tight.denoise(chunk)

    def test_squares_that_do_not_fill_a_latent_are_refused(self, rollout: Rollout8B, prompt: PreparedPrompt) -> None:
        chunk = chunk_of((prompt, 1.0), num_context=8, pooling=np.array([4, 1, 1, 1, 1, 1, 1, 1]))
        with pytest.raises(ValueError, match="pooling must divide a latent's 4 × 6 tokens, got 4"):
            rollout.denoise(chunk)

    def test_the_bidirectional_model_refuses_it(self, rollout: Rollout8B) -> None:
        joint = rollout_of(rollout.model, JOINT)
        chunk = chunk_of((joint.prepare(states(texts=2)), 1.0), num_context=8, pooling=self.SIDES)
        with pytest.raises(ValueError, match="context must not be pooled"):
            joint.denoise(chunk)

    def on_means(self, rollout: Rollout8B, chunk: ChunkInput[PreparedPrompt], prompt: PreparedPrompt) -> Tensor:
        """The chunk, on a context whose keys and values are written whole and then averaged square by square."""
        model, text = rollout.model, prompt.texts[0]
        num_text, count = text.k.shape[3], len(self.SIDES)
        shape = KVShape(layers=2, heads=4, capacity=num_text + (count + 4) * TOKENS, head_dim=16)
        cache = KVCache(shape, dtype=torch.float32, device="cpu")
        cache.write_text([(text.k, text.v)])
        views = Views.join([chunk.context.views, chunk.views])
        cameras, actions = camera_maps(views.viewmats, views.Ks), torch.from_numpy(views.actions)
        there = places_of(chunk.context.views, range(count))
        beside = torch.zeros(1, 5, count, HEIGHT, WIDTH)
        model.write_context(
            torch.cat([chunk.context.latents, beside], dim=1),
            torch.full((count,), 14.0),
            actions[:count],
            Row(queries=there, keys=there, cache=cache, at=num_text),
        )
        means, middles = [], []
        for time, side in enumerate(self.SIDES.tolist()):
            for top, left in itertools.product(range(0, HEIGHT, side), range(0, WIDTH, side)):
                square = [
                    num_text + TOKENS * time + WIDTH * (top + down) + left + right
                    for down, right in itertools.product(range(side), repeat=2)
                ]
                means.append((cache.k[:, :, :, square].mean(3), cache.v[:, :, :, square].mean(3)))
                middles.append([time, top + (side - 1) / 2, left + (side - 1) / 2])
        for slot, (k, v) in enumerate(means, start=num_text):
            cache.k[:, :, :, slot], cache.v[:, :, :, slot] = k, v
        cache.num_context = len(means)
        spots = torch.cat([torch.tensor(middles).double(), grid_positions(range(count, count + 4), HEIGHT, WIDTH)])
        tables = rotary_table(spots, CONFIG.rope_dims, CONFIG.rope_theta)
        runs = sum((even(1, TOKENS // side**2) for side in [*self.SIDES.tolist(), 1, 1, 1, 1]), even(0, 1))
        row = Row(
            queries=places_of(chunk.views, range(count, count + 4)),
            keys=Geometry(runs, *tables, cameras),
            cache=cache,
            at=cache.past,
        )
        latents = chunk.noise
        for now, then in itertools.pairwise((1.0, 0.9375, 5 / 6, 0.625, 0.0)):  # published for four steps
            inputs = torch.cat([latents, torch.zeros(1, 5, 4, HEIGHT, WIDTH)], dim=1)
            latents = latents + (then - now) * model.velocity(
                inputs, torch.full((4,), 1000 * now), actions[count:], row
            )
        return latents


class TestRefusals:
    def test_noise_of_another_size_is_refused(self, prompt: PreparedPrompt, rollout: Rollout8B) -> None:
        chunk = chunk_of((prompt, 1.0), num_context=0)
        with pytest.raises(ValueError, match=r"noise must be \[1, 4, 4, 4, 6\], got \[1, 3, 4, 4, 6\]"):
            rollout.denoise(replace(chunk, noise=chunk.noise[:, :3]))

    def test_more_context_than_room_is_refused(self, prompt: PreparedPrompt, rollout: Rollout8B) -> None:
        with pytest.raises(ValueError, match="context must have at most 480 tokens, got 576"):
            rollout.denoise(chunk_of((prompt, 1.0), num_context=24))

    def test_a_longer_chunk_than_the_models_is_refused(self, prompt: PreparedPrompt, rollout: Rollout8B) -> None:
        with pytest.raises(ValueError, match="a chunk must have at most 4 latents, got 5"):
            rollout.denoise(chunk_of((prompt, 1.0), num_context=0, num_chunk=5))

    def test_guidance_needs_what_is_not_wanted(self, rollout: Rollout8B) -> None:
        with pytest.raises(ValueError, match="states must be of 2 texts, got 1"):
            rollout_of(rollout.model, GUIDED).prepare(states())

    def test_a_text_of_nothing_but_padding_is_refused(self, rollout: Rollout8B) -> None:
        empty = replace(states(), text_mask=torch.zeros(1, 12).bool())
        with pytest.raises(ValueError, match="text_mask must be true somewhere for every text"):
            rollout.prepare(empty)
