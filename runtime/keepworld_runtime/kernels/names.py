"""The optional kernels by name. Free of torch: the server checks names before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Kernel:
    """A row of the table.

    Attributes:
        module: what has to be importable.
        summary: what it is, in a line.
    """

    module: str
    summary: str


KERNELS: Mapping[str, Kernel] = MappingProxyType(
    {
        "flash-attn": Kernel("flash_attn.flash_attn_interface", "attention by the package flash-attn (FlashAttention-2)"),
        "flash-attn-3": Kernel("flash_attn_interface", "attention by FlashAttention-3, built from source, for Hopper"),
        "flash-attn-4": Kernel("flash_attn.cute.interface", "attention by the package flash-attn-4, for Hopper and newer"),
        "fp8": Kernel("torch", "products with weights in 8 bits, by torch: half the memory; changes what comes out a little"),
        "transformer-engine": Kernel("transformer_engine.pytorch", "the same by the package transformer-engine"),
    }
)  # fmt: skip


def check(preferred: Sequence[str]) -> None:
    """Refuse names that are not in the table.

    Raises:
        ValueError: one is not.
    """
    for name in preferred:
        if name not in KERNELS:
            raise ValueError(f"kernels must be of {', '.join(KERNELS)}, got {name!r}")
