"""How the camera moves: on foot, with ground below and walls in the way, or flying."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from keepworld.motion import Control, Rates, step_along_view, step_on_ground, turned
from numpy.typing import NDArray

from keepworld_runtime.families.diorama.placing import Ground

Floats = NDArray[np.float64]

MODES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "walk": ("move_right", "move_forward", "turn_yaw", "turn_pitch", "speed"),
        "fly": ("move_right", "move_down", "move_forward", "turn_yaw", "turn_pitch", "turn_roll", "speed"),
    }
)
RATES = Rates(move=2.0, turn=math.radians(60.0))
EYE_HEIGHT = 1.65  # metres
RADIUS = 0.35  # of the body, metres
MAX_PITCH = math.radians(80.0)

_SUBSTEP = 0.12  # metres; shorter than any wall is thick, so that no speed goes through
_LOOKAHEAD = 0.6  # metres over which steepness is measured
_STEEPEST = 0.9  # rise over run that can be walked up,
_KERB = 0.35  # above a step of these metres
_RADII = (RADIUS, 0.9 * RADIUS, 0.6 * RADIUS)
_CLIMB = 6.0  # metres a second at which the eye finds its height again, after having been put elsewhere
_FLOOR = 0.4  # metres a flying camera keeps from the ground
_WORLD = 150.0  # metres from the start that a flying camera may go
_TURNS = np.radians(np.concatenate([[0.0], *([-a, a] for a in np.arange(2.5, 88.0, 2.5))]))  # small ones first
_RING = np.concatenate(
    [[(0.0, 0.0)], *([(r * np.sin(a), r * np.cos(a)) for a in np.arange(8) * np.pi / 4] for r in (0.17, RADIUS))]
)


def advanced(c2w: Floats, control: Control, place: Ground, mode: str, dt: float) -> Floats:
    """Move the camera [4, 4] as `control` says for `dt` seconds.

    Raises:
        ValueError: the control asks for an axis that `mode` does not honour.
    """
    refused = control.used_axes() - set(MODES[mode])
    if refused:
        raise ValueError(
            f"mode {mode!r} does not honour {', '.join(sorted(refused))}; it honours {', '.join(MODES[mode])}"
        )
    return _walked(c2w, control, place, dt) if mode == "walk" else _flown(c2w, control, place, dt)


def settled(c2w: Floats, place: Ground) -> Floats:
    """The camera [4, 4] at the height of the eyes of somebody who stands there."""
    standing = c2w.copy()
    standing[1, 3] = _eye(place, c2w[0, 3], c2w[2, 3])
    return standing


def _walked(c2w: Floats, control: Control, place: Ground, dt: float) -> Floats:
    step = step_on_ground(c2w, control, RATES, dt)
    after = turned(c2w, control, RATES, dt, max_pitch=MAX_PITCH)
    x, z = slide(place, float(c2w[0, 3]), float(c2w[2, 3]), float(step[0]), float(step[2]))
    # The height is a function of the place alone, so that coming back shows the same; only a camera that was put
    # somewhere else, in the air say, takes its time to get there.
    reach = _CLIMB * dt + 2.0 * math.hypot(x - c2w[0, 3], z - c2w[2, 3])
    y = _eye(place, x, z)
    after[:3, 3] = x, min(max(y, c2w[1, 3] - reach), c2w[1, 3] + reach), z
    return after


def slide(place: Ground, x: float, z: float, dx: float, dz: float) -> tuple[float, float]:
    """Where one gets to from x, z by walking dx, dz metres: along what is in the way, not through it."""
    length = math.hypot(dx, dz)
    if length == 0.0:
        return x, z
    count = math.ceil(length / _SUBSTEP)
    for _ in range(count):
        turn = _freest(place, x, z, dx / count, dz / count)
        if turn is None:
            break
        c, s = math.cos(turn), math.sin(turn)
        # Turned aside by an angle, only what points that way is left of the step.
        x, z = x + c * (c * dx + s * dz) / count, z + c * (c * dz - s * dx) / count
    return x, z


def _freest(place: Ground, x: float, z: float, dx: float, dz: float) -> float | None:
    """The smallest turn of a short step that leads somewhere free, radians; None if there is none."""
    # Somebody who was put too near a wall is thinner until they have left it; inside one, they are let out any way.
    radius = next((r for r in _RADII if not place.blocked(np.array(x), np.array(z), r)), None)
    if radius is None:
        return 0.0
    c, s = np.cos(_TURNS), np.sin(_TURNS)
    step_x, step_z = c * (c * dx + s * dz), c * (c * dz - s * dx)
    # The straight way first, alone: it nearly always is free.
    for part in (slice(0, 1), slice(1, None)):
        free = ~place.blocked(x + step_x[part], z + step_z[part], radius)
        free &= ~_too_steep(place, x, z, step_x[part], step_z[part])
        if free.any():
            return float(_TURNS[part][int(np.argmax(free))])
    return None


def _too_steep(place: Ground, x: float, z: float, dx: Floats, dz: Floats) -> NDArray[np.bool_]:
    """Whether the ground rises too much to walk from x, z in the direction of dx, dz [N]."""
    reach = _LOOKAHEAD / np.maximum(np.hypot(dx, dz), 1e-9)
    climb = place.ground(np.array(x), np.array(z)) - place.ground(x + dx * reach, z + dz * reach)
    return np.asarray(climb > _KERB + _STEEPEST * _LOOKAHEAD)


def _eye(place: Ground, x: float, z: float) -> float:
    """The y of the eyes at a place: above the mean of the ground underfoot, so that a step is a short ramp."""
    return float(place.ground(x + _RING[:, 0], z + _RING[:, 1]).mean()) - EYE_HEIGHT


def _flown(c2w: Floats, control: Control, place: Ground, dt: float) -> Floats:
    after = turned(c2w, control, RATES, dt, max_pitch=None)
    to = c2w[:3, 3] + step_along_view(c2w, control, RATES, dt)
    away = math.hypot(to[0], to[2])
    if away > _WORLD and away > math.hypot(c2w[0, 3], c2w[2, 3]):
        to[[0, 2]] *= max(_WORLD, math.hypot(c2w[0, 3], c2w[2, 3])) / away
    lowest = float(place.ground(np.array(to[0]), np.array(to[2]))) - _FLOOR
    to[1] = max(min(to[1], lowest), -_WORLD)
    after[:3, 3] = to
    return after
