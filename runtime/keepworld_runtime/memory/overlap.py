"""How much of what one camera sees another has seen: counted on points that are strewn round the first.

A point is in a view if its azimuth and its elevation, measured from where that camera looks, are within half the field of
view. Roll is left out, and how far away a point may be is the ball's radius, for both cameras. Source: the published code
of WorldPlay (HY-World 1.5), which counts every point of one pair of views at a time. `shared_count` is that;
`shared_counts` gives the same numbers for many pairs, from the one point in twenty that can count.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

Floats: TypeAlias = NDArray[np.floating]
Points: TypeAlias = Callable[[int], NDArray[np.float32]]
"""Gives the points [P, 3] to compare views with, for what begins at a latent's number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """What counts as seen.

    Attributes:
        fov_x, fov_y: full angles, degrees.
        radius: of the ball, in the model's units.
        dtype: what is counted in: a point on the very edge falls to one side or the other by rounding.
    """

    fov_x: float = 60.0
    fov_y: float = 35.0
    radius: float = 8.0
    dtype: DTypeLike = np.float64


def ball_points(uniforms: NDArray[np.float32], radius: float) -> NDArray[np.float32]:
    """Points [P, 3] spread evenly through a ball, from three rows [3, P] of even random numbers in [0, 1).

    In polar coordinates, from the rows in their order: distance radius · u^(1/3), azimuth 2π · u, angle to +z acos(1 − 2u).
    """
    share, turn, height = np.asarray(uniforms, np.float32)
    distance = np.float32(radius) * share ** np.float32(1 / 3)
    azimuth = np.float32(2 * np.pi) * turn
    polar = np.arccos(1 - 2 * height)
    flat = distance * np.sin(polar)
    return np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), distance * np.cos(polar)], axis=-1)


def shared_count(
    query: NDArray[np.float64], past: NDArray[np.float64], points: NDArray[np.float32], field: Field
) -> tuple[int, int]:
    """How many of the points in one view another has seen, and how many there are; slow and plain.

    Args:
        query: [4, 4] world to camera, the view that is asked about; the points lie round it, along its axes.
        past: [4, 4] world to camera.
        points: [P, 3].
        field: what counts as seen.
    """
    centre, forward = _seen_from(query.astype(field.dtype), past.astype(field.dtype))
    cloud = points.astype(field.dtype)
    in_query = _in_view(cloud, np.array([0, 0, 1], field.dtype), field)
    offsets = cloud - centre
    in_past = _in_view(offsets, forward, field) & (_length(offsets) < field.radius)
    return int((in_query & in_past).sum()), int(in_query.sum())


def shared_counts(
    queries: NDArray[np.float64], pasts: NDArray[np.float64], points: NDArray[np.float32], field: Field
) -> tuple[NDArray[np.int64], int]:
    """`shared_count` of every query [Q, 4, 4] with every past view [M, 4, 4]: [Q, M] shared, and those in a query's view."""
    cloud = points.astype(field.dtype)
    cloud = cloud[_in_view(cloud, np.array([0, 0, 1], field.dtype), field)]
    axes = np.ascontiguousarray(cloud.T)
    centres, forwards = _seen_from(queries[:, None].astype(field.dtype), pasts[None].astype(field.dtype))
    shared = np.empty(centres.shape[:2], np.int64)
    for pair in np.ndindex(shared.shape):  # one at a time: what a pair needs stays in the processor's cache
        offsets = (axes - centres[pair][:, None]).T
        shared[pair] = np.count_nonzero(_in_view(offsets, forwards[pair], field) & (_length(offsets) < field.radius))
    return shared, len(cloud)


def overlaps(
    queries: NDArray[np.float64], pasts: NDArray[np.float64], points: NDArray[np.float32], field: Field
) -> NDArray[np.float64]:
    """The share of what each query [Q, 4, 4] sees that each past view [M, 4, 4] has seen, [Q, M] in [0, 1].

    Rounded to float32, as the published code divides; 0 if none of the points is in view.
    """
    shared, num_points = shared_counts(queries, pasts, points, field)
    return (shared.astype(np.float32) / np.float32(max(num_points, 1))).astype(np.float64)


def _seen_from(query: Floats, past: Floats) -> tuple[Floats, Floats]:
    """Where past cameras stand and look, [..., 3] each, in the frame of the query's camera."""
    rotation, past_rotation = query[..., :3, :3], past[..., :3, :3]
    centre = -(np.swapaxes(past_rotation, -1, -2) @ past[..., :3, 3:])
    return (rotation @ centre + query[..., :3, 3:])[..., 0], (rotation @ past_rotation[..., 2, :, None])[..., 0]


def _angles(directions: Floats) -> tuple[Floats, Floats]:
    """Azimuth and elevation [...] of directions [..., 3], degrees; elevation grows along +y."""
    x, y, z = directions[..., 0], directions[..., 1], directions[..., 2]
    return np.degrees(np.arctan2(x, z)), np.degrees(np.arctan2(y, np.sqrt(x * x + z * z)))


def _in_view(offsets: Floats, look: Floats, field: Field) -> NDArray[np.bool_]:
    """Whether points [..., 3], seen from a camera, are within half a field of view of its direction [..., 3]."""
    (azimuth, elevation), (look_azimuth, look_elevation) = _angles(offsets), _angles(look)
    aside = np.abs(azimuth - look_azimuth)
    aside = np.minimum(aside, 360 - aside)
    return (aside < field.fov_x / 2) & (np.abs(elevation - look_elevation) < field.fov_y / 2)


def _length(vectors: Floats) -> Floats:
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    return np.asarray(np.sqrt(x * x + y * y + z * z))
