"""Exact cameras: a path of your own, what came of it, and the same cameras as five engines want them.

    python examples/06_cameras.py out                          writes out/orbit, and out/cameras.unity.json and four more
    python examples/06_cameras.py out --path transforms.json   along cameras of nerfstudio, Blender (--frame blender), ...

Shows `paths`, `follow`, `Camera.to`, intrinsics and angles of view, and where a point of the world is seen.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import keepworld as kw
import numpy as np

ENGINES = ("unity", "unreal", "godot", "blender", "gltf")


def main() -> None:
    options = arguments()
    if options.path:
        path = kw.paths.load(options.path, frame=options.frame)
    else:  # y points down, and the ground is a little below the origin: this is 3 m above it, around a point 12 m ahead
        path = kw.paths.orbit([0, -1, 12], radius=9, height=2, frames=options.frames)
    with (
        kw.Client(progress=True) as client,  # KEEPWORLD_URL, or a server of its own
        client.sessions.open("standing stones in a meadow", seed=5, size=options.size, mode="fly") as session,
    ):
        session.follow(path)
        capture = session.capture(options.out / "orbit")

    drift = np.abs(capture.c2ws[: len(path)] - path).max()
    print(f"{len(path)} cameras asked for, {len(capture)} frames came, the furthest off by {drift:.1e} m")
    for engine in ENGINES:
        file = options.out / f"cameras.{engine}.json"
        file.write_text(json.dumps([camera_for(frame.camera, engine) for frame in capture.frames]))
        print(f"{file}: {np.round(capture.frames[0].camera.to(engine)[:3, 3], 2).tolist()} is the first one's place")

    camera = capture.frames[0].camera
    u, v, depth = camera.project([0, -1, 12])
    print(f"the middle of the orbit is at ({u:.1f}, {v:.1f}) of {camera.width}x{camera.height}, {depth:.1f} m away")


def camera_for(camera: kw.Camera, engine: str) -> dict[str, object]:
    """What an engine's importer needs of a camera: where it is, how it is turned, how much it sees."""
    return {
        "camera_to_world": camera.to(engine).tolist(),  # its axes, its unit of length
        "vertical_fov_degrees": math.degrees(camera.fov_y),
        "horizontal_fov_degrees": math.degrees(camera.fov_x),
        "size": [camera.width, camera.height],
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="a new folder")
    parser.add_argument("--path", type=Path, help="a file of cameras to follow instead of an orbit")
    parser.add_argument("--frame", help="the axes they are in; default: as the file's kind usually is")
    parser.add_argument("--frames", type=int, default=61, help="of the orbit")
    parser.add_argument("--size", type=lambda text: tuple(map(int, text.split("x"))), default=(512, 288))
    return parser.parse_args()


if __name__ == "__main__":
    main()
