"""How WorldPlay-5B makes a chunk: its past is shown to it again, then noise becomes latents in four steps.

Source: HY-World 1.5 / WorldPlay (arXiv 2512.14614) and its published code. The past is encoded anew for every chunk, at
times 0 … n − 1 whatever its age ("temporal reframing"), and the chunk comes right after it, at n … n + 3. Context, and the
picture that a world begins with, are said to have noise level 14 of 1000.

Departs from the published code: cameras are told from the chunk's first one, in float64, before they are cast. The network
sees nothing but how cameras lie to each other, so that is the same world, but one in which bfloat16 can still tell a
step from the next at any distance from where it began.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from keepworld_runtime.families.latent.denoiser import ChunkInput, heard
from keepworld_runtime.families.worldplay_5b.config import RolloutConfig
from keepworld_runtime.families.worldplay_5b.model import PreparedPrompt, Row, WorldPlay5B
from keepworld_runtime.layers.attention import Geometry
from keepworld_runtime.layers.camera_rope import CameraMaps, camera_maps
from keepworld_runtime.layers.pooling import Pooling
from keepworld_runtime.layers.rope import grid_positions, rotary_table
from keepworld_runtime.layers.tokens import even
from keepworld_runtime.memory.context import Context
from keepworld_runtime.memory.kv_cache import KVCache, KVShape
from keepworld_runtime.memory.views import Views, rebased
from keepworld_runtime.sampling.denoise import denoise

_CLOCK = 1000.0  # what the network calls a noise level of 1


class Rollout5B:
    """A `Denoiser`. It holds nothing of a world, only room to work in: worlds that take turns may share one.

    Args:
        model: the network, on its device and, if it is spread over several processes, already so.
        config: the walk.
        height, width: of a latent, in its own cells.
        context_tokens: how many a context has at most; the default is `config.memory_size` whole latents.

    Raises:
        ValueError: the network's patches do not fit into a latent, or its tokens cannot be shared evenly by the processes.
    """

    def __init__(
        self, model: WorldPlay5B, config: RolloutConfig, *, height: int, width: int, context_tokens: int | None = None
    ) -> None:
        _, patch_rows, patch_columns = model.config.patch_size
        if height % patch_rows or width % patch_columns:
            wanted = f"multiples of {patch_rows} × {patch_columns}"
            raise ValueError(f"height and width of a latent must be {wanted}, got {height} × {width}")
        self.model = model
        self.config = config
        self._latent_size = (height, width)
        self._grid = (height // patch_rows, width // patch_columns)
        self._tokens = math.prod(self._grid)
        num_ranks = model.exchange.num_ranks
        even(1, self._tokens).shared(num_ranks)
        past = config.memory_size * self._tokens if context_tokens is None else context_tokens
        shape = KVShape(
            layers=model.config.num_layers,
            heads=model.config.num_attention_heads // num_ranks,
            capacity=past + config.chunk_size * self._tokens,
            head_dim=model.config.attention_head_dim,
        )
        self.cache = KVCache(shape, dtype=model.dtype, device=model.device)
        # Times begin at 0 in every chunk, so that one table serves all of them.
        self._table = self._rotary(self._places(range(shape.capacity // self._tokens)))

    @torch.inference_mode()
    def prepare(self, states: Tensor) -> PreparedPrompt:
        """What denoising needs of a text, from the language model's states [1, L, text_dim].

        It touches nothing that `denoise` uses: it may be called from another thread meanwhile.
        """
        return self.model.text_kv(states)

    @torch.inference_mode()
    def denoise(self, chunk: ChunkInput[PreparedPrompt]) -> Tensor:
        """Make the latents [1, C, T, h, w] of a chunk; they are float32 between steps, whatever the network's dtype.

        Raises:
            ValueError: noise, image or context are not of the latents' size, there is more context than room for it, it
                cannot be pooled as it says, or the prompts' weights do not add up to 1.
        """
        self._check(chunk)
        text, context = blended(chunk.prompts), chunk.context
        views = rebased(Views.join([context.views, chunk.views]), chunk.views.viewmats[0])
        cameras = camera_maps(views.viewmats, views.Ks, self.model.device)
        pooling = self._pooling(context)
        if len(context):
            self._write_context(context, text, cameras[: len(context)], pooling)
        return self._denoised(chunk, self._row_of(chunk, text, cameras, pooling))

    def _write_context(
        self, context: Context, text: PreparedPrompt, cameras: CameraMaps, pooling: Pooling | None
    ) -> None:
        """Fill the cache's first slots with the context's keys and values; it attends to itself."""
        count, device = len(context), self.model.device
        layout = even(count, self._tokens)
        if pooling is None:
            cos, sin = self._whole(layout.num_tokens)
        else:
            cos, sin = self._rotary(self._places(range(count)))
        there = Geometry(layout, cos, sin, cameras)
        self.model.write_context(
            context.latents.to(device),
            torch.full((count,), self.config.context_timestep, device=device),
            torch.from_numpy(context.views.actions).to(device),
            Row(text=text, queries=there, keys=there, cache=self.cache, at=0, pooling=pooling),
        )

    def _row_of(
        self, chunk: ChunkInput[PreparedPrompt], text: PreparedPrompt, cameras: CameraMaps, pooling: Pooling | None
    ) -> Row:
        """The chunk's tokens, right after those of the context."""
        count, own = len(chunk.context), even(len(chunk.views), self._tokens)
        if pooling is None:
            past = even(count, self._tokens)
            cos, sin = self._whole(past.num_tokens + own.num_tokens)
        else:
            past = pooling.layout
            times = range(count, count + own.num_frames)
            cos, sin = self._rotary(torch.cat([pooling.positions(), self._places(times)]))
        start = past.num_tokens
        self.cache.num_context = start
        return Row(
            text=text,
            queries=Geometry(own, cos[start:], sin[start:], cameras[count:]),
            keys=Geometry((past + own).merged(), cos, sin, cameras),
            cache=self.cache,
            at=self.cache.past,
        )

    def _denoised(self, chunk: ChunkInput[PreparedPrompt], row: Row) -> Tensor:
        """From noise to latents."""
        device = self.model.device
        actions = torch.from_numpy(chunk.views.actions).to(device)
        latents = chunk.noise.to(device, torch.float32)
        image = chunk.image if chunk.start == 0 else None
        if image is not None:
            latents = torch.cat([image.to(latents), latents[:, :, 1:]], dim=2)

        def velocity(latents: Tensor, sigma: float) -> Tensor:
            timesteps = torch.full((latents.shape[2],), sigma * _CLOCK, device=device)
            if image is None:
                return self.model.velocity(latents, timesteps, actions, row)
            timesteps[0] = self.config.context_timestep
            flow = self.model.velocity(latents, timesteps, actions, row)
            flow[:, :, 0] = 0  # the picture stays as it is
            return flow

        return denoise(velocity, latents, self.config.sigmas)

    def _pooling(self, context: Context) -> Pooling | None:
        """How the context is pooled, None if it is not."""
        if (context.pooling == 1).all():
            return None
        return Pooling(tuple(context.pooling.tolist()), *self._grid)

    def _places(self, times: Sequence[int]) -> Tensor:
        return grid_positions(times, *self._grid)

    def _whole(self, num_tokens: int) -> tuple[Tensor, Tensor]:
        """Cosine and sine of so many tokens, of whole latents from time 0 on."""
        cos, sin = self._table
        return cos[:num_tokens], sin[:num_tokens]

    def _rotary(self, places: Tensor) -> tuple[Tensor, Tensor]:
        config = self.model.config
        return rotary_table(places.to(self.model.device), config.rope_dims, config.rope_theta)

    def _check(self, chunk: ChunkInput[PreparedPrompt]) -> None:
        channels = self.model.config.in_channels
        sizes = {"noise": (chunk.noise, len(chunk.views)), "image": (chunk.image, 1)}
        if len(chunk.context):
            sizes["context.latents"] = (chunk.context.latents, len(chunk.context))
        for name, (latents, count) in sizes.items():
            wanted = [1, channels, count, *self._latent_size]
            if latents is not None and list(latents.shape) != wanted:
                raise ValueError(f"{name} must be {wanted}, got {list(latents.shape)}")
        room = self.cache.capacity - len(chunk.views) * self._tokens
        if chunk.context.num_tokens(*self._grid) > room:
            came = chunk.context.num_tokens(*self._grid)
            raise ValueError(f"context must have at most {room} tokens, got {came}")


def blended(prompts: Sequence[tuple[PreparedPrompt, float]]) -> PreparedPrompt:
    """One prompt that says all of `prompts`, each with its weight.

    Published (HY-World 1.5, "promptable events"): the text of a stream can be switched at a chunk. That one text gives way to
    another over several chunks is our choice, and so is how: the keys of both stand side by side, with the logarithm of
    the weight added to their logits, so that a key counts as often as its text weighs. With all weight on one text it is
    that text exactly: the other is left out.

    Raises:
        ValueError: a weight is negative, or they do not add up to 1.
    """
    given = heard(prompts)
    if len(given) == 1:
        return given[0][0]
    k = torch.cat([prompt.k for prompt, _ in given], dim=3)
    v = torch.cat([prompt.v for prompt, _ in given], dim=3)
    biases = [torch.full((1, 1, 1, prompt.k.shape[3]), math.log(weight)) for prompt, weight in given]
    return PreparedPrompt(k, v, torch.cat(biases, dim=-1).to(k))
