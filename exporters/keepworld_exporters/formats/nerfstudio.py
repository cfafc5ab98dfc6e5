"""``transforms.json``: cameras for nerfstudio and its like: OpenGL camera to world, z up, intrinsics of each frame.

`applied_transform` is said to be none: without the entry nerfstudio guesses one where it finds a COLMAP folder. What a file says
there is about other data than its cameras, and not asked for when it is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
from keepworld.camera import convert_c2w, restore_c2w

from keepworld_exporters.formats.checks import checked_shot
from keepworld_exporters.scene import Shot, Views

_BENT = ("k1", "k2", "k3", "k4", "p1", "p2")


def encode(views: Views, told: Mapping[str, object] | None = None) -> bytes:
    """Turn cameras into a file; what it says about itself is kept under "keepworld", which nerfstudio passes over."""
    frames = []
    for shot in views.shots:
        K = shot.camera.K
        frames.append(
            {
                "file_path": shot.name,
                "w": shot.camera.width,
                "h": shot.camera.height,
                "fl_x": K[0, 0],
                "fl_y": K[1, 1],
                "cx": K[0, 2],
                "cy": K[1, 2],
                "time": shot.time_s,
                "transform_matrix": convert_c2w(shot.camera.c2w, to="nerfstudio").tolist(),
            }
        )
    about = {"camera_model": "PINHOLE", "orientation_override": "none", "applied_transform": np.eye(4)[:3].tolist()}
    return json.dumps({**about, "keepworld": dict(told or {}), "frames": frames}, indent=1).encode()


def decode(data: bytes) -> Views:
    """Read a file; intrinsics may be said once for all frames.

    Raises:
        ValueError: damaged, without frames, or of lenses that bend.
    """
    try:
        content = json.loads(data)
        shots = [_shot({**content, **frame}) for frame in content["frames"]]
    except (KeyError, TypeError, IndexError, RecursionError, OverflowError) as error:
        raise ValueError(f"not a transforms.json, or a damaged one: {error!r}") from error
    if not shots:
        raise ValueError("the transforms.json has no frames")
    return Views(shots=tuple(shots))


def _shot(entry: dict[str, object]) -> Shot:
    bent = {name: entry[name] for name in _BENT if entry.get(name)}
    if bent:
        raise ValueError(f"{entry['file_path']}: its lens bends ({bent}): undistort the pictures first")

    def number(name: str) -> float:
        value = entry[name]
        if not isinstance(value, int | float) or not np.isfinite(value):
            raise ValueError(f"{name} must be a finite number, got {value!r}")
        return float(value)

    K = np.array([[number("fl_x"), 0, number("cx")], [0, number("fl_y"), number("cy")], [0, 0, 1]])
    matrix = np.asarray(entry["transform_matrix"], np.float64)
    if matrix.shape != (4, 4):
        raise ValueError(f"transform_matrix must be [4, 4], got {list(matrix.shape)}")
    c2w = restore_c2w(matrix, source="nerfstudio")
    when = number("time") if "time" in entry else 0.0
    return checked_shot(str(entry["file_path"]), c2w, K, int(number("w")), int(number("h")), when)
