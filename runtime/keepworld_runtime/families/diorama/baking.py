"""Light that never changes, worked out once: how open each vertex is to the sky, and how windows light it at night."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from keepworld_runtime.families.diorama.tracing import tracer_of

_RAYS = 14
_REACH = 7.0  # metres; what is farther off does not darken
_BAKED_WITHIN = 110.0  # metres from the start; beyond, nothing is close enough to tell
_LONGEST_STEP = 0.8  # metres
_LAMP_REACH = 15.0
_GOLDEN_ANGLE = np.pi * (3 - 5**0.5)


def bake_openness(
    vertices: NDArray[np.float32], faces: NDArray[np.int32], normals: NDArray[np.float32]
) -> NDArray[np.float32]:
    """How much of the sky above its surface each vertex [V] sees, in [0, 1], cosine-weighted.

    Args:
        vertices: [V, 3]. faces: [F, 3]: all that can be in the way. normals: [V, 3] unit.
    """
    tracer = tracer_of(vertices, faces)
    k = np.arange(_RAYS)
    radius = np.sqrt((k + 0.5) / _RAYS)
    pattern = np.stack(
        [radius * np.cos(k * _GOLDEN_ANGLE), radius * np.sin(k * _GOLDEN_ANGLE), np.sqrt(1 - radius**2)], -1
    )
    openness = np.ones(len(vertices), np.float32)
    near = np.nonzero(np.hypot(vertices[:, 0], vertices[:, 2] - 25.0) < _BAKED_WITHIN)[0]
    n = normals[near]
    inwards = _towards_middles(vertices, faces)[near]
    origin = (vertices[near] + inwards + n * 0.06).astype(np.float32)
    sign = np.where(n[:, 2] < 0, -1.0, 1.0)  # a frame about each normal (Duff et al. 2017)
    a = -1.0 / (sign + n[:, 2])
    b = n[:, 0] * n[:, 1] * a
    tangent = np.stack([1 + sign * n[:, 0] ** 2 * a, sign * b, -sign * n[:, 0]], -1)
    other = np.stack([b, sign + n[:, 1] ** 2 * a, -n[:, 1]], -1)
    seen = np.zeros(len(near), np.float32)
    for along, across, up in pattern:
        ray = (tangent * along + other * across + n * up).astype(np.float32)
        free = np.ones(len(near), np.uint8)
        tracer.block(origin, ray, _REACH, free)
        seen += free
    openness[near] = seen / _RAYS
    return openness


def _towards_middles(vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> NDArray[np.float32]:
    """A step [V, 3] from each vertex into its faces: the corner of a wall is inside its neighbours, which tells nothing."""
    middle = vertices[faces].mean(1)
    count = np.maximum(np.bincount(faces.ravel(), minlength=len(vertices)), 1)
    sums = [np.bincount(faces.ravel(), weights=np.repeat(middle[:, k], 3), minlength=len(vertices)) for k in range(3)]
    step = 0.35 * (np.stack(sums, -1) / count[:, None] - vertices)
    length = np.linalg.norm(step, axis=1, keepdims=True)
    return np.asarray(step * np.minimum(1.0, _LONGEST_STEP / np.maximum(length, 1e-6)), np.float32)


def bake_lamps(
    vertices: NDArray[np.float32], normals: NDArray[np.float32], lamps: NDArray[np.float64]
) -> NDArray[np.float32]:
    """How strongly lit windows [N, 6] (position, outward normal) shine on each vertex [V]."""
    light = np.zeros(len(vertices), np.float32)
    lamps = lamps.astype(np.float32)
    places = np.ascontiguousarray(vertices.T)
    reached = np.ones(len(vertices), np.bool_)
    for along, place in zip(places, lamps.T, strict=False):
        reached &= (along > place.min() - _LAMP_REACH - 1.0) & (along < place.max() + _LAMP_REACH + 1.0)
    there = np.nonzero(reached)[0]
    x, y, z = places[:, there]
    for lamp in lamps:
        position, facing = lamp[:3], lamp[3:]
        near = np.abs(x - position[0]) < _LAMP_REACH
        near &= np.abs(y - position[1]) < _LAMP_REACH
        near &= np.abs(z - position[2]) < _LAMP_REACH
        near = there[near]
        towards = position + 0.35 * facing - vertices[near]
        squared = (towards**2).sum(1)
        distance = np.sqrt(squared)
        leaving = np.clip(-(towards @ facing) / np.maximum(distance, 1e-3), 0.0, 1.0)
        arriving = np.clip(((towards * normals[near]).sum(1) / np.maximum(distance, 1e-3) + 0.15) / 1.15, 0.0, 1.0)
        fade = np.clip(1.0 - distance / _LAMP_REACH, 0.0, 1.0) ** 2
        light[near] += leaving * arriving * fade / (1.0 + 0.22 * squared)
    return light
