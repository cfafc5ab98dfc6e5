"""The orders in which a band's pixels are gone through."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

I32 = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Some whole rows of pixels, numbered row * width + column, in orders where neighbours follow each other.

    Attributes:
        width: pixels a row.
        order: [N] all pixels. Every 16 of them fill a square, and every 64 (Morton's order), where the width allows.
        steps: the same in three parts: even rows' even columns and all at the border; odd rows' odd columns, which lie
            in the middle of four of the first part; the others, each between four of the first two.
    """

    width: int
    order: I32
    steps: tuple[I32, I32, I32]


def rows_of(count: int, width: int) -> Rows:
    """The orders of `count` rows of `width` pixels."""
    row, column = np.divmod(np.arange(count * width), width)
    code = np.zeros(count * width, np.int64)
    for bit in range(4):  # squares of 16 by 16, one after the other
        code |= ((column >> bit & 1) << 2 * bit) | ((row >> bit & 1) << 2 * bit + 1)
    order = np.lexsort((code, column >> 4, row >> 4)).astype(np.int32)
    step = np.where((row + column) % 2 == 1, 2, row % 2)
    step[(row == 0) | (row == count - 1) | (column == 0) | (column == width - 1)] = 0
    first, second, third = (order[step[order] == number] for number in range(3))
    return Rows(width, order, (first, second, third))
