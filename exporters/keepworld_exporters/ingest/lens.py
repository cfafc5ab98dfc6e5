"""Lenses: how a camera bends what it sees, and the largest picture without bending that has a value at every pixel.

Sources: OpenCV's calib3d page ("rational" and "fisheye" models), COLMAP's models.h for which of their numbers each of its cameras
has, and nerfstudio's camera_utils.py, whose fourth radial number is one more power of the radius, not a denominator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

MAX_SIDE = 16_384
MAX_ANGLE = np.deg2rad(80)  # from the axis: what a picture without bending is cut to, however wide the lens
_EDGE_SAMPLES = 65
_RADIUS_SAMPLES = 256


class Bend(StrEnum):
    """How the angle from the axis becomes a distance from the principal point."""

    NONE = "none"
    BROWN = "brown"  # polynomials of the pinhole's radius, and shifts along the picture's axes
    FISHEYE = "fisheye"  # a polynomial of the angle
    FOV = "fov"  # Devernay and Faugeras 2001


@dataclass(frozen=True, kw_only=True, slots=True)
class Lens:
    """What lies between the world and the pixels.

    Attributes:
        fx, fy, cx, cy: pixels, centres at half integers.
        width, height: of the picture, pixels.
        bend: the kind of bending.
        radial: of r², r⁴, ... above the line (BROWN), of θ², θ⁴, ... (FISHEYE), or ω alone (FOV).
        below: of r², r⁴, ... below the line (BROWN only).
        tangential: p1, p2 (BROWN only).

    Raises:
        ValueError: a number is not finite, or no lens has it.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    bend: Bend = Bend.NONE
    radial: tuple[float, ...] = ()
    below: tuple[float, ...] = ()
    tangential: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        numbers = (self.fx, self.fy, self.cx, self.cy, *self.radial, *self.below, *self.tangential)
        if not np.isfinite(numbers).all():
            raise ValueError(f"a lens needs finite numbers, got {numbers}")
        if not (0 < self.width <= MAX_SIDE and 0 < self.height <= MAX_SIDE and self.fx > 0 and self.fy > 0):
            raise ValueError(
                f"focal lengths must be above 0 and the size within {MAX_SIDE}, got {self.fx:g}, {self.fy:g}, "
                f"{self.width} x {self.height}"
            )
        if not (0 <= self.cx <= self.width and 0 <= self.cy <= self.height):
            raise ValueError(
                f"the principal point must lie in the picture of {self.width} x {self.height}, got {self.cx:g}, {self.cy:g}"
            )

    @property
    def K(self) -> NDArray[np.float64]:  # noqa: N802
        """Intrinsics [3, 3] without the bending."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]])

    @property
    def is_straight(self) -> bool:
        """Whether straight lines stay straight."""
        brown = self.bend is Bend.BROWN and not any((*self.radial, *self.below, *self.tangential))
        return self.bend is Bend.NONE or brown or (self.bend is Bend.FOV and not any(self.radial))

    def project(self, rays: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where rays (x, y, 1) [..., 2] appear, [..., 2] pixels."""
        x, y = rays[..., 0], rays[..., 1]
        bent = np.stack(self._bent(x, y), -1)
        return np.asarray(bent * [self.fx, self.fy] + [self.cx, self.cy])

    def resized(self, width: int, height: int) -> Lens:
        """The lens of the same picture in another size.

        Raises:
            ValueError: it would have another shape: sides that differ by more than a pixel in rounding.
        """
        if (width, height) == (self.width, self.height):
            return self
        across, down = width / self.width, height / self.height
        if abs(self.width * down - width) > 1.5 and abs(self.height * across - height) > 1.5:
            raise ValueError(
                f"the picture is {width} x {height}, its camera {self.width} x {self.height}: not the same shape"
            )
        return replace(
            self,
            fx=self.fx * across,
            fy=self.fy * down,
            cx=self.cx * across,
            cy=self.cy * down,
            width=width,
            height=height,
        )

    def _bent(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if self.is_straight:
            return x, y
        squared = x * x + y * y
        factor = self._stretch(np.sqrt(squared))
        p1, p2 = self.tangential
        return (
            x * factor + 2 * p1 * x * y + p2 * (squared + 2 * x * x),
            y * factor + 2 * p2 * x * y + p1 * (squared + 2 * y * y),
        )

    def _stretch(self, r: NDArray[np.float64]) -> NDArray[np.float64]:
        """By how much a point at the pinhole's radius r moves outwards, as a factor."""
        with np.errstate(divide="ignore", invalid="ignore"):
            match self.bend:
                case Bend.FISHEYE:
                    theta = np.arctan(r)
                    return np.where(r > 1e-9, theta * _series(self.radial, theta**2) / r, 1.0)
                case Bend.FOV:
                    omega = self.radial[0]
                    return np.where(
                        r > 1e-9, np.arctan(2 * r * np.tan(omega / 2)) / (omega * r), 2 * np.tan(omega / 2) / omega
                    )
                case _:
                    return np.asarray(_series(self.radial, r**2) / _series(self.below, r**2))

    def straightened(self, width: int, height: int) -> Lens:
        """The lens without bending, of a picture of another size, that sees as much as it can and nothing the bent one lacks.

        The principal point keeps its place in the picture, and pixels their shape.

        Raises:
            ValueError: the lens's numbers describe none: nearly nothing could be seen with them.
        """
        low, high = 0.1, 20.0  # zoom against the bent lens's own focal length; more shows less

        def straight(zoom: float) -> Lens:
            size = max(width / self.width, height / self.height)
            return Lens(
                fx=self.fx * size * zoom, fy=self.fy * size * zoom, cx=self.cx * width / self.width,
                cy=self.cy * height / self.height, width=width, height=height,
            )  # fmt: skip

        # A straight lens's picture that is only made smaller is not shifted by parts of a pixel as well: that would blur it.
        if self.is_straight and self._covers(straight(1.0)):
            return straight(1.0)
        if not self._covers(straight(high)):
            raise ValueError(f"the lens bends so that nothing is left of the picture: {self}")
        while high / low > 1.0005:
            middle = (low * high) ** 0.5
            low, high = (low, middle) if self._covers(straight(middle)) else (middle, high)
        return straight(high)

    def _covers(self, straight: Lens) -> bool:
        """Whether every pixel of a straight lens's picture has a place in this one's, between centres of pixels."""
        sides = []
        for u, v in (
            (np.linspace(0.5, straight.width - 0.5, _EDGE_SAMPLES), np.array([0.5, straight.height - 0.5])),
            (np.array([0.5, straight.width - 0.5]), np.linspace(0.5, straight.height - 0.5, _EDGE_SAMPLES)),
        ):
            sides.append(np.stack(np.meshgrid(u, v), -1).reshape(-1, 2))
        rays = (np.concatenate(sides) - [straight.cx, straight.cy]) / [straight.fx, straight.fy]
        furthest = float(np.linalg.norm(rays, axis=1).max())
        if not self.is_straight and furthest > np.tan(MAX_ANGLE):
            return False
        places = self.project(rays)
        slack = 1e-6
        inside = (places >= 0.5 - slack) & (places <= np.array([self.width, self.height]) - 0.5 + slack)
        if not inside.all():
            return False
        # Polynomials turn back somewhere: what lies beyond would be seen a second time.
        r = np.linspace(0, furthest, _RADIUS_SAMPLES)
        moved = r * (np.ones_like(r) if self.is_straight else self._stretch(r))
        return bool((np.diff(moved) > 0).all())


def _series(numbers: Sequence[float], square: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 + k1 s + k2 s² + ... [...]."""
    total = np.zeros_like(square)
    for number in reversed(numbers):
        total = (total + number) * square
    return 1 + total


_COLMAP = {
    # name: (single focal length, kind, names of what follows the principal point)
    "SIMPLE_PINHOLE": (True, Bend.NONE, ""),
    "PINHOLE": (False, Bend.NONE, ""),
    "SIMPLE_RADIAL": (True, Bend.BROWN, "k1"),
    "RADIAL": (True, Bend.BROWN, "k1 k2"),
    "OPENCV": (False, Bend.BROWN, "k1 k2 p1 p2"),
    "FULL_OPENCV": (False, Bend.BROWN, "k1 k2 p1 p2 k3 k4 k5 k6"),
    "OPENCV_FISHEYE": (False, Bend.FISHEYE, "k1 k2 k3 k4"),
    "SIMPLE_RADIAL_FISHEYE": (True, Bend.FISHEYE, "k1"),
    "RADIAL_FISHEYE": (True, Bend.FISHEYE, "k1 k2"),
    "FOV": (False, Bend.FOV, "omega"),
}


def colmap_lens(model: str, width: int, height: int, numbers: Sequence[float]) -> Lens:
    """The lens of a COLMAP camera.

    Raises:
        ValueError: a model that is not read, or with other than its count of numbers.
    """
    if model not in _COLMAP:
        raise ValueError(f"cameras of the models {', '.join(_COLMAP)} are read, got {model[:40]}")
    single, bend, names = _COLMAP[model]
    rest = names.split()
    start = 3 if single else 4
    if len(numbers) != start + len(rest):
        raise ValueError(f"a {model} camera has {start + len(rest)} numbers, got {len(numbers)}")
    fx, fy = (numbers[0], numbers[0]) if single else numbers[:2]
    values = dict(zip(rest, numbers[start:], strict=True))
    radial = tuple(values.get(name, 0.0) for name in (("omega",) if bend is Bend.FOV else ("k1", "k2", "k3")))
    if bend is Bend.FISHEYE:
        radial += (values.get("k4", 0.0),)
    below = tuple(values[name] for name in ("k4", "k5", "k6") if name in values and bend is Bend.BROWN)
    tangential = (values.get("p1", 0.0), values.get("p2", 0.0))
    cx, cy = numbers[start - 2 : start]
    return Lens(
        fx=fx, fy=fy, cx=cx, cy=cy, width=width, height=height,
        bend=bend, radial=radial if bend is not Bend.NONE else (), below=below, tangential=tangential,
    )  # fmt: skip
