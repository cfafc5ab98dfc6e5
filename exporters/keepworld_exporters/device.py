"""Whether there is a GPU to compute on, asked without loading what would."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_ROCM = Path("/dev/kfd")  # AMD's, which torch drives under CUDA's name


@cache
def has_cuda() -> bool:
    """Whether torch finds a CUDA device. It takes 200 MB and a second to load: that is only done where there is a driver."""
    if find_spec("torch") is None or not _has_driver():
        return False
    import torch

    return bool(torch.cuda.is_available())


def _has_driver() -> bool:
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return _ROCM.exists()
    return True
