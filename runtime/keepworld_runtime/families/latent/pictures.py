"""Pictures from outside, made to fit."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor


def fitted(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """A picture [H, W, 3] scaled (Lanczos) until it covers width × height, and cut to that about its middle."""
    scale = max(width / image.shape[1], height / image.shape[0])
    size = (max(width, round(image.shape[1] * scale)), max(height, round(image.shape[0] * scale)))
    scaled = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return np.asarray(scaled.crop((left, top, left + width, top + height)))


def as_frames(images: NDArray[np.uint8]) -> Tensor:
    """Pictures [N, H, W, 3] uint8 as a VAE takes them: [1, 3, N, H, W] float32 in [-1, 1]."""
    frames = torch.from_numpy(np.array(images)).permute(3, 0, 1, 2)[None]
    return frames.float() / 127.5 - 1.0
