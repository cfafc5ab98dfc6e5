"""The mottled room as other programs' data sets: its pictures, and the cameras they were taken by."""

import json
import math

import numpy as np
from keepworld import png
from keepworld.camera import convert_c2w
from keepworld_exporters.ingest import sources, write

from tests import scenes
from tests.exporters.room import BALL, GROUND, WALL, sideways

SIZE = (192, 144)
ROOM = [WALL, GROUND, BALL]


def room(folder, *, count=9, step=0.12):
    """A capture of the room, whose cameras are exact."""
    return scenes.write(folder, ROOM, sideways(count, step), size=SIZE)


def save_pictures(capture, folder):
    """The capture's pictures as files of a folder, a name each."""
    folder.mkdir(parents=True)
    names = [f"view_{frame.number:03d}.png" for frame in capture.frames]
    for frame, name in zip(capture.frames, names, strict=True):
        (folder / name).write_bytes(png.encode(frame.image()))
    return names


def transforms(capture, names, *, applied=None, scale=None, **about):
    """What nerfstudio would have of a capture; `applied` [3, 4] turns COLMAP's world into its own."""
    K = capture.frames[0].camera.K
    frames = []
    for frame, name in zip(capture.frames, names, strict=True):
        matrix = convert_c2w(frame.camera.c2w, to="nerfstudio")
        if applied is not None:
            # By nerfstudio's own words: the transform that was applied to the original poses, here COLMAP's.
            original = frame.camera.c2w @ np.diag([1.0, -1.0, -1.0, 1.0])
            matrix = np.vstack([applied, [0, 0, 0, 1]]) @ original
        if scale is not None:
            matrix[:3, 3] *= scale
        frames.append({"file_path": f"images/{name}", "transform_matrix": matrix.tolist()})
    content = {"fl_x": K[0, 0], "fl_y": K[1, 1], "cx": K[0, 2], "cy": K[1, 2], "w": SIZE[0], "h": SIZE[1]}
    if applied is not None:
        content["applied_transform"] = np.asarray(applied).tolist()
    if scale is not None:
        content["applied_scale"] = scale
    return {**content, "frames": frames, **about}


def save_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def opened(source, tmp_path, **asked):
    """The capture that a source becomes."""
    asked = {"max_side": 0, **asked}
    number = len(list(tmp_path.glob("work*")))
    work = tmp_path / f"work{number}"
    work.mkdir()
    sequence = sources.read(source, sources.Asked(**asked), work, on_step=lambda: None)
    return write.write(sequence, tmp_path / f"opened{number}", max_side=asked["max_side"], on_photo=lambda: None)


def bent_pictures(capture, lens, folder, names):
    """The room through another lens: each pixel's ray found by undoing the bending step by step, then traced."""
    width, height = lens.width, lens.height
    u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    wanted = np.stack([u, v], -1)
    rays = (wanted - [lens.cx, lens.cy]) / [lens.fx, lens.fy]
    for _ in range(100):
        rays += 0.5 * (wanted - lens.project(rays)) / [lens.fx, lens.fy]
    assert np.abs(lens.project(rays) - wanted).max() < 1e-3
    folder.mkdir(parents=True)
    for frame, name in zip(capture.frames, names, strict=True):
        directions = np.concatenate([rays, np.ones_like(u)[..., None]], -1).reshape(-1, 3) @ frame.camera.c2w[:3, :3].T
        meets = np.stack([solid.meet(frame.camera.centre, directions) for solid in ROOM])
        nearest, depth = meets.argmin(0), meets.min(0)
        colours = np.full(directions.shape, 128.0)
        for k, solid in enumerate(ROOM):
            hit = (nearest == k) & np.isfinite(depth)
            colours[hit] = solid.colour(frame.camera.centre + directions[hit] * depth[hit, None])
        (folder / name).write_bytes(png.encode(np.round(colours).astype(np.uint8).reshape(height, width, 3)))


def psnr(a, b):
    return -10 * math.log10(max(((a / 255.0 - b / 255.0) ** 2).mean(), 1e-10))
