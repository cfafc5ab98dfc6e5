"""How well the frames of a walk agree with each other, and how well they cover what they see; judged by their depth.

Places of one frame are looked for in others: where the other sees through them, the two contradict each other; where it sees
something nearer, nothing is said. Ours; the idea is that of the consistency checks in multi-view stereo.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from keepworld.camera import Camera

_PLACES = 2000  # looked at in each frame
_PARTNERS = (-8, -4, -2, 2, 4, 8)  # frames away
_TOLERANCE = 0.03  # of the depth
_MIN_COMMON = 50  # places that both should see, below which nothing can be said
_PLACE_SIZE = 0.02  # of the median depth: what counts as one place
_WIDE = np.radians(5.0)  # between directions that a place is seen from, for it to be covered


class Seen(Protocol):
    """A frame that can be judged."""

    @property
    def camera(self) -> Camera:
        """Where it was seen from."""

    def depth(self) -> NDArray[np.float32] | None:
        """[H, W] along +z, 0 where there is none."""

    def lasting(self) -> NDArray[np.bool_]:
        """Where the lasting world is seen, [H, W]."""


class Agreement:
    """Of some frames.

    Args:
        frames: in the order they were walked.

    Attributes:
        scores: [N], of what a frame and another should both see, the share on which the two do not contradict each other,
            with the second best of up to six others; NaN where nothing can be said.
        coverage: of all places seen, the share seen from directions 5 degrees apart or more; NaN without depth.
    """

    def __init__(self, frames: Sequence[Seen]) -> None:
        depths = [_lasting_depth(frame) for frame in frames]
        places = [_places(frame.camera, depth) for frame, depth in zip(frames, depths, strict=True)]
        self.scores = np.array([_score(i, frames, depths, places) for i in range(len(frames))])
        self.coverage = _coverage(frames, places)


def _lasting_depth(frame: Seen) -> NDArray[np.float32] | None:
    depth = frame.depth()
    return None if depth is None else np.where(frame.lasting(), depth, np.float32(0))


def _places(camera: Camera, depth: NDArray[np.float32] | None) -> NDArray[np.float64]:
    """What a frame sees, in the world, [M, 3]: pixels on a grid."""
    if depth is None:
        return np.empty((0, 3))
    step = max(1, round((camera.width * camera.height / _PLACES) ** 0.5))
    on_grid = np.zeros_like(depth)
    on_grid[step // 2 :: step, step // 2 :: step] = depth[step // 2 :: step, step // 2 :: step]
    v, u = np.nonzero(on_grid)
    rays = np.stack([u + 0.5, v + 0.5, np.ones(len(u))], axis=1) @ np.linalg.inv(camera.K).T
    return np.asarray((rays * depth[v, u, None]) @ camera.c2w[:3, :3].T + camera.c2w[:3, 3])


def _score(
    i: int,
    frames: Sequence[Seen],
    depths: Sequence[NDArray[np.float32] | None],
    places: Sequence[NDArray[np.float64]],
) -> float:
    shares = []
    for j in (i + away for away in _PARTNERS):
        if 0 <= j < len(frames):
            theirs = _looked_for(places[i], frames[j].camera, depths[j])
            ours = _looked_for(places[j], frames[i].camera, depths[i])
            agree, contradict = theirs[0] + ours[0], theirs[1] + ours[1]
            if agree + contradict >= _MIN_COMMON:
                shares.append(agree / (agree + contradict))
    return sorted(shares)[-min(2, len(shares))] if shares else float("nan")


def _looked_for(places: NDArray[np.float64], camera: Camera, depth: NDArray[np.float32] | None) -> tuple[int, int]:
    """How many places [M, 3] a frame sees where they are, and how many it sees through."""
    if depth is None or not len(places):
        return 0, 0
    u, v, z = camera.project(places).T
    with np.errstate(invalid="ignore"):
        inside = (z > 0) & (u >= 0) & (v >= 0) & (u < depth.shape[1]) & (v < depth.shape[0])
    z, seen = z[inside], depth[v[inside].astype(int), u[inside].astype(int)]
    is_there = (seen > 0) & (np.abs(z - seen) <= _TOLERANCE * seen)
    is_seen_through = (seen > 0) & (z < (1 - _TOLERANCE) * seen)
    return int(is_there.sum()), int(is_seen_through.sum())


def _coverage(frames: Sequence[Seen], places: Sequence[NDArray[np.float64]]) -> float:
    all_places = np.concatenate([*places, np.empty((0, 3))])
    if not len(all_places):
        return float("nan")
    offsets = [place - frame.camera.centre for frame, place in zip(frames, places, strict=True)]
    away = np.concatenate([*offsets, np.empty((0, 3))])
    distances = np.linalg.norm(away, axis=1, keepdims=True)
    size = _PLACE_SIZE * float(np.median(distances))
    _, which = np.unique(np.floor(all_places / size).astype(np.int64), axis=0, return_inverse=True)
    which = which.ravel()
    # Two directions an angle apart, seen equally often, have a mean of length cos(angle / 2).
    sums = np.stack([np.bincount(which, weights=axis) for axis in (away / distances).T], axis=1)
    means = np.linalg.norm(sums, axis=1) / np.bincount(which)
    return float((means <= np.cos(_WIDE / 2)).mean())
