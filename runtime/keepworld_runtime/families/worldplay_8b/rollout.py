"""How WorldPlay-8B makes a chunk: its past is shown to it again, then noise becomes latents.

Source: HY-World 1.5 / WorldPlay (arXiv 2512.14614) and its published code. The past is encoded anew for every chunk, at
times 0 … n − 1 whatever its age ("temporal reframing"), and the chunk comes right after it, at n … n + 3. Context is said to
have noise level 14 of 1000. The picture that a world begins with comes in beside its first latent, wherever that is shown, as
channels of its own; that latent is denoised like any other.

The autoregressive models see text and context through a cache. The bidirectional model has context, chunk and text in one
sequence, where they attend to each other and everything is computed again in every step.

Cameras stay in the frame of the world's first one. Text has no camera and meets the cameras of latents as if it stood at the
origin, so the network's output depends on where the origin is: it was trained with the first camera there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from keepworld_runtime.families.latent.denoiser import ChunkInput, heard
from keepworld_runtime.families.worldplay_8b.config import RolloutConfig
from keepworld_runtime.families.worldplay_8b.model import JointText, PromptStates, Row, WorldPlay8B
from keepworld_runtime.layers.attention import Geometry
from keepworld_runtime.layers.camera_rope import camera_maps
from keepworld_runtime.layers.pooling import Pooling
from keepworld_runtime.layers.rope import grid_positions, rotary_table
from keepworld_runtime.layers.tokens import even
from keepworld_runtime.memory.kv_cache import KVCache, KVShape
from keepworld_runtime.memory.views import Views, rebased
from keepworld_runtime.sampling.denoise import denoise
from keepworld_runtime.sampling.guidance import guided
from keepworld_runtime.sampling.schedule import shifted_sigmas

_CLOCK = 1000.0  # what the network calls a noise level of 1
_TEXT_STEP = 128  # slots for text come in multiples of this

Velocity = Callable[[Tensor, float], Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class PreparedText:
    """What denoising needs of one text.

    Attributes:
        states: without padding, on the network's device.
        k, v: [layers, 1, H, L, d], every block's keys and values; of no layer for the bidirectional model, where they depend
            on what is seen.
    """

    states: PromptStates
    k: Tensor
    v: Tensor


@dataclass(frozen=True, slots=True)
class PreparedPrompt:
    """One text, or under guidance two: what is not wanted, then what is."""

    texts: tuple[PreparedText, ...]


Heard = Sequence[tuple[PreparedText, float]]
"""Texts with their weights."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Given:
    """A chunk and its context as the network takes them, on its device.

    Attributes:
        seen: [1, 2C + 1, M, h, w], the context with the picture's channels.
        picture: [1, C + 1, T, h, w], the picture's channels for the chunk.
        seen_actions, actions: [M] and [T].
        seen_places, places: where the context is, unpooled, and where the chunk is.
        cached: of both in one row, the context pooled.
        pooling: how it is, or None.
    """

    seen: Tensor
    picture: Tensor
    seen_actions: Tensor
    actions: Tensor
    seen_places: Geometry
    places: Geometry
    cached: Geometry
    pooling: Pooling | None


