"""Every way to attend gives what softmax says, and which one runs is decided and told in one place."""

from __future__ import annotations

import logging
import sys
from types import ModuleType

import pytest
import torch
from keepworld_runtime.kernels import names
from keepworld_runtime.kernels.attention import FlashAttention, OrderedSDPA, choose_attention, sdpa
from keepworld_runtime.kernels.reference import attention
from torch import Tensor
from torch.nn.attention import SDPBackend

CPU = torch.device("cpu")
ORDERED = OrderedSDPA(
    SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH
)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


def _qkv(queries: int = 9, keys: int = 14) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(2)
    return torch.randn(2, 3, queries, 16), torch.randn(2, 3, keys, 16), torch.randn(2, 3, keys, 16)


def test_the_reference_is_softmax_written_out():
    q, k, v = _qkv(2, 3)
    bias = torch.tensor([0.5, -1.0, 0.0])
    weights = [sum(float(a) * float(b) for a, b in zip(q[1, 2, 1], key, strict=True)) / 4 for key in k[1, 2]]
    weights = [torch.tensor(weight + float(add)).exp() for weight, add in zip(weights, bias, strict=True)]
    wanted = sum(weight * value for weight, value in zip(weights, v[1, 2], strict=True)) / sum(weights)
    torch.testing.assert_close(attention(q, k, v, bias)[1, 2, 1], wanted)


def _flash_attn_func(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """What the package does, in the layout of its documentation, [B, S, H, d]."""
    return torch.einsum("bhql,blhd->bqhd", (torch.einsum("bqhd,blhd->bhql", q, k) / q.shape[-1] ** 0.5).softmax(-1), v)


@pytest.mark.parametrize("attend", [sdpa, ORDERED, FlashAttention(_flash_attn_func)], ids=["sdpa", "ordered", "flash"])
@pytest.mark.parametrize("has_bias", [False, True])
def test_every_way_to_attend_is_softmax(attend, has_bias):
    q, k, v = _qkv()
    bias = None
    if has_bias:
        bias = torch.randn(2, 1, 1, 14)
        bias[0, ..., 5:] = float("-inf")
    # float32 on both sides: only the order of sums differs
    torch.testing.assert_close(attend(q, k, v, bias), attention(q, k, v, bias), atol=1e-5, rtol=1e-5)


def test_on_a_cpu_torch_attends():
    assert choose_attention((), CPU, torch.float32) is sdpa


@pytest.mark.parametrize("name", [name for name in names.KERNELS if name.startswith("flash")])
def test_what_is_not_installed_is_told_and_done_without(name, caplog):
    with caplog.at_level(logging.INFO):
        assert choose_attention((name,), CPU, torch.bfloat16) is sdpa
    assert f"{name} is not installed; running with torch SDPA" in caplog.text
    assert caplog.text.count("attention runs with") == 1


def test_what_needs_a_gpu_is_not_run_without(caplog, monkeypatch):
    package, interface = ModuleType("flash_attn"), ModuleType("flash_attn.flash_attn_interface")
    package.__path__ = []  # type: ignore[attr-defined]
    interface.__spec__ = package.__spec__ = sys.__spec__
    monkeypatch.setitem(sys.modules, "flash_attn", package)
    monkeypatch.setitem(sys.modules, "flash_attn.flash_attn_interface", interface)
    with caplog.at_level(logging.INFO):
        assert choose_attention(("flash-attn",), CPU, torch.bfloat16) is sdpa
    assert "flash-attn needs a GPU" in caplog.text


def test_kernels_for_other_things_are_not_looked_at(caplog):
    with caplog.at_level(logging.INFO):
        assert choose_attention(("fp8", "transformer-engine"), CPU, torch.float32) is sdpa
    assert "not installed" not in caplog.text


def test_a_kernel_of_no_known_name_is_refused():
    with pytest.raises(ValueError, match=r"kernels must be of flash-attn, .*, got 'flashattn'"):
        choose_attention(("flashattn",), CPU, torch.float32)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("name", [None, "flash-attn", "flash-attn-3", "flash-attn-4"])
def test_on_a_gpu_every_kernel_that_is_there_is_softmax(name):
    device = torch.device("cuda")
    q, k, v = (each.repeat(1, 1, 40, 4).to(device, torch.bfloat16) for each in _qkv())
    attend = choose_attention((name,) if name else (), device, torch.bfloat16)
    # bfloat16 has 8 bits of mantissa: results of size 1 are rounded by up to 2^-8, and so are the weights before
    torch.testing.assert_close(attend(q, k, v), attention(q, k, v), atol=2**-6, rtol=2**-6)
