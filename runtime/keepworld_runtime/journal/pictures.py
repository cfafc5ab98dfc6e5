"""Pictures as they lie in blobs: their bytes there, their shape with who names them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keepworld_runtime.journal.blobs import Blobs


def put(pixels: NDArray[np.uint8], blobs: Blobs) -> dict[str, Any]:
    """Put pictures [..., H, W, 3] away; gives what `get` needs."""
    return {"blob": blobs.put(np.ascontiguousarray(pixels).tobytes()), "shape": list(pixels.shape)}


def get(told: Mapping[str, Any], num_axes: int, blobs: Blobs) -> NDArray[np.uint8]:
    """Pictures that were put away.

    Raises:
        ValueError: they are of another shape.
        FileNotFoundError: they are not there.
    """
    shape = tuple(map(int, told["shape"]))
    if len(shape) != num_axes or min(shape) < 1 or shape[-1] != 3:
        raise ValueError(f"pictures must have {num_axes} axes, the last of 3, got {shape}")
    return np.frombuffer(blobs.get(str(told["blob"])), np.uint8).reshape(shape)
