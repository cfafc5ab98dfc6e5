"""Views and latents to remember."""

from __future__ import annotations

import numpy as np
import torch
from keepworld.camera import invert_rigid
from keepworld_runtime.memory import overlap
from keepworld_runtime.memory.overlap import Points
from keepworld_runtime.memory.views import Views
from numpy.typing import NDArray

K = np.diag([0.5, 0.9, 1.0]) + np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])


def strewn(num: int = 2000) -> Points:
    """Points from the number they are asked with."""
    return lambda at: overlap.ball_points(np.random.default_rng(at).random((3, num), np.float32), 8.0)


def turned(degrees: float, centre: tuple[float, float, float] = (0, 0, 0)) -> NDArray[np.float64]:
    """World to camera [4, 4] of a level camera at `centre` that looks `degrees` to the right of +z."""
    angle = np.radians(degrees)
    c2w = np.eye(4)
    c2w[:3, :3] = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    c2w[:3, 3] = centre
    return invert_rigid(c2w)


def random_viewmats(rng: np.random.Generator, num: int, spread: float = 6.0) -> NDArray[np.float64]:
    """World to camera [num, 4, 4], anywhere and every way."""
    rotations = np.linalg.qr(rng.standard_normal((num, 3, 3)))[0]
    rotations *= np.sign(np.linalg.det(rotations))[:, None, None]
    viewmats = np.tile(np.eye(4), (num, 1, 1))
    viewmats[:, :3, :3] = rotations
    viewmats[:, :3, 3] = rng.uniform(-spread, spread, (num, 3))
    return viewmats


def wander(rng: np.random.Generator, num: int) -> NDArray[np.float64]:
    """World to camera [num, 4, 4] of a walk that goes on and turns now and then."""
    heading, turn, place, path = 0.0, 0.0, np.zeros(3), []
    for step in range(num):
        turn = rng.choice([-3.0, 0.0, 3.0]) if step % 4 == 0 else turn
        heading += turn
        place = place + 0.08 * np.array([np.sin(np.radians(heading)), 0, np.cos(np.radians(heading))])
        path.append(turned(heading, tuple(place)))
    return np.stack(path)


def views_of(viewmats: NDArray[np.float64]) -> Views:
    """Views with these cameras."""
    num = len(viewmats)
    return Views(viewmats=viewmats, Ks=np.tile(K, (num, 1, 1)), actions=np.arange(num, dtype=np.int64) % 81)


def latents_of(seed: int, num: int, channels: int = 4, side: tuple[int, int] = (4, 8)) -> torch.Tensor:
    """Latents [1, channels, num, *side], float32."""
    return torch.randn((1, channels, num, *side), generator=torch.Generator().manual_seed(seed))
