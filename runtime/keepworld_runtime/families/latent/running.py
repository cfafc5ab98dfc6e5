"""Where and in which numbers a network runs, and on how many processes."""

from __future__ import annotations

import torch

from keepworld_runtime.families.family import FamilyOptions, Place


def device_of(options: FamilyOptions, place: Place) -> torch.device:
    """The device that the options ask for: a GPU, if there is one, for "auto"; each of several processes has its own.

    Raises:
        ValueError: there is no such device here.
    """
    has_gpu = torch.cuda.is_available()
    name = options.device if options.device != "auto" else "cuda" if has_gpu else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"device must be auto, cpu or cuda, got {name!r}") from None
    if device.type != "cuda":
        return device
    if not has_gpu:
        raise ValueError("device cuda was asked for, and there is no GPU that torch can use; try cpu")
    if place.num_ranks > torch.cuda.device_count():
        raise ValueError(f"{place.num_ranks} ranks need a GPU each, there are {torch.cuda.device_count()}")
    return torch.device("cuda", place.rank) if place.num_ranks > 1 else device


def dtype_of(options: FamilyOptions, device: torch.device) -> torch.dtype:
    """The numbers that the options ask for: for "auto" bfloat16 on a GPU and float32 on a CPU."""
    if options.dtype == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[options.dtype]
