from __future__ import annotations

import pytest
import torch
from keepworld_runtime.memory.kv_cache import KVCache, KVShape
from torch import Tensor

SHAPE = KVShape(layers=3, heads=2, capacity=20, head_dim=4)


def rows(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def cache() -> KVCache:
    return KVCache(SHAPE, dtype=torch.float32, device="cpu")


def test_its_size_is_keys_and_values_of_every_layer_and_room_for_one_at_work(cache: KVCache) -> None:
    assert cache.num_bytes == (2 * 3 + 3) * 2 * 20 * 4 * 4
    assert KVCache(SHAPE, dtype=torch.bfloat16, device="cpu").num_bytes * 2 == cache.num_bytes


def test_texts_stand_side_by_side_before_the_context(cache: KVCache) -> None:
    one, other, context = rows(0, 2, 3, 1, 2, 5, 4), rows(1, 2, 3, 1, 2, 3, 4), rows(2, 2, 1, 2, 6, 4)
    cache.write_text([tuple(one), tuple(other)])
    cache.write(1, context[0], context[1], cache.num_text)
    cache.num_context = 6
    assert (cache.num_text, cache.past) == (8, 14)
    assert torch.equal(cache.k[:, :, :, :8], torch.cat([one[0], other[0]], dim=3))
    k, v = cache.text(2)
    assert torch.equal(k, torch.cat([one[0, 2], other[0, 2]], dim=2))
    assert torch.equal(v, torch.cat([one[1, 2], other[1, 2]], dim=2))
    assert torch.equal(cache.v[1, :, :, 8:14], context[1])
    assert not cache.v[0, :, :, 8:].any()


def test_new_text_makes_the_context_void(cache: KVCache) -> None:
    cache.write_text([tuple(rows(0, 2, 3, 1, 2, 5, 4))], torch.zeros(1, 1, 1, 5))
    cache.num_context = 6
    cache.write_text([tuple(rows(1, 2, 3, 1, 2, 4, 4))])
    assert (cache.num_text, cache.num_context, cache.text_bias) == (4, 0, None)


def test_writing_takes_no_new_memory(cache: KVCache) -> None:
    before = cache.k.data_ptr(), cache.v.data_ptr(), cache.workspace.data_ptr()
    for start in range(0, 15, 5):
        cache.write_text([tuple(rows(start, 2, 3, 1, 2, 5, 4))])
        cache.write(0, *rows(start, 2, 1, 2, 5, 4), at=start)
    assert (cache.k.data_ptr(), cache.v.data_ptr(), cache.workspace.data_ptr()) == before


def test_what_does_not_fit_is_refused_and_nothing_is_written(cache: KVCache) -> None:
    with pytest.raises(ValueError, match="keys and values need 22 slots, there are 20"):
        cache.write(0, *rows(0, 2, 1, 2, 4, 4), at=18)
    with pytest.raises(ValueError, match="keys and values need 21 slots, there are 20"):
        cache.write_text([tuple(rows(0, 2, 3, 1, 2, 11, 4)), tuple(rows(0, 2, 3, 1, 2, 10, 4))])
    assert not cache.k.any() and cache.num_text == 0
