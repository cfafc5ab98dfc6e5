"""Softmax attention: the seam, torch's own, and the one place that decides which kernel runs."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, activate_flash_attention_impl, sdpa_kernel

from keepworld_runtime.kernels import names

logger = logging.getLogger(__name__)


class Attend(Protocol):
    """Softmax attention of q [B, H, S, d] over k, v [B, H, L, d], scaled by 1/√d, gives [B, H, S, d].

    `bias`, if there is one, broadcasts to [B, H, S, L] and is added to the logits; -inf hides a key.
    """

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        """Attend."""
        ...


def sdpa(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """Torch's scaled_dot_product_attention, by whichever of its kernels is enabled."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


class OrderedSDPA:
    """Torch's scaled_dot_product_attention by the first of some kernels that can do it; with a bias, by torch's choice.

    Args:
        backends: the best first.
    """

    def __init__(self, *backends: SDPBackend) -> None:
        self._backends = list(backends)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        """Attend; see `Attend`."""
        if bias is not None:
            return sdpa(q, k, v, bias)
        with sdpa_kernel(self._backends, set_priority=True):
            return F.scaled_dot_product_attention(q, k, v)


class FlashAttention:
    """Attention by a function of the package flash-attn; with a bias, which that does not take, by torch.

    Args:
        function: of q, k, v [B, S, H, d], as ``flash_attn.flash_attn_func``.
    """

    def __init__(self, function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        self._function = function

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        """Attend; see `Attend`."""
        if bias is not None:
            return sdpa(q, k, v, bias)
        return self._function(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)).transpose(1, 2)


def choose_attention(preferred: tuple[str, ...], device: torch.device, dtype: torch.dtype) -> Attend:
    """The first of the preferred kernels that runs here, or torch's own; the choice, and why not another, is logged.

    Torch's own means on a GPU: cuDNN's kernel where it can, which on Hopper is 1.6 times as fast as FlashAttention-2 (about 600
    against 370 TFLOP/s: Shah et al., "FlashAttention-3", arXiv 2407.08608), then FlashAttention-2, then the others.

    Args:
        preferred: of `names.KERNELS`; those that are not for attention are not looked at.
        device: where it shall run.
        dtype: of queries, keys and values.

    Raises:
        ValueError: there is no kernel of such a name.
    """
    names.check(preferred)
    for name in preferred:
        if name not in _MAKERS:
            continue
        attend = _made(name, device, dtype)
        if attend is not None:
            logger.info("attention runs with %s", name)
            return attend
    if device.type != "cuda":
        logger.info("attention runs with torch SDPA")
        return sdpa
    logger.info("attention runs with torch SDPA: cuDNN, else flash, else memory-efficient, else math")
    return OrderedSDPA(
        SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH
    )


def _made(name: str, device: torch.device, dtype: torch.dtype) -> Attend | None:
    """A kernel, or None and the reason in the log."""
    reason = ""
    if not _is_installed(names.KERNELS[name].module):
        reason = "is not installed"
    elif device.type != "cuda":
        reason = "needs a GPU"
    elif dtype not in (torch.float16, torch.bfloat16):
        reason = f"needs float16 or bfloat16, not {dtype}"
    if not reason:
        try:
            return _MAKERS[name]()
        except ImportError as error:  # built for another torch
            reason = f"does not load: {error}"
    logger.warning("%s %s; running with torch SDPA unless another is preferred", name, reason)
    return None


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:  # of a parent
        return False


def _flash_attn() -> Attend:
    from flash_attn import flash_attn_func

    return FlashAttention(flash_attn_func)


def _activated(implementation: str) -> Callable[[], Attend]:
    """Has torch's flash kernel, in all of this process, be another."""

    def make() -> Attend:
        activate_flash_attention_impl(implementation)
        return OrderedSDPA(
            SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH
        )

    return make


_MAKERS: Mapping[str, Callable[[], Attend]] = MappingProxyType(
    {"flash-attn": _flash_attn, "flash-attn-3": _activated("FA3"), "flash-attn-4": _activated("FA4")}
)
