"""Pictures and frames that have been uploaded, kept in memory for a while to open worlds from."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keepworld_runtime.engine.errors import AssetNotFoundError, TooManyAssetsError
from keepworld_runtime.families.family import Clip

Image = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True)
class AssetLimits:
    """Bounds on assets.

    Attributes:
        max_frames: in one asset.
        max_pixels: in each of its frames.
        max_bytes: of all its frames, decoded.
        max_assets: that are kept.
        max_total_bytes: of all assets, and of those still coming in.
        kept_s: how long one is kept.
    """

    max_frames: int = 1024
    max_pixels: int = 3840 * 2160
    max_bytes: int = 512 << 20
    max_assets: int = 64
    max_total_bytes: int = 1 << 30
    kept_s: float = 600.0


class AssetStore:
    """Assets by their ids."""

    def __init__(self, limits: AssetLimits) -> None:
        self.limits = limits
        self._kept: dict[str, Image | Clip] = {}
        self._total_bytes = 0

    @property
    def num_kept(self) -> int:
        """How many there are."""
        return len(self._kept)

    @contextmanager
    def room(self, num_bytes: int) -> Iterator[None]:
        """Hold room for an asset while it comes in; what `keep` has not taken by the end is free again.

        Raises:
            TooManyAssetsError: there is none.
        """
        limits = self.limits
        if len(self._kept) >= limits.max_assets or self._total_bytes + num_bytes > limits.max_total_bytes:
            raise TooManyAssetsError(
                f"{len(self._kept)} assets are kept, {self._total_bytes} bytes are taken; there may be {limits.max_assets} "
                f"and {limits.max_total_bytes}",
                retry_s=limits.kept_s / 10,
            )
        self._total_bytes += num_bytes
        try:
            yield
        finally:
            self._total_bytes -= num_bytes

    def keep(self, asset: Image | Clip) -> str:
        """Keep an asset for its time; gives the id that opens worlds from it."""
        asset_id = secrets.token_hex(16)
        self._kept[asset_id] = asset
        self._total_bytes += _num_bytes(asset)
        asyncio.get_running_loop().call_later(self.limits.kept_s, self._drop, asset_id)
        return asset_id

    def image(self, asset_id: str, field: str) -> Image:
        """Find a picture.

        Raises:
            AssetNotFoundError: no picture has this id, or it has gone.
        """
        asset = self._kept.get(asset_id)
        if not isinstance(asset, np.ndarray):
            raise AssetNotFoundError(f"no image has this id; one is kept for {self.limits.kept_s:g} s", field=field)
        return asset

    def clip(self, asset_id: str, field: str) -> Clip:
        """Find frames.

        Raises:
            AssetNotFoundError: no frames have this id, or they have gone.
        """
        asset = self._kept.get(asset_id)
        if not isinstance(asset, Clip):
            raise AssetNotFoundError(f"no clip has this id; one is kept for {self.limits.kept_s:g} s", field=field)
        return asset

    def _drop(self, asset_id: str) -> None:
        self._total_bytes -= _num_bytes(self._kept.pop(asset_id))


def _num_bytes(asset: Image | Clip) -> int:
    return asset.frames.nbytes if isinstance(asset, Clip) else asset.nbytes
