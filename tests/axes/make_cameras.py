"""Writes cameras.json: cameras, and where each program wants them, for the conversions of every language to be held against.

    python -m tests.axes.make_cameras

Nothing of keepworld is used. A camera is a place (metres to the right, up and forward of the origin) and a direction (yaw,
pitch, roll); its three axes follow from Unreal's documented rotator (https://dev.epicgames.com, FRotationMatrix), which is
written in exactly these words. What each program then wants is spelled out: which way each of its axes points.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

FILE = Path(__file__).with_name("cameras.json")

# Of each program, from its manual: what its world axes x, y, z are, what a camera's own axes x, y, z are, units a metre.
PROGRAMS = {
    "opencv": (("right", "down", "forward"), ("right", "down", "forward"), 1),
    "unity": (("right", "up", "forward"), ("right", "up", "forward"), 1),
    "unreal": (("forward", "right", "up"), ("forward", "right", "up"), 100),
    "godot": (("right", "up", "back"), ("right", "up", "back"), 1),
    "gltf": (("right", "up", "back"), ("right", "up", "back"), 1),
    "blender": (("right", "forward", "up"), ("right", "up", "back"), 1),
}
# right, up, forward in metres; yaw (right), pitch (up), roll (right ear down) in degrees
CAMERAS = {
    "level at the origin": ((0, 0, 0), (0, 0, 0)),
    "one metre right, two up, three forward": ((1, 2, 3), (0, 0, 0)),
    "looks right": ((0, 1.7, 0), (90, 0, 0)),
    "looks behind": ((-4, 1.7, 2.5), (180, 0, 0)),
    "looks up a little": ((0, 0, 0), (0, 30, 0)),
    "leans right": ((0, 0, 0), (0, 0, 20)),
    "looks left and down": ((-3.25, 12, 0.5), (-60, -45, 0)),
    "all at once": ((10.5, -2.25, -7), (135, 25, -40)),
}
WIDTH, HEIGHT, FX, FY = 512, 288, 440.0, 440.0


def axes_of(yaw: float, pitch: float, roll: float) -> dict[str, list[float]]:
    """A camera's right, up and forward, each [3] as (right, up, forward) of the world."""
    sp, cp = math.sin(pitch), math.cos(pitch)
    sy, cy = math.sin(yaw), math.cos(yaw)
    sr, cr = math.sin(roll), math.cos(roll)
    # FRotationMatrix, each row as (forward, right, up) of the world: the camera's forward, right, up.
    forward = (cp * cy, cp * sy, sp)
    right = (sr * sp * cy - cr * sy, sr * sp * sy + cr * cy, -sr * cp)
    up = (-(cr * sp * cy + sr * sy), cy * sr - cr * sp * sy, cr * cp)
    axes = {name: [r, u, f] for name, (f, r, u) in {"right": right, "up": up, "forward": forward}.items()}
    opposite = {"down": "up", "back": "forward", "left": "right"}
    return axes | {name: [-value for value in axes[of]] for name, of in opposite.items()}


def component(vector: list[float], axis: str) -> float:
    """How far a vector, (right, up, forward) of the world, points along one of the world's axes."""
    right, up, forward = vector
    return {"right": right, "up": up, "forward": forward, "down": -up, "back": -forward, "left": -right}[axis]


def matrix_for(program: str, place: tuple[float, ...], axes: dict[str, list[float]]) -> list[list[float]]:
    """Camera to world [4, 4] as `program` wants it: columns are the camera's own axes, then where it stands."""
    world, camera, scale = PROGRAMS[program]
    rows = []
    for axis in world:
        turned = [component(axes[own], axis) for own in camera]
        rows.append([*turned, component(list(place), axis) * scale])
    return [[_tidy(value) for value in row] for row in [*rows, [0, 0, 0, 1]]]


def cameras() -> dict[str, object]:
    """Everything that goes into the file."""
    entries = []
    for name, (place, angles) in CAMERAS.items():
        axes = axes_of(*(math.radians(angle) for angle in angles))
        yaw, pitch, roll = angles
        entries.append(
            {
                "name": name,
                "c2w": {program: matrix_for(program, place, axes) for program in PROGRAMS},
                "unreal_rotator_degrees": {"pitch": pitch, "yaw": yaw, "roll": roll},
            }
        )
    point = [2.0, 0.5, 8.0]  # right, up, forward, metres
    return {
        "cameras": entries,
        "point": {
            program: [component(point, axis) * scale for axis in world]
            for program, (world, _, scale) in PROGRAMS.items()
        },
        "intrinsics": {"width": WIDTH, "height": HEIGHT, "fx": FX, "fy": FY, "cx": WIDTH / 2, "cy": HEIGHT / 2},
        "fov_degrees": {
            "horizontal": math.degrees(2 * math.atan2(WIDTH, 2 * FX)),
            "vertical": math.degrees(2 * math.atan2(HEIGHT, 2 * FY)),
        },
    }


def text() -> str:
    """The file, one camera's matrix a line."""
    content = cameras()
    lines = [json.dumps(entry) for entry in content.pop("cameras")]
    rest = json.dumps(content)[1:]
    return '{"cameras": [\n' + ",\n".join(lines) + "\n],\n" + rest + "\n"


def _tidy(value: float) -> float:
    rounded = round(value, 15) + 0.0
    return int(rounded) if rounded == int(rounded) else rounded


if __name__ == "__main__":
    FILE.write_text(text())
