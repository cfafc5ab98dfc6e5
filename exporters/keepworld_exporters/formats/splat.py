"""``.splat``: 32 bytes a splat without harmonics, as antik's web viewer reads and most web viewers since.

x y z and three scales as floats, red green blue and opacity as bytes, the quaternion w x y z as bytes around 128. Colours lose
what depends on the view, and are cut to [0, 1]. There is no header, and nowhere to say where it came from.
"""

from __future__ import annotations

import numpy as np

from keepworld_exporters.formats.checks import checked_splats
from keepworld_exporters.formats.harmonics import SH_C0
from keepworld_exporters.scene import Splats

DTYPE = np.dtype([("means", "<f4", 3), ("scales", "<f4", 3), ("rgba", "u1", 4), ("quats", "u1", 4)])


def encode(splats: Splats) -> bytes:
    """Turn splats into a file."""
    table = np.empty(len(splats.means), DTYPE)
    table["means"], table["scales"] = splats.means, splats.scales
    table["rgba"][:, :3] = np.round(255 * np.clip(SH_C0 * splats.sh0 + 0.5, 0, 1))
    table["rgba"][:, 3] = np.round(255 * np.clip(splats.opacities, 0, 1))
    table["quats"] = np.clip(np.round(128 * splats.quats + 128), 0, 255)
    return table.tobytes()


def decode(data: bytes) -> Splats:
    """Read a file.

    Raises:
        ValueError: its length is not that of whole splats, or it holds values that are not finite.
    """
    if not data or len(data) % DTYPE.itemsize:
        raise ValueError(f"a .splat file has 32 bytes a splat, this one has {len(data)}")
    table = np.frombuffer(data, DTYPE)
    return checked_splats(
        means=table["means"],
        quats=(table["quats"].astype(np.float32) - 128) / 128,
        scales=table["scales"],
        opacities=table["rgba"][:, 3] / 255.0,
        sh0=(table["rgba"][:, :3] / 255.0 - 0.5) / SH_C0,
        shN=np.zeros((len(table), 0, 3)),
    )
