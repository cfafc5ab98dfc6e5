"""``.cameras.glb``: a camera path as an animated glTF camera: what Blender, Unity, Unreal, Godot and three.js play.

glTF's camera has a field of view and no principal point, so the whole K is kept as extras, as are the pictures' names; a lens
that zooms along the way has no place in the format. Shots without times of their own follow each other by 1/24 s.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from keepworld.camera import convert_c2w, quat_from_rotation, restore_c2w, rotation_from_quat

from keepworld_exporters.formats import gltf
from keepworld_exporters.formats.checks import checked_shot
from keepworld_exporters.scene import Views


def encode(views: Views, about: Mapping[str, object] | None = None) -> bytes:
    """Turn cameras into a file.

    Raises:
        ValueError: no shots, or of different lenses.
    """
    if not views.shots:
        raise ValueError("a camera path needs at least one shot")
    first = views.shots[0].camera
    for shot in views.shots:
        if not np.array_equal(shot.camera.K, first.K) or (shot.camera.width, shot.camera.height) != (
            first.width,
            first.height,
        ):
            raise ValueError(f"a glTF camera keeps its lens: {shot.name} has another than {views.shots[0].name}")
    poses = convert_c2w(np.stack([shot.camera.c2w for shot in views.shots]), to="gltf")
    quats = np.stack([quat_from_rotation(pose[:3, :3]) for pose in poses])
    for k in range(1, len(quats)):  # the shorter way from one to the next
        quats[k] *= 1.0 if quats[k] @ quats[k - 1] >= 0 else -1.0
    times = np.array([shot.time_s for shot in views.shots])
    if (np.diff(times) <= 0).any():
        times = np.arange(len(times)) / 24
    parts = gltf.Parts()
    sampled = parts.add(times.astype("<f4")[:, None], bounds=True)
    outputs = {"translation": poses[:, :3, 3].astype("<f4"), "rotation": quats[:, [1, 2, 3, 0]].astype("<f4")}
    samplers = [
        {"input": sampled, "output": parts.add(values), "interpolation": "LINEAR"} for values in outputs.values()
    ]
    lens = {
        "yfov": 2 * np.arctan(0.5 * first.height / first.K[1, 1]),
        "aspectRatio": first.width * first.K[1, 1] / (first.height * first.K[0, 0]),
        "znear": 0.01,
    }
    content = {
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"camera": 0, "name": "walk"}],
        "cameras": [{"type": "perspective", "perspective": lens}],
        "animations": [
            {
                "name": "walk",
                "samplers": samplers,
                "channels": [{"sampler": k, "target": {"node": 0, "path": path}} for k, path in enumerate(outputs)],
            }
        ],
    }
    kept = {"K": first.K.tolist(), "width": first.width, "height": first.height}
    names = [shot.name for shot in views.shots]
    return gltf.encode(content, parts, {**(about or {}), "lens": kept, "names": names})


def decode(data: bytes) -> Views:
    """Read a camera path of this layout.

    Raises:
        ValueError: damaged, or of another layout.
    """
    content, body = gltf.split(data)
    try:
        animation = content["animations"][0]  # type: ignore[index]
        read = {}
        for channel in animation["channels"]:
            sampler = animation["samplers"][channel["sampler"]]
            path = channel["target"]["path"]
            width = {"translation": 3, "rotation": 4}[path]
            read[path] = gltf.read(content, body, sampler["output"], width=width, kinds=(gltf.FLOAT,)).astype(
                np.float64
            )
            read["times"] = gltf.read(content, body, sampler["input"], width=1, kinds=(gltf.FLOAT,)).astype(np.float64)
        extras = content["asset"]["extras"]  # type: ignore[index]
        lens, names = extras["lens"], extras["names"]
        K = np.asarray(lens["K"], np.float64).reshape(3, 3)
        rows = list(zip(names, read["times"][:, 0], read["translation"], read["rotation"], strict=True))
        if not all(np.isfinite(array).all() and len(array) for array in (*read.values(), K)):
            raise ValueError("the camera path holds numbers that are not finite")
        shots = []
        for name, when, place, quat in rows:
            pose = np.eye(4)
            pose[:3, :3], pose[:3, 3] = rotation_from_quat(quat[[3, 0, 1, 2]]), place
            c2w = restore_c2w(pose, source="gltf")
            shots.append(checked_shot(str(name), c2w, K, int(lens["width"]), int(lens["height"]), float(when)))
    except (KeyError, IndexError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"not a camera path, or a damaged one: {error!r}") from error
    return Views(shots=tuple(shots))
