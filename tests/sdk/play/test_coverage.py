"""What has been seen from how many sides, against a slow count that looks at every cell and camera by itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
from keepworld.play.coverage import ENOUGH, SECTORS, Coverage

CELL, REACH, FOV = 1.0, 8.0, math.radians(70)


def camera(x: float, z: float, yaw: float, pitch: float = 0.0) -> np.ndarray:
    """c2w [4, 4]: standing at (x, z), turned to the right by `yaw`, looking up by `pitch`."""
    ahead = [math.sin(yaw) * math.cos(pitch), -math.sin(pitch), math.cos(yaw) * math.cos(pitch)]
    right = [math.cos(yaw), 0.0, -math.sin(yaw)]
    c2w = np.eye(4)
    c2w[:3, :3] = np.stack([right, np.cross(ahead, right), ahead], 1)
    c2w[:3, 3] = (x, 0.0, z)
    return c2w


def sees(x: float, z: float, yaw: float, column: int, row: int) -> int | None:
    """Which sector a camera sees a cell from; None if it does not."""
    dx, dz = (column + 0.5) * CELL - x, (row + 0.5) * CELL - z
    turn = math.atan2(dx, dz)
    apart = abs((turn - yaw + math.pi) % (2 * math.pi) - math.pi)
    if math.hypot(dx, dz) > REACH or apart > FOV / 2:
        return None
    return math.floor((turn % (2 * math.pi)) / (2 * math.pi) * SECTORS)


def test_cells_and_directions_are_those_of_a_slow_count(rng: np.random.Generator) -> None:
    coverage, slow = Coverage(fov_x=FOV, cell=CELL, reach=REACH), {}
    for x, z, yaw in rng.uniform((-5, -5, -math.pi), (5, 5, math.pi), (25, 3)):
        changed = coverage.see(camera(x, z, yaw))
        for column in range(-16, 16):
            for row in range(-16, 16):
                sector = sees(x, z, yaw, column, row)
                if sector is not None:
                    before = slow.get((column, row), 0)
                    slow[column, row] = before | 1 << sector
                    assert ((column, row) in changed) == (slow[column, row] != before)
    assert coverage.cells == slow
    enough = sum(bin(bits).count("1") >= ENOUGH for bits in slow.values())
    assert coverage.share == pytest.approx(enough / len(slow))


def test_standing_still_shows_one_side_and_going_round_shows_all() -> None:
    still = Coverage(fov_x=FOV, cell=CELL, reach=REACH)
    for _ in range(10):
        still.see(camera(0.5, 0.5, 0.0))
    assert {bits.bit_count() for bits in still.cells.values()} == {1}
    assert still.share == 0.0
    round_about = Coverage(fov_x=FOV, cell=CELL, reach=REACH)
    for angle in np.linspace(0, 2 * math.pi, 48, endpoint=False):
        round_about.see(camera(0.5 - 5 * math.sin(angle), 0.5 - 5 * math.cos(angle), angle))
    assert round_about.cells[0, 0].bit_count() == SECTORS


def test_who_looks_at_the_sky_sees_no_ground() -> None:
    coverage = Coverage(fov_x=FOV, cell=CELL, reach=REACH)
    assert coverage.see(camera(0, 0, 0.3, pitch=math.radians(75))) == {}
    assert coverage.share == 0.0
