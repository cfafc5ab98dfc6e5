"""One place decides what draws splats."""

from __future__ import annotations

import logging
from importlib.util import find_spec

from keepworld_exporters.device import has_cuda
from keepworld_exporters.rasterize.cpu import CpuRasterizer
from keepworld_exporters.rasterize.rasterizer import Rasterizer

logger = logging.getLogger(__name__)


def choose_rasterizer() -> Rasterizer:
    """gsplat where it, torch and a CUDA device are there; the CPU otherwise."""
    # gsplat itself is only imported when there is a device: without one it tries to compile, and fails.
    if find_spec("gsplat") is not None and has_cuda():
        import torch

        from keepworld_exporters.rasterize.gsplat_cuda import GsplatRasterizer

        logger.info("splats are drawn by gsplat on %s", torch.cuda.get_device_name())
        return GsplatRasterizer()
    logger.info("splats are drawn on the CPU")
    return CpuRasterizer()