class Rollout8B:
    """A `Denoiser`. It holds nothing of a world, only room to work in: worlds that take turns may share one.

    Args:
        model: the network, on its device and, if it is spread over several processes, already so.
        config: the walk.
        height, width: of a latent, in its cells, each of which is a token.
        context_tokens: how many a context has at most; the default is `config.memory_size` whole latents.

    Attributes:
        caches: of keys and values, one a text: made for the first chunk, and again when a longer text has been prepared.

    Raises:
        ValueError: a latent's tokens cannot be shared evenly by the processes.
    """

    def __init__(
        self, model: WorldPlay8B, config: RolloutConfig, *, height: int, width: int, context_tokens: int | None = None
    ) -> None:
        self.model = model
        self.config = config
        self.caches: tuple[KVCache, ...] = ()
        self._grid = (height, width)
        self._tokens = height * width
        even(1, self._tokens).shared(model.exchange.num_ranks)
        self._room = config.memory_size * self._tokens if context_tokens is None else context_tokens
        self._longest_text = 0
        self._sigmas = shifted_sigmas(config.num_steps, config.shift)
        # Times begin at 0 in every chunk, so that one table serves all of them.
        self._table = self._rotary(self._places(range(self._room // self._tokens + config.chunk_size)))

    @property
    def num_texts(self) -> int:
        """How many texts a prompt has."""
        return 1 if self.config.guidance == 1 else 2

    @torch.inference_mode()
    def prepare(self, states: PromptStates) -> PreparedPrompt:
        """What denoising needs of a prompt: under guidance of two texts, first what is not wanted, otherwise of one.

        It touches nothing that `denoise` computes with: it may be called from another thread meanwhile.

        Raises:
            ValueError: there are more or fewer texts, or one is nothing but padding.
        """
        if len(states.text) != self.num_texts:
            raise ValueError(f"states must be of {self.num_texts} texts, got {len(states.text)}")
        return PreparedPrompt(tuple(map(self._prepared, states.to(self.model.device).unpadded())))

    @torch.inference_mode()
    def denoise(self, chunk: ChunkInput[PreparedPrompt]) -> Tensor:
        """Make the latents [1, C, T, h, w] of a chunk; they are float32 between steps, whatever the network's dtype.

        While one prompt gives way to another, both are heard. Published (HY-World 1.5, "promptable events"): the text of a
        stream can be switched at a chunk. That it may take several chunks is our choice, and so is how: the keys of both
        texts stand side by side, with the logarithm of the weight added to their logits, so that a key counts as often as
        its text weighs. With all weight on one prompt it is that prompt exactly: the other is left out.

        Raises:
            ValueError: noise, image or context are not of the latents' size, there is more context than room for it, it
                cannot be pooled as it says, or the prompts' weights do not add up to 1.
        """
        self._check(chunk)
        prompts, given = heard(chunk.prompts), self._given(chunk)
        velocities = []
        for number in range(self.num_texts):
            texts = [(prompt.texts[number], weight) for prompt, weight in prompts]
            velocities.append(
                self._joint(given, texts) if self.config.is_bidirectional else self._cached(given, texts, number)
            )
        noise = chunk.noise.to(self.model.device, torch.float32)
        if len(velocities) == 1:
            return denoise(velocities[0], noise, self._sigmas)
        unwanted, wanted = velocities
        scale = self.config.guidance
        return denoise(lambda x, sigma: guided(wanted(x, sigma), unwanted(x, sigma), scale), noise, self._sigmas)

    def _prepared(self, states: PromptStates) -> PreparedText:
        if self.config.is_bidirectional:
            none = torch.empty(0, device=self.model.device)
            return PreparedText(states, none, none)
        k, v = self.model.text_kv(states)
        self._longest_text = max(self._longest_text, k.shape[3])
        return PreparedText(states, k, v)

    def _cached(self, given: _Given, texts: Heard, number: int) -> Velocity:
        """The velocity of an autoregressive model: text and context go to the cache of that number once, for all steps."""
        cache = self._cache_for(texts, number)
        lengths = [text.k.shape[3] for text, _ in texts]
        cache.write_text([(text.k, text.v) for text, _ in texts], self._bias(texts, lengths))
        num_seen = len(given.seen_actions)
        if num_seen:
            places = given.seen_places
            row = Row(queries=places, keys=places, cache=cache, at=cache.past, pooling=given.pooling)
            self.model.write_context(
                given.seen, self._at(self.config.context_timestep, num_seen), given.seen_actions, row
            )
        cache.num_context = given.cached.layout.num_tokens - given.places.layout.num_tokens
        row = Row(queries=given.places, keys=given.cached, cache=cache, at=cache.past)

        def velocity(latents: Tensor, sigma: float) -> Tensor:
            latents = torch.cat([latents, given.picture], dim=1)
            timesteps = self._at(_CLOCK * sigma, latents.shape[2])
            return self.model.velocity(latents, timesteps, given.actions, row).float()

        return velocity

    def _joint(self, given: _Given, texts: Heard) -> Velocity:
        """The velocity of the bidirectional model, which sees text and context anew in every step."""
        actions = torch.cat([given.seen_actions, given.actions])[None]
        num_seen = len(given.seen_actions)

        def velocity(latents: Tensor, sigma: float) -> Tensor:
            now = self._at(_CLOCK * sigma, latents.shape[2])
            tokens = [self.model.text_tokens(text.states, now[:1])[0] for text, _ in texts]
            text = JointText(torch.cat(tokens, dim=1), now[:1], self._bias(texts, [each.shape[1] for each in tokens]))
            timesteps = torch.cat([self._at(self.config.context_timestep, num_seen), now])[None]
            latents = torch.cat([given.seen, torch.cat([latents, given.picture], dim=1)], dim=2)
            return self.model.bidirectional(latents, timesteps, actions, text, given.cached)[:, :, num_seen:].float()

        return velocity

    def _given(self, chunk: ChunkInput[PreparedPrompt]) -> _Given:
        device, count = self.model.device, len(chunk.context)
        views = Views.join([chunk.context.views, chunk.views])
        actions = torch.from_numpy(views.actions).to(device)
        if self.config.is_reanchored:
            views = rebased(views, chunk.views.viewmats[0])
        cameras = camera_maps(views.viewmats, views.Ks, device)
        seen, own = even(count, self._tokens), even(len(chunk.views), self._tokens)
        pooling = None
        if not (chunk.context.pooling == 1).all():
            pooling = Pooling(tuple(chunk.context.pooling.tolist()), *self._grid)
        kept = seen if pooling is None else pooling.layout
        cos, sin = self._rows(count, len(chunk.views), pooling)
        start = kept.num_tokens
        past = self._rows(0, count, None)
        picture = self._picture(
            chunk.image, np.concatenate([chunk.context.indices, chunk.start + np.arange(len(chunk.views))])
        )
        latents = chunk.context.latents.to(picture) if count else picture[:, : self.model.config.latent_channels, :0]
        return _Given(
            seen=torch.cat([latents, picture[:, :, :count]], dim=1),
            picture=picture[:, :, count:],
            seen_actions=actions[:count],
            actions=actions[count:],
            seen_places=Geometry(seen, *past, cameras[:count]),
            places=Geometry(own, cos[start:], sin[start:], cameras[count:]),
            cached=Geometry(kept + own, cos, sin, cameras),
            pooling=pooling,
        )

    def _picture(self, image: Tensor | None, indices: NDArray[np.int64]) -> Tensor:
        """Channels [1, C + 1, N, h, w] beside latents of those numbers [N]: the picture's, and 1, beside the world's first."""
        channels = self.model.config.latent_channels
        picture = torch.zeros((1, channels + 1, len(indices), *self._grid), device=self.model.device)
        if image is not None:
            for place in np.flatnonzero(indices == 0):
                picture[:, :channels, place] = image[:, :, 0].to(picture)
                picture[:, channels, place] = 1
        return picture

    def _cache_for(self, texts: Heard, number: int) -> KVCache:
        """The cache of that number, with room for these texts: two of the longest, because one may give way to another."""
        needed = max(sum(text.k.shape[3] for text, _ in texts), 2 * self._longest_text)
        slots = -(-needed // _TEXT_STEP) * _TEXT_STEP + self._room + self.config.chunk_size * self._tokens
        if not self.caches or self.caches[0].capacity < slots:
            config = self.model.config
            shape = KVShape(
                layers=config.num_layers,
                heads=config.num_heads // self.model.exchange.num_ranks,
                capacity=slots,
                head_dim=config.head_dim,
            )
            self.caches = ()  # gives its memory back first
            dtype, device = self.model.dtype, self.model.device
            self.caches = tuple(KVCache(shape, dtype=dtype, device=device) for _ in range(self.num_texts))
        return self.caches[number]

    def _bias(self, texts: Heard, lengths: Sequence[int]) -> Tensor | None:
        """What is added to the logits of the texts' keys, [1, 1, 1, L]; nothing for one text."""
        if len(texts) == 1:
            return None
        logs = [torch.full((1, 1, 1, num), math.log(weight)) for (_, weight), num in zip(texts, lengths, strict=True)]
        return torch.cat(logs, dim=-1).to(self.model.device, self.model.dtype)

    def _at(self, timestep: float, count: int) -> Tensor:
        """A noise level of 1000 for so many latents, [count]."""
        return torch.full((count,), timestep, device=self.model.device)

    def _rows(self, seen: int, own: int, pooling: Pooling | None) -> tuple[Tensor, Tensor]:
        """Cosine and sine of `seen` latents, pooled or not, and the `own` after them."""
        if pooling is not None:
            return self._rotary(torch.cat([pooling.positions(), self._places(range(seen, seen + own))]))
        cos, sin = self._table
        num_tokens = (seen + own) * self._tokens
        if num_tokens > len(cos):  # more latents than room for them whole, because they are pooled in the cache
            return self._rotary(self._places(range(seen + own)))
        return cos[:num_tokens], sin[:num_tokens]

    def _places(self, times: Sequence[int]) -> Tensor:
        return grid_positions(times, *self._grid)

    def _rotary(self, places: Tensor) -> tuple[Tensor, Tensor]:
        config = self.model.config
        return rotary_table(places.to(self.model.device), config.rope_dims, config.rope_theta)

    def _check(self, chunk: ChunkInput[PreparedPrompt]) -> None:
        context = chunk.context
        sizes = {"noise": (chunk.noise, len(chunk.views)), "image": (chunk.image, 1)}
        if len(context):
            sizes["context.latents"] = (context.latents, len(context))
        for name, (latents, count) in sizes.items():
            wanted = [1, self.model.config.latent_channels, count, *self._grid]
            if latents is not None and list(latents.shape) != wanted:
                raise ValueError(f"{name} must be {wanted}, got {list(latents.shape)}")
        if len(chunk.views) > self.config.chunk_size:
            raise ValueError(f"a chunk must have at most {self.config.chunk_size} latents, got {len(chunk.views)}")
        if context.num_tokens(*self._grid) > self._room:
            raise ValueError(f"context must have at most {self._room} tokens, got {context.num_tokens(*self._grid)}")
        if self.config.is_bidirectional and (context.pooling != 1).any():
            raise ValueError(
                "context must not be pooled: the bidirectional model has no keys and values of it to average"
            )
