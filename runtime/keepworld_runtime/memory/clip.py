"""A few latents in a row with their cameras, kept and forgotten as one, and the bytes they are stored as."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from keepworld_runtime.memory.views import Views

_DTYPES = (torch.float32, torch.bfloat16)


class Clip:
    """A clip of a walk; nothing of it ever changes.

    Attributes:
        start: how many latents the world had before it.
        latents: [1, C, n, h, w] float32 or bfloat16.
        views: their n cameras.

    Raises:
        ValueError: they do not fit together.
    """

    def __init__(self, start: int, latents: Tensor, views: Views) -> None:
        if latents.ndim != 5 or latents.shape[0] != 1 or latents.shape[2] != len(views) or not latents.numel():
            raise ValueError(f"latents must be [1, C, {len(views)}, h, w], got {list(latents.shape)}")
        if latents.dtype not in _DTYPES:
            raise ValueError(f"latents must be float32 or bfloat16, got {latents.dtype}")
        self.start = start
        self.latents = latents
        self.views = views

    def __len__(self) -> int:
        return len(self.views)

    @property
    def end(self) -> int:
        """How many latents the world had after it."""
        return self.start + len(self)

    @property
    def name(self) -> str:
        """What its bytes are stored under."""
        return f"latents/{self.start:06d}"

    @cached_property
    def part(self) -> bytes:
        """Its bytes (safetensors), made when they are first asked for."""
        views = {"viewmats": self.views.viewmats, "Ks": self.views.Ks, "actions": self.views.actions}
        arrays = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in views.items()}
        return save({"latents": self.latents.cpu().contiguous(), **arrays})

    @property
    def num_bytes(self) -> int:
        """The memory it takes, its stored form too once that is made."""
        arrays = self.views.viewmats.nbytes + self.views.Ks.nbytes + self.views.actions.nbytes
        stored = len(self.part) if "part" in self.__dict__ else 0
        return self.latents.numel() * self.latents.element_size() + arrays + stored


def read_clip(start: int, part: bytes, device: torch.device | str) -> Clip:
    """Read the clip whose `part` these bytes, from anywhere, are.

    Raises:
        ValueError: they are no clip's.
    """
    try:
        tensors = load(part)
    except SafetensorError as error:
        raise ValueError(f"the clip at latent {start} is damaged: {error}") from error
    if tensors.keys() != {"latents", "viewmats", "Ks", "actions"}:
        raise ValueError(
            f"the clip at latent {start} must hold latents, viewmats, Ks and actions, got {sorted(tensors)}"
        )
    for name, dtype in (("viewmats", torch.float64), ("Ks", torch.float64), ("actions", torch.int64)):
        if tensors[name].dtype != dtype:
            raise ValueError(f"{name} must be {dtype}, got {tensors[name].dtype}")
    for name in ("viewmats", "Ks", "latents"):
        if not tensors[name].isfinite().all():
            raise ValueError(f"{name} of the clip at latent {start} must be finite, got NaN or infinity")
    views = Views(
        viewmats=np.asarray(tensors["viewmats"].numpy(), np.float64),
        Ks=np.asarray(tensors["Ks"].numpy(), np.float64),
        actions=np.asarray(tensors["actions"].numpy(), np.int64),
    )
    if ((views.actions < 0) | (views.actions > 80)).any():
        raise ValueError(f"actions must be 0 to 80, got {views.actions.tolist()}")
    clip = Clip(start, tensors["latents"].to(device), views)
    clip.part = bytes(part)
    return clip
