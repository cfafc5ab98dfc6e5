"""From what hands do to where the camera goes: controls, the words for them, and the cameras they give."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = tuple[float, float, float]

MOVE_AXES = ("move_right", "move_down", "move_forward")
TURN_AXES = ("turn_yaw", "turn_pitch", "turn_roll")
AXES = (*MOVE_AXES, *TURN_AXES, "speed", "buttons")
MAX_SPEED = 8.0
MAX_SCRIPT_FRAMES = 100_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Control:
    """What a hand does during one frame.

    Attributes:
        move: right, down, forward, each in [-1, 1], along the camera's own axes.
        turn: yaw, pitch, roll, each in [-1, 1]: positive yaw looks right, positive pitch looks up, positive roll leans
            the head to the right.
        speed: multiplies the family's walking speed, [0, 8]; turning is not affected.
        buttons: a bit mask of the family's buttons.

    Raises:
        ValueError: a value is not finite or out of its range.
    """

    move: Vector = (0.0, 0.0, 0.0)
    turn: Vector = (0.0, 0.0, 0.0)
    speed: float = 1.0
    buttons: int = 0

    def __post_init__(self) -> None:
        for name, values in (("move", self.move), ("turn", self.turn)):
            if len(values) != 3 or not all(math.isfinite(value) and -1 <= value <= 1 for value in values):
                raise ValueError(f"{name} must be three numbers in [-1, 1], got {values}")
        if not (math.isfinite(self.speed) and 0 <= self.speed <= MAX_SPEED):
            raise ValueError(f"speed must be in [0, {MAX_SPEED:g}], got {self.speed}")
        if not 0 <= self.buttons < 2**32:
            raise ValueError(f"buttons must fit 32 bits, got {self.buttons}")

    def used_axes(self) -> frozenset[str]:
        """The names, out of `AXES`, of what this control actually asks for."""
        values = dict(zip(MOVE_AXES + TURN_AXES, self.move + self.turn, strict=True))
        used = {name for name, value in values.items() if value}
        if self.speed != 1.0:
            used.add("speed")
        if self.buttons:
            used.add("buttons")
        return frozenset(used)


NEUTRAL = Control()


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """How fast full deflection is: `move` in units a second at speed 1, `turn` in radians a second."""

    move: float
    turn: float


def turned(
    c2w: NDArray[np.float64], control: Control, rates: Rates, dt: float, *, max_pitch: float | None
) -> NDArray[np.float64]:
    """Turn the camera [4, 4] as `control` says for `dt` seconds; it stays where it is.

    Yaw is about the world's vertical, so that walking and looking round never tilts the horizon; pitch and roll are about
    the camera's own axes. With `max_pitch` (radians) the camera cannot look further up or down than that.
    """
    yaw, pitch, roll = (value * rates.turn * dt for value in control.turn)
    if max_pitch is not None:
        current = math.asin(max(-1.0, min(1.0, -float(c2w[1, 2]))))  # y points down: looking up is a negative y
        pitch = max(-max_pitch, min(max_pitch, current + pitch)) - current
    rotation = _about(1, yaw) @ c2w[:3, :3] @ _about(0, pitch) @ _about(2, roll)
    after = c2w.copy()
    after[:3, :3] = _orthonormal(rotation)
    return after


def step_along_view(c2w: NDArray[np.float64], control: Control, rates: Rates, dt: float) -> NDArray[np.float64]:
    """How far a flying camera [4, 4] moves in `dt` seconds, [3], world: along its own axes."""
    distance = rates.move * control.speed * dt
    return np.asarray(c2w[:3, :3] @ np.asarray(control.move) * distance)


def step_on_ground(c2w: NDArray[np.float64], control: Control, rates: Rates, dt: float) -> NDArray[np.float64]:
    """How far a walking camera [4, 4] moves in `dt` seconds, [3], world: level, whichever way it looks up or down."""
    right, forward = c2w[:3, 0] * [1, 0, 1], c2w[:3, 2] * [1, 0, 1]
    if np.linalg.norm(forward) < 1e-6:  # looking straight up or down: the camera's own vertical is level then
        forward = c2w[:3, 1] * [1, 0, 1] * math.copysign(1.0, float(c2w[1, 2]))
    right, forward = right / max(float(np.linalg.norm(right)), 1e-9), forward / np.linalg.norm(forward)
    distance = rates.move * control.speed * dt
    return np.asarray((right * control.move[0] + forward * control.move[2]) * distance)


def fly(c2w: NDArray[np.float64], controls: Sequence[Control], rates: Rates, fps: float) -> NDArray[np.float64]:
    """Where a free camera is in each of the next frames, [T, 4, 4], starting one step after `c2w` [4, 4]."""
    path = []
    for control in controls:
        moved = turned(c2w, control, rates, 1 / fps, max_pitch=None)
        moved[:3, 3] = c2w[:3, 3] + step_along_view(c2w, control, rates, 1 / fps)
        path.append(moved)
        c2w = moved
    return np.stack(path) if path else np.empty((0, 4, 4))


@dataclass(frozen=True, slots=True)
class Segment:
    """One control held for a number of frames."""

    control: Control
    frames: int


_TERM = re.compile(
    r"^(?P<verb>forward|backward|back|left|right|up|down|wait|stay"
    r"|(?:look|turn) (?:left|right|up|down)|(?:lean|roll) (?:left|right))"
    r"(?: (?P<amount>\d+(?:\.\d+)?) ?(?P<unit>s|sec|seconds?|m|metres?|meters?|deg|degrees?|°|frames?))?"
    r"(?: at (?P<speed>\d+(?:\.\d+)?)x)?$"
)
_DIRECTIONS: dict[str, tuple[str, int, float]] = {
    "forward": ("move", 2, 1), "back": ("move", 2, -1),
    "left": ("move", 0, -1), "right": ("move", 0, 1), "up": ("move", 1, -1), "down": ("move", 1, 1),
    "look left": ("turn", 0, -1), "look right": ("turn", 0, 1), "look up": ("turn", 1, 1), "look down": ("turn", 1, -1),
    "roll left": ("turn", 2, -1), "roll right": ("turn", 2, 1),
}  # fmt: skip
GRAMMAR = (
    "steps joined by commas; a step is one or more moves joined by '+'; a move is "
    "forward|back|left|right|up|down, look left|right|up|down, roll left|right or wait, then an amount in s, m, deg or frames, "
    "then optionally a speed, as in 'forward 6s at 2x, look left 90deg, forward 3s + look right 45deg'"
)


def parse(text: str, *, rates: Rates, fps: float) -> list[Segment]:
    """Read a walk written in words, such as ``"forward 6s, look left 90deg, forward 4m"``.

    Amounts are exact: the deflection is lowered a little so that they fill whole frames. Moves joined by ``+`` happen
    together and take as long as the longest of them; the shorter ones are slowed down to that.

    Raises:
        ValueError: a step is not in the grammar (`GRAMMAR`), has no length, or asks for more than full deflection.
    """
    segments = [_parse_step(step.strip(), rates, fps) for step in text.lower().split(",") if step.strip()]
    if not segments:
        raise ValueError(f"a walk needs at least one step; {GRAMMAR}")
    if sum(segment.frames for segment in segments) > MAX_SCRIPT_FRAMES:
        raise ValueError(f"a walk must be at most {MAX_SCRIPT_FRAMES} frames long")
    return segments


@dataclass(frozen=True, slots=True)
class _Move:
    """One move of a step: `frames` at full deflection, or None for as long as the step lasts."""

    verb: str
    frames: float | None
    speed: float


def _parse_step(step: str, rates: Rates, fps: float) -> Segment:
    moves = [_parse_move(part.strip(), step, rates, fps) for part in step.split("+")]
    lengths = [move.frames for move in moves if move.frames is not None]
    if not lengths:
        raise ValueError(f"{step!r} has no length: say how long, as in '{step} 3s'")
    if max(lengths) > MAX_SCRIPT_FRAMES:
        raise ValueError(f"{step!r} takes {max(lengths):.0f} frames; a walk must be at most {MAX_SCRIPT_FRAMES}")
    num_frames = max(1, math.ceil(max(lengths) - 1e-9))
    speed = max((move.speed for move in moves if _kind(move.verb) == "move"), default=1.0)
    values = {"move": [0.0, 0.0, 0.0], "turn": [0.0, 0.0, 0.0]}
    for move in moves:
        if move.verb == "wait":
            continue
        kind, axis, sign = _DIRECTIONS[move.verb]
        deflection = 1.0 if move.frames is None else min(1.0, move.frames / num_frames)
        values[kind][axis] += sign * deflection * (move.speed / speed if kind == "move" else 1.0)
    if any(abs(value) > 1 for value in values["move"] + values["turn"]):
        raise ValueError(f"{step!r} asks for more than full deflection; join moves of different directions")
    return Segment(Control(move=_vector(values["move"]), turn=_vector(values["turn"]), speed=speed), num_frames)


def _parse_move(move: str, step: str, rates: Rates, fps: float) -> _Move:
    match = _TERM.match(re.sub(r"\s+", " ", move))
    if match is None:
        raise ValueError(f"cannot read {move!r} in {step!r}; {GRAMMAR}")
    verb = match["verb"].replace("turn ", "look ").replace("lean ", "roll ").replace("stay", "wait")
    verb = verb.replace("backward", "back")
    speed = float(match["speed"] or 1)
    if not 0 < speed <= MAX_SPEED:
        raise ValueError(f"the speed in {step!r} must be in (0, {MAX_SPEED:g}]")
    if match["speed"] and _kind(verb) != "move":
        raise ValueError(f"{move!r} cannot have a speed: it is for moving, not for turning or waiting")
    if match["amount"] is None:
        return _Move(verb, None, speed)
    return _Move(verb, _frames_for(move, verb, float(match["amount"]), match["unit"], speed, rates, fps), speed)


def _frames_for(move: str, verb: str, amount: float, unit: str, speed: float, rates: Rates, fps: float) -> float:
    """How many frames of full deflection an amount takes."""
    if unit.startswith("s"):
        return amount * fps
    if unit.startswith("f"):
        return amount
    kind = _kind(verb)
    if kind == "move" and unit.startswith("m"):
        return amount / (rates.move * speed) * fps
    if kind == "turn" and unit[0] in "d°":
        return math.radians(amount) / rates.turn * fps
    units = {"move": "s, frames or m", "turn": "s, frames or deg", "wait": "s or frames"}[kind]
    raise ValueError(f"{move!r} cannot be measured in {unit}; use {units}")


def _kind(verb: str) -> str:
    """Whether a verb is a "move", a "turn" or a "wait"."""
    return "wait" if verb == "wait" else _DIRECTIONS[verb][0]


def _vector(values: Sequence[float]) -> Vector:
    x, y, z = values
    return (x, y, z)


def _about(axis: int, angle: float) -> NDArray[np.float64]:
    """The rotation [3, 3] by `angle` radians about axis 0, 1 or 2, right-handed."""
    i, j = (axis + 1) % 3, (axis + 2) % 3
    rotation = np.eye(3)
    rotation[i, i] = rotation[j, j] = math.cos(angle)
    rotation[i, j], rotation[j, i] = -math.sin(angle), math.sin(angle)
    return rotation


def _orthonormal(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take the rounding out of a product of rotations [3, 3]: Gram-Schmidt on its columns."""
    x = rotation[:, 0] / np.linalg.norm(rotation[:, 0])
    y = rotation[:, 1] - x * (x @ rotation[:, 1])
    y /= np.linalg.norm(y)
    return np.stack([x, y, np.cross(x, y)], axis=1)
