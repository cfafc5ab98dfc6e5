"""Cameras made to agree with depth that is known: what one frame shows lies on the surfaces of the others, and looks alike there.

Pictures alone leave open how large a world is, and let a long path bend a little; with depth neither can be. Every pair of
frames that was matched says where one stands beside the other, in two ways: features of known depth fall on their matches, and
places all over a frame lie on the planes that the other's depth shows. All cameras are moved at once, and what neither says
(where the whole lies, and how it is turned) is left to the cameras as they were given.

Source: Chen and Medioni 1991, "Object modeling by registration of multiple range images", for distances to planes; Gauss and
Newton's steps with weights by Cauchy's loss, its scale from the median of what is left over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from keepworld.camera import invert_rigid
from keepworld.capture import CapturedFrame
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.linalg import spsolve
from scipy.spatial.transform import Rotation

from keepworld_exporters.stages.depth import plane_normals
from keepworld_exporters.stages.features import Matches
from keepworld_exporters.stages.sources import SessionDepth, lasting_depth

ROUNDS = 8
STRIDE = 12  # pixels between the places whose distance to the other's surface is asked
NEAR = 0.03  # of the depth: places further than that before or behind a surface are not on it
MISSED = 8.0  # pixels: features that fall further from their matches are not the same place
FIRST = (1.0, 5e-3)  # what is left over is taken to be at first: pixels, shares of the depth
LEAST = (0.02, 1e-5)  # and never less than


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Sight:
    """What a frame knows of the surface: planes n x + offset = 0 at its pixels, in its camera's axes; and places on them."""

    K: NDArray[np.float64]
    depth: NDArray[np.float32]
    normals: NDArray[np.float16]
    places: NDArray[np.float64]

    def at(self, pixels: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """The places [N, 3] that pixels [N, 2] show, and which of them are there."""
        height, width = self.depth.shape
        u = np.clip(pixels[:, 0], 0, width - 1).astype(np.intp)
        v = np.clip(pixels[:, 1], 0, height - 1).astype(np.intp)
        rays = _rays(pixels, self.K)
        middle = _rays(np.stack([u + 0.5, v + 0.5], 1), self.K) * self.depth[v, u, None]
        normals = self.normals[v, u].astype(np.float64)
        facing = (normals * rays).sum(1)
        there = (self.depth[v, u] > 0) & (facing < -0.02)
        along = np.where(there, (normals * middle).sum(1) / np.where(there, facing, 1), 0)
        return rays * along[:, None], there


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Said:
    """What a pair of frames says: residuals [M], and how they change with the motion of the first and of the second [M, 6]."""

    first: int
    second: int
    left: NDArray[np.float64]
    by_first: NDArray[np.float64]
    by_second: NDArray[np.float64]


def anchor(
    frames: Sequence[CapturedFrame],
    c2ws: NDArray[np.float64],
    given: NDArray[np.float64],
    matches: Matches,
    *,
    on_step: Callable[[], None],
) -> NDArray[np.float64]:
    """Move cameras that are right but for hundredths of their depth to where the frames' depth says they stand.

    Args:
        frames: with depth.
        c2ws: [N, 4, 4] as they were found from the pictures, in the depth's units.
        given: [N, 4, 4] as they were before that, which says where the whole lies.
        matches: of the frames.
        on_step: called `ROUNDS` times.
    """
    sights = [_sight(frame) for frame in frames]
    links = [
        (i, j, *_both_known(sights[i], matches.keypoints[i][rows[:, 0]], matches.keypoints[j][rows[:, 1]]))
        for a, b, pairs in ((a, b, rows) for (a, b), rows in matches.pairs.items())
        for i, j, rows in ((a, b, pairs), (b, a, pairs[:, ::-1]))
    ]
    spread = [max(_spread([np.abs(off).reshape(-1)]), 1e-9) for off in _apart(c2ws, given)]
    scales: Sequence[float] = FIRST
    for _ in range(ROUNDS):
        viewmats = invert_rigid(c2ws)
        system = _System(len(c2ws))
        left: tuple[list[NDArray[np.float64]], ...] = ([], [])
        for i, j, places, pixels in links:
            across = viewmats[j] @ c2ws[i]
            seen = _features(i, j, across, places, pixels, sights[j].K)
            lying = _planes(i, j, across, sights[i].places, sights[j])
            for said, scale, others in zip((seen, lying), scales, left, strict=True):
                system.add(said, scale)
                others.append(np.abs(said.left))
        system.hold(c2ws, given, *spread)
        c2ws = _moved(c2ws, system.solved())
        scales = [max(_spread(values), least) for values, least in zip(left, LEAST, strict=True)]
        on_step()
    return c2ws


def _spread(sizes: Sequence[NDArray[np.float64]]) -> float:
    """The standard deviation that errors of these sizes have if but a few of them are wild."""
    all_ = np.concatenate(sizes) if sizes else np.empty(0)
    return 1.4826 * float(np.median(all_)) if all_.size else 0.0


def _sight(frame: CapturedFrame) -> _Sight:
    depth = lasting_depth(frame, SessionDepth().of(frame).depth)
    K = frame.camera.K
    normals, smooth = plane_normals(depth, K)
    known = np.where(smooth & np.isfinite(depth), depth, np.float32(0))
    # Half floats will do: a plane is not asked further than a pixel from where it was seen.
    sight = _Sight(K=K, depth=known, normals=normals.astype(np.float16), places=np.empty((0, 3)))
    half = STRIDE // 2
    v, u = np.mgrid[half : depth.shape[0] : STRIDE, half : depth.shape[1] : STRIDE] + 0.5
    places, there = sight.at(np.stack([u, v], -1).reshape(-1, 2))
    return replace(sight, places=places[there])


def _rays(pixels: NDArray[np.float64], K: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([(pixels - K[:2, 2]) / K[[0, 1], [0, 1]], np.ones((len(pixels), 1))], 1)


def _both_known(
    sight: _Sight, here: NDArray[np.float64], there: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    places, known = sight.at(here)
    return places[known], there[known]


def _features(
    i: int,
    j: int,
    across: NDArray[np.float64],
    places: NDArray[np.float64],
    pixels: NDArray[np.float64],
    K: NDArray[np.float64],
) -> _Said:
    """By how many pixels places of frame i miss their matches in frame j."""
    y = places @ across[:3, :3].T + across[:3, 3]
    z = np.maximum(y[:, 2], 1e-9)
    off = y[:, :2] / z[:, None] * K[[0, 1], [0, 1]] + K[:2, 2] - pixels
    good = (y[:, 2] > 1e-6) & (np.abs(off) < MISSED).all(1)
    x, y, z, off = places[good], y[good], z[good], off[good]
    slopes = np.zeros((len(y), 2, 3))
    for axis in range(2):
        slopes[:, axis, axis] = K[axis, axis] / z
        slopes[:, axis, 2] = -K[axis, axis] * y[:, axis] / z**2
    return _said(i, j, across, off.reshape(-1), slopes.reshape(-1, 3), x.repeat(2, 0), y.repeat(2, 0))


def _planes(i: int, j: int, across: NDArray[np.float64], places: NDArray[np.float64], sight: _Sight) -> _Said:
    """By what share of their depth places of frame i lie before or behind the surface that frame j shows."""
    y = places @ across[:3, :3].T + across[:3, 3]
    height, width = sight.depth.shape
    z = np.maximum(y[:, 2], 1e-9)
    at = y[:, :2] / z[:, None] * sight.K[[0, 1], [0, 1]] + sight.K[:2, 2]
    good = (y[:, 2] > 1e-6) & (at >= 0).all(1) & (at[:, 0] < width) & (at[:, 1] < height)
    x, y, at = places[good], y[good], at[good]
    u, v = at.astype(np.intp).T
    depth, normals = sight.depth[v, u].astype(np.float64), sight.normals[v, u].astype(np.float64)
    on = (depth > 0) & (np.abs(depth - y[:, 2]) < NEAR * y[:, 2])
    x, y, depth, normals = x[on], y[on], depth[on], normals[on]
    middle = _rays(np.stack([u[on] + 0.5, v[on] + 0.5], 1), sight.K) * depth[:, None]
    slopes = normals / depth[:, None]
    return _said(i, j, across, (slopes * (y - middle)).sum(1), slopes, x, y)


def _said(
    i: int,
    j: int,
    across: NDArray[np.float64],
    left: NDArray[np.float64],
    slopes: NDArray[np.float64],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
) -> _Said:
    """Residuals [M] that change with y [M, 3] = `across` x by slopes [M, 3]; a motion is a turn, then a shift, in own axes."""
    back = slopes @ across[:3, :3]
    return _Said(
        first=i,
        second=j,
        left=left,
        by_first=np.concatenate([np.cross(x, back), back], 1),
        by_second=np.concatenate([-np.cross(y, slopes), -slopes], 1),
    )


class _System:
    """The normal equations of all cameras' motions."""

    def __init__(self, count: int) -> None:
        self._blocks: dict[tuple[int, int], NDArray[np.float64]] = {}
        self._right = np.zeros((count, 6))

    def add(self, said: _Said, scale: float) -> None:
        """Count residuals by Cauchy's loss of a scale."""
        weights = 1 / (scale**2 + said.left**2)
        parts = ((said.first, said.by_first), (said.second, said.by_second))
        for a, by_a in parts:
            weighted = by_a * weights[:, None]
            self._right[a] -= weighted.T @ said.left
            for b, by_b in parts:
                self._block(a, b, weighted.T @ by_b)

    def hold(self, c2ws: NDArray[np.float64], given: NDArray[np.float64], turn: float, place: float) -> None:
        """Hold cameras to those given, within spreads of radians and of units."""
        off_turn, off_place = _apart(c2ws, given)
        for k, (turned, shifted) in enumerate(zip(off_turn, off_place, strict=True)):
            off = np.concatenate([turned, shifted])
            spreads = np.repeat([turn, place], 3)
            # Of Cauchy's loss, too: a camera that was given wholly wrong holds little.
            sure = 1 / (spreads**2 * (1 + np.repeat([turned @ turned / turn**2, shifted @ shifted / place**2], 3) / 9))
            self._block(k, k, np.diag(sure))
            self._right[k] -= sure * off

    def solved(self) -> NDArray[np.float64]:
        """The motions [N, 6]: turn and shift in each camera's own axes."""
        count = len(self._right)
        rows, columns = (np.array([key[side] for key in self._blocks]) for side in (0, 1))
        inner = np.arange(6)
        row = (6 * rows[:, None, None] + inner[:, None] + 0 * inner).reshape(-1)
        column = (6 * columns[:, None, None] + 0 * inner[:, None] + inner).reshape(-1)
        values = np.stack(list(self._blocks.values())).reshape(-1)
        matrix = coo_array((values, (row, column)), shape=(6 * count, 6 * count)).tocsc()
        return np.asarray(spsolve(matrix, self._right.reshape(-1))).reshape(count, 6)

    def _block(self, a: int, b: int, block: NDArray[np.float64]) -> None:
        self._blocks[a, b] = self._blocks.get((a, b), 0) + block


def _apart(c2ws: NDArray[np.float64], given: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """By what turns [N, 3] and shifts [N, 3], in own axes, cameras have left those given."""
    turns = Rotation.from_matrix(np.swapaxes(given[:, :3, :3], 1, 2) @ c2ws[:, :3, :3]).as_rotvec()
    shifts = np.einsum("nji,nj->ni", c2ws[:, :3, :3], c2ws[:, :3, 3] - given[:, :3, 3])
    return turns, shifts


def _moved(c2ws: NDArray[np.float64], motions: NDArray[np.float64]) -> NDArray[np.float64]:
    moved = c2ws.copy()
    moved[:, :3, 3] += np.einsum("nij,nj->ni", c2ws[:, :3, :3], motions[:, 3:])
    moved[:, :3, :3] = c2ws[:, :3, :3] @ Rotation.from_rotvec(motions[:, :3]).as_matrix()
    return moved
