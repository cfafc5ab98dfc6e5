from __future__ import annotations

import math

import numpy as np
import torch
from keepworld_runtime.kernels.attention import sdpa
from keepworld_runtime.layers.attention import Geometry, attend_by_place, attend_cached, attend_together
from keepworld_runtime.layers.camera_rope import camera_maps
from keepworld_runtime.layers.rope import grid_positions, rotary_table
from keepworld_runtime.layers.tokens import even
from keepworld_runtime.memory.kv_cache import KVCache, KVShape
from torch import Tensor

from tests.runtime.memory.walks import random_viewmats

HEADS, DIM, TOKENS, TEXT = 2, 16, 6, 5
VIEWMATS = random_viewmats(np.random.default_rng(0), 3, spread=1.0)
K = np.array([[0.51, 0, 0.5], [0, 0.9, 0.5], [0, 0, 1]])


def rows(seed: int, num: int) -> Tensor:
    """Queries, keys and values [3, 1, H, num, d]."""
    return torch.randn(3, 1, HEADS, num, DIM, generator=torch.Generator().manual_seed(seed))


def geometry(frames: slice) -> Geometry:
    times = range(3)[frames]
    tables = rotary_table(grid_positions(times, 2, 3), (4, 6, 6), 256.0)
    return Geometry(even(len(times), TOKENS), *tables, camera_maps(VIEWMATS[frames], np.tile(K, (len(times), 1, 1))))


def slowly(
    q: Tensor, k: Tensor, v: Tensor, text: Tensor, frames: slice, weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Both branches, one query and head after another, in float64; k and v are of all frames, q of some."""
    places = grid_positions(range(3), 2, 3)
    P = torch.from_numpy(np.diag([0.51, 0.9, 1.0, 1.0]) @ VIEWMATS)
    counts = torch.cat([torch.ones(TEXT) if weights is None else weights, torch.ones(k.shape[2])]).double()
    first = range(3)[frames][0] * TOKENS
    outputs: list[list[Tensor]] = [[], []]
    for head in range(HEADS):
        for branch, rows_out in enumerate(outputs):

            def key(x: Tensor, token: int, is_key: bool, branch: int = branch) -> Tensor:
                if branch:
                    return (torch.linalg.inv(P[token // TOKENS]) @ x.view(-1, 4, 1)).flatten()
                return turned(x, places[token]) if is_key else x

            keys = [*text[1, 0, head].double()]
            keys += [key(x, i, True) for i, x in enumerate(k[0, head].double())]
            values = [*text[2, 0, head].double()]
            values += [key(x, i, False) for i, x in enumerate(v[0, head].double())]
            for i, x in enumerate(q[0, head].double(), start=first):
                camera = P[i // TOKENS]
                query = (camera.mT @ x.view(-1, 4, 1)).flatten() if branch else turned(x, places[i])
                logits = torch.stack([query @ each for each in keys]) / math.sqrt(DIM)
                share = logits.exp() * counts
                out = (share[:, None] * torch.stack(values)).sum(0) / share.sum()
                rows_out.append((camera @ out.view(-1, 4, 1)).flatten() if branch else out)
    placed, seen = (torch.stack(each).view(1, HEADS, -1, DIM).float() for each in outputs)
    return placed, seen


def turned(x: Tensor, place: Tensor) -> Tensor:
    angles = []
    for axis, dim in enumerate((4, 6, 6)):
        angles += [place[axis] * 256.0 ** (-2 * j / dim) for j in range(dim // 2)]
    return torch.view_as_real(torch.view_as_complex(x.view(-1, 2)) * torch.exp(1j * torch.stack(angles))).flatten()


def cache_with(text: Tensor, past: Tensor, bias: Tensor | None = None) -> KVCache:
    shape = KVShape(layers=2, heads=HEADS, capacity=TEXT + 3 * TOKENS, head_dim=DIM)
    cache = KVCache(shape, dtype=torch.float32, device="cpu")
    cache.write_text([(text[1].expand(2, -1, -1, -1, -1), text[2].expand(2, -1, -1, -1, -1))], bias)
    cache.write(1, past[1], past[2], TEXT)
    cache.num_context = past.shape[3]
    return cache


def test_attention_through_a_cache_is_attention_to_all_that_is_in_it() -> None:
    text, past, chunk = rows(0, TEXT), rows(1, 2 * TOKENS), rows(2, TOKENS)
    weights = torch.tensor([0.25, 0.25, 0.75, 0.75, 0.75])
    for bias in (None, weights.log().view(1, 1, 1, TEXT)):
        cache = cache_with(text, past, bias)
        found = attend_cached(
            *chunk,
            queries=geometry(slice(2, 3)),
            keys=geometry(slice(0, 3)),
            cache=cache,
            layer=1,
            at=cache.past,
            attend=sdpa,
        )
        k, v = (torch.cat([past[i], chunk[i]], dim=2) for i in (1, 2))
        wanted = slowly(chunk[0], k, v, text, slice(2, 3), None if bias is None else weights)
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_attention_together_is_attention_to_all_in_the_row() -> None:
    text, latents = rows(0, TEXT), rows(1, 3 * TOKENS)
    placed, seen, heard = attend_together(
        *latents, geometry=geometry(slice(0, 3)), text=tuple(text), bias=None, attend=sdpa
    )
    wanted = slowly(*latents, text, slice(0, 3))
    torch.testing.assert_close((placed, seen), wanted, atol=1e-5, rtol=1e-5)
    # Text has no place, which is to be at time, row and column 0: there nothing is turned.
    keys = torch.cat([text[1], *(turned_row(latents[1]),)], dim=2)
    values = torch.cat([text[2], latents[2]], dim=2)
    torch.testing.assert_close(heard, sdpa(text[0], keys, values), atol=1e-5, rtol=1e-5)


def turned_row(x: Tensor) -> Tensor:
    places = grid_positions(range(3), 2, 3)
    heads = [[turned(row.double(), places[i]) for i, row in enumerate(head)] for head in x[0]]
    return torch.stack([torch.stack(head) for head in heads])[None].float()


def test_hidden_text_is_as_good_as_no_text() -> None:
    text, latents, where = rows(0, TEXT), rows(1, 3 * TOKENS), geometry(slice(0, 3))
    hidden = torch.zeros(1, 1, 1, 3 * TOKENS + TEXT)
    hidden[..., 3 * TOKENS :] = -math.inf
    placed, seen, _ = attend_together(*latents, geometry=where, text=tuple(text), bias=hidden, attend=sdpa)
    alone = attend_together(*latents, geometry=where, text=None, bias=None, attend=sdpa)
    torch.testing.assert_close((placed, seen), alone[:2], atol=1e-6, rtol=1e-6)
    assert alone[2].shape[2] == 0


def test_the_branch_by_place_alone_is_the_same_without_the_other() -> None:
    text, latents, where = rows(0, TEXT), rows(1, 3 * TOKENS), geometry(slice(0, 3))
    placed, _, heard = attend_together(*latents, geometry=where, text=tuple(text), bias=None, attend=sdpa)
    found = attend_by_place(*latents, geometry=where, text=tuple(text), bias=None, attend=sdpa)
    assert torch.equal(found[0], placed) and torch.equal(found[1], heard)
