"""Products with weights in 8 bits: half the memory, and on GPUs that have them tensor cores of twice the rate.

Weights are rounded once, a row at a time (a row of weights makes one output), what they are multiplied with a row at a time as
it comes (a row is a token); both to e4m3, each row scaled so that its largest number is the format's largest
(Micikevicius et al., arXiv 2209.05433). Sums are kept in float32. Rounding moves a number by at most 1/16 of itself, by
about 1/40 in the root mean square, so a product of random vectors comes out within about √2/40, 3.6 %, of its size, and
the result of a layer is as far from the unrounded one.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.functional import ScalingType, scaled_mm

from keepworld_runtime.kernels import names

logger = logging.getLogger(__name__)

_E4M3 = torch.float8_e4m3fn
_MULTIPLE = 16  # the kernels want rows, columns and what they sum over in multiples of this


def to_fp8(model: nn.Module, which: Callable[[str], object], preferred: tuple[str, ...] = ("fp8",)) -> int:
    """Put an 8-bit layer in the place of some of a model's Linears, where one of the preferred kernels runs here.

    Args:
        model: with its weights, on the device that it will run on.
        which: says of a Linear's name whether it shall be replaced, as the ``fullmatch`` of a pattern does.
        preferred: of `names.KERNELS`; those that are not for products are not looked at.

    Returns:
        How many were replaced; the choice, and why not another, is logged.

    Raises:
        ValueError: there is no kernel of such a name, `which` names no Linear at all, or one whose size is not a multiple of 16.
    """
    names.check(preferred)
    wanted = [name for name in preferred if name in ("fp8", "transformer-engine")]
    if not wanted:
        return 0
    chosen = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear) and which(name)}
    if not chosen:
        raise ValueError("which must name some of the model's Linears, it names none")
    for name, layer in chosen.items():
        if layer.in_features % _MULTIPLE or layer.out_features % _MULTIPLE:
            size = f"{layer.in_features} × {layer.out_features}"
            raise ValueError(f"a Linear must be in multiples of {_MULTIPLE} for 8 bits, {name} is {size}")
    device = next(iter(chosen.values())).weight.device
    for kernel in wanted:
        reason = _unusable(kernel, device)
        if reason is None:
            make = FP8Linear if kernel == "fp8" else _TransformerEngineLinear
            for name, layer in chosen.items():
                model.set_submodule(name, make(layer))
            logger.info("%d of the products with weights run in 8 bits by %s", len(chosen), kernel)
            return len(chosen)
        logger.warning("%s; products with weights run in the model's own precision", reason)
    return 0


class FP8Linear(nn.Module):
    """A Linear whose weights are e4m3, by torch.

    Args:
        linear: whose weights are taken.

    Attributes:
        weight: [N, K] e4m3.
        scale: [1, N] float32; weights are weight · scale.
        bias: [N] or None.
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight, scale = quantised(linear.weight.detach())
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale.mT.contiguous())
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach().to(torch.bfloat16))

    def forward(self, x: Tensor) -> Tensor:
        """[..., N] of x [..., K], in x's dtype; computed to bfloat16."""
        rows, scale = quantised(x.flatten(0, -2))
        product = scaled_mm(
            rows,
            self.weight.t(),
            scale,
            ScalingType.RowWise,
            self.scale,
            ScalingType.RowWise,
            bias=self.bias,
            output_dtype=torch.bfloat16,
        )
        return product.to(x.dtype).unflatten(0, x.shape[:-1])


def quantised(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows [M, K] as e4m3 [M, K] times a float32 scale [M, 1] each."""
    wide = rows.float()
    scale = (wide.abs().amax(-1, keepdim=True) / torch.finfo(_E4M3).max).clamp(min=torch.finfo(torch.float32).tiny)
    return (wide / scale).to(_E4M3), scale


class _TransformerEngineLinear(nn.Module):
    """A Linear in 8 bits by transformer-engine, which scales whole tensors, by what is largest in each at the time."""

    def __init__(self, linear: nn.Linear) -> None:
        import transformer_engine.pytorch as te
        from transformer_engine.common.recipe import Float8CurrentScaling, Format

        super().__init__()
        self.layer: Any = te.Linear(
            linear.in_features,
            linear.out_features,
            bias=linear.bias is not None,
            params_dtype=linear.weight.dtype,
            device=linear.weight.device,
        )
        with torch.no_grad():
            self.layer.weight.copy_(linear.weight)
            if linear.bias is not None:
                self.layer.bias.copy_(linear.bias)
        self._recipe = Float8CurrentScaling(fp8_format=Format.E4M3)
        self._autocast = te.fp8_autocast

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(0, -2)
        missing = -len(rows) % _MULTIPLE
        with torch.no_grad(), self._autocast(enabled=True, fp8_recipe=self._recipe):
            out: Tensor = self.layer(F.pad(rows, (0, 0, 0, missing)))
        return out[: len(rows)].unflatten(0, x.shape[:-1])


def _unusable(kernel: str, device: torch.device) -> str | None:
    """Why a kernel cannot run here, or None."""
    if importlib.util.find_spec(names.KERNELS[kernel].module.partition(".")[0]) is None:
        return f"{kernel} is not installed"
    if kernel == "transformer-engine" and device.type != "cuda":
        return f"{kernel} needs a GPU"
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (9, 0):
        return f"{kernel} needs a GPU of compute capability 9.0 or newer"
    return None
