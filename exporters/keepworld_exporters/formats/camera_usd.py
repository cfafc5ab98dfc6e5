"""``.cameras.usda``: a camera path as an animated USD camera, a time code a shot, for Solaris, Omniverse and Blender.

USD measures lenses in tenths of the stage's unit; the aperture's width is set to 36 mm and all else follows. The names of the
pictures, their sizes and their times are kept beside it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import numpy as np
from keepworld.camera import convert_c2w, restore_c2w

from keepworld_exporters.formats import usd
from keepworld_exporters.formats.checks import checked_shot
from keepworld_exporters.scene import Shot, Views

_APERTURE = 36.0
_SAMPLES = re.compile(r"matrix4d xformOp:transform\.timeSamples = \{([^{}]*)\}")
_KEPT = re.compile(r"string keepworld:shots = (\"(?:[^\"\\]|\\.)*\")")


def encode(views: Views, about: Mapping[str, object] | None = None) -> bytes:
    """Turn cameras into a file.

    Raises:
        ValueError: there are none.
    """
    if not views.shots:
        raise ValueError("a camera path needs at least one shot")
    lines = []
    names = ("focalLength", "verticalAperture", "horizontalApertureOffset", "verticalApertureOffset")
    lengths: dict[str, list[float]] = {name: [] for name in names}
    kept = []
    for code, shot in enumerate(views.shots):
        pose = convert_c2w(shot.camera.c2w, to="gltf").T  # USD's rows are vectors
        rows = ", ".join("(" + ", ".join(repr(float(value)) for value in row) + ")" for row in pose)
        lines.append(f"{code}: ({rows}),")
        K, width, height = shot.camera.K, shot.camera.width, shot.camera.height
        tall = _APERTURE * height / width * K[0, 0] / K[1, 1]
        lengths["focalLength"].append(_APERTURE * K[0, 0] / width)
        lengths["verticalAperture"].append(tall)
        lengths["horizontalApertureOffset"].append(_APERTURE * (0.5 - K[0, 2] / width))
        lengths["verticalApertureOffset"].append(tall * (K[1, 2] / height - 0.5))
        kept.append([shot.name, shot.time_s, width, height, K.tolist()])
    fields = [f"float horizontalAperture = {_APERTURE}"]
    fields += [
        f"float {name}.timeSamples = {{ "
        + " ".join(f"{code}: {value:.9g}," for code, value in enumerate(values))
        + " }"
        for name, values in lengths.items()
    ]
    body = "\n        ".join(fields)
    samples = "\n            ".join(lines)
    prim = f"""def Camera "world"
{{
        {body}
        float2 clippingRange = (0.01, 100000)
        custom string keepworld:shots = {json.dumps(json.dumps(kept))}
        matrix4d xformOp:transform.timeSamples = {{
            {samples}
        }}
        uniform token[] xformOpOrder = ["xformOp:transform"]
}}
"""
    return usd.stage(prim, about or {}, shots=len(views.shots))


def decode(data: bytes) -> Views:
    """Read a camera path of this layout.

    Raises:
        ValueError: damaged, or of another layout.
    """
    text = usd.decode_text(data)
    samples, kept = _SAMPLES.search(text), _KEPT.search(text)
    if samples is None or kept is None:
        raise ValueError("not a camera path: it has no moving camera with keepworld:shots")
    try:
        poses = np.array(re.sub(r"\d+:|[(),\s]+", " ", samples[1]).split(), np.float64).reshape(-1, 4, 4)
        entries = json.loads(json.loads(kept[1]))
        shots = [_shot(entry, pose.T) for entry, pose in zip(entries, poses, strict=True)]
    except (KeyError, TypeError, IndexError, RecursionError, OverflowError) as error:
        raise ValueError(f"not a camera path, or a damaged one: {error!r}") from error
    return Views(shots=tuple(shots))


def _shot(entry: list[object], pose: np.ndarray) -> Shot:
    name, time_s, width, height, K = entry
    matrix = np.asarray(K, np.float64).reshape(3, 3)
    c2w = restore_c2w(pose, source="gltf")
    return checked_shot(str(name), c2w, matrix, int(str(width)), int(str(height)), float(str(time_s)))
