"""``.cameras.json``: a camera path as plain numbers: OpenCV camera to world and K of every frame, in the session's frame."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from keepworld_exporters.formats.checks import checked_shot
from keepworld_exporters.scene import Views

FORMAT = "keepworld.cameras/1"


def encode(views: Views, about: Mapping[str, object] | None = None) -> bytes:
    """Turn cameras into a file."""
    frames = [
        {
            "name": shot.name,
            "time_s": shot.time_s,
            "width": shot.camera.width,
            "height": shot.camera.height,
            "K": shot.camera.K.tolist(),
            "c2w": shot.camera.c2w.tolist(),
        }
        for shot in views.shots
    ]
    axes = "camera to world; x right, y down, z forward"
    return json.dumps({"format": FORMAT, "axes": axes, "about": dict(about or {}), "frames": frames}, indent=1).encode()


def decode(data: bytes) -> Views:
    """Read a file.

    Raises:
        ValueError: damaged, or of another format.
    """
    try:
        content = json.loads(data)
        if content["format"] != FORMAT:
            raise ValueError(f"format must be {FORMAT}, got {content['format']!r}")
        shots = [
            checked_shot(
                str(entry["name"]),
                np.asarray(entry["c2w"], np.float64),
                _matrix(entry["K"]),
                int(entry["width"]),
                int(entry["height"]),
                float(entry["time_s"]),
            )
            for entry in content["frames"]
        ]
    except (KeyError, TypeError, IndexError, RecursionError, OverflowError) as error:
        raise ValueError(f"not a camera path, or a damaged one: {error!r}") from error
    return Views(shots=tuple(shots))


def _matrix(rows: object) -> np.ndarray:
    matrix = np.asarray(rows, np.float64)
    if matrix.shape != (3, 3):
        raise ValueError(f"K must be [3, 3], got {list(matrix.shape)}")
    return matrix
