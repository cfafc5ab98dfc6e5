"""LPIPS: how different two pictures look, by what a network that was trained on photographs sees in them.

Source: Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", version 0.1 on AlexNet. What
the network sees at five depths is normalised over its channels; the squared differences are weighted by channel and averaged.
Its weights are not ours to ship and nothing is fetched: they are read from where `lpips` and torchvision leave them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from keepworld.errors import ExportError
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

ALEXNET = "alexnet-owt-7be5be79.pth"  # as torchvision names it; the last part of the name begins its SHA-256
LEAST = 64  # pixels a side; below that the deepest features see nothing but edges
LAYERS = (
    (0, 4, 2, 64),
    (3, 1, 2, 192),
    (6, 1, 1, 384),
    (8, 1, 1, 256),
    (10, 1, 1, 256),
)  # name, stride, padding, channels
_POOLED = (1, 2)  # the layers before which the strongest of 3 x 3 are kept, every other one
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # ImageNet's mean and spread, of colours in [-1, 1]


class Lpips:
    """Compares pictures.

    Args:
        alexnet: torchvision's AlexNet: `features.0.weight`, `features.0.bias`, …
        linear: LPIPS's own weights of each channel: `lin0.model.1.weight` [1, C, 1, 1], …

    Raises:
        ExportError: a weight is missing, or has another shape.
    """

    def __init__(self, alexnet: dict[str, Any], linear: dict[str, Any]) -> None:
        channels = 3
        self._layers = []
        for k, (name, stride, padding, wide) in enumerate(LAYERS):
            side = 11 if k == 0 else 5 if k == 1 else 3
            weight = _weight(alexnet, f"features.{name}.weight", (wide, channels, side, side))
            bias = _weight(alexnet, f"features.{name}.bias", (wide,))
            counts = _weight(linear, f"lin{k}.model.1.weight", (1, wide, 1, 1))
            self._layers.append((weight, bias, counts, stride, padding))
            channels = wide

    def __call__(self, image: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
        """The distance of two pictures [H, W, 3], sRGB in [0, 1], at least `LEAST` pixels a side: 0 for the same."""
        import torch

        with torch.inference_mode():
            total = 0.0
            for (a, counts), (b, _) in zip(self._seen(image), self._seen(truth), strict=True):
                total += float((counts * (a - b) ** 2).sum(1).mean())
        return total

    def _seen(self, image: NDArray[np.floating]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """What the network sees at each depth, normalised, and what each channel of it counts."""
        import torch
        from torch.nn import functional

        x = torch.from_numpy(np.ascontiguousarray(image, np.float32)).permute(2, 0, 1)[None]
        x = (2 * x - 1 - torch.tensor(_SHIFT)[:, None, None]) / torch.tensor(_SCALE)[:, None, None]
        for k, (weight, bias, counts, stride, padding) in enumerate(self._layers):
            if k in _POOLED:
                x = functional.max_pool2d(x, 3, 2)
            x = functional.relu(functional.conv2d(x, weight, bias, stride, padding))
            yield x / (x.pow(2).sum(1, keepdim=True).sqrt() + 1e-10), counts


@cache
def installed_lpips() -> Lpips | None:
    """LPIPS, if torch and both files of its weights are installed here; else None.

    Raises:
        ExportError: a file is not what its name says.
    """
    package = find_spec("lpips")
    if package is None or find_spec("torch") is None:
        return None
    import torch

    alexnet = Path(torch.hub.get_dir()) / "checkpoints" / ALEXNET
    linear = Path(next(iter(package.submodule_search_locations or ()), "")) / "weights" / "v0.1" / "alex.pth"
    if not alexnet.is_file() or not linear.is_file():
        return None
    if not hashlib.sha256(alexnet.read_bytes()).hexdigest().startswith(ALEXNET[-12:-4]):
        raise ExportError(
            f"{alexnet} is damaged: its SHA-256 does not begin as its name says; remove it, or fetch it again"
        )
    return Lpips(*(torch.load(path, map_location="cpu", weights_only=True) for path in (alexnet, linear)))


def _weight(weights: dict[str, Any], name: str, shape: tuple[int, ...]) -> torch.Tensor:
    found: torch.Tensor | None = weights.get(name)
    if found is None or tuple(found.shape) != shape:
        came = "nothing" if found is None else list(found.shape)
        raise ExportError(f"the weights of LPIPS: {name} must be {list(shape)}, got {came}")
    return found.float()
