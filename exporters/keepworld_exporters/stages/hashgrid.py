"""A hash table from grid cells to rows, for numba: what point clouds and sparse volumes are kept in.

Open addressing with linear probing. Rows are handed out in the order cells are first met, so a table filled by one thread
from one sequence of frames is the same every time.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

BITS = 19
LIMIT = 1 << (BITS - 1)  # cells reach from -LIMIT to LIMIT - 1 along each axis
Integer = int | np.signedinteger  # numba makes no difference between them
FULL = 0.6  # share of slots in use from which probing gets slow


class HashGrid:
    """Cells and the rows they have.

    Attributes:
        keys: [S] int64, the packed cell in each slot, -1 where there is none; S is a power of two.
        rows: [S] int32, the row of each slot's cell.
        count: [1] int64, how many rows there are.
    """

    def __init__(self, num_slots: int = 1 << 16) -> None:
        self.keys: NDArray[np.int64] = np.full(num_slots, -1, np.int64)
        self.rows: NDArray[np.int32] = np.zeros(num_slots, np.int32)
        self.count: NDArray[np.int64] = np.zeros(1, np.int64)

    def __len__(self) -> int:
        return int(self.count[0])

    def reserve(self, extra: int) -> None:
        """Make room for `extra` more cells."""
        needed = (len(self) + extra) / FULL
        if needed <= self.keys.size:
            return
        num_slots = 1 << int(np.ceil(np.log2(needed)))
        keys, rows = np.full(num_slots, -1, np.int64), np.zeros(num_slots, np.int32)
        _rehash(self.keys, self.rows, keys, rows)
        self.keys, self.rows = keys, rows


@njit(cache=True, inline="always")
def pack(x: Integer, y: Integer, z: Integer, level: int) -> Integer:
    """One integer for a cell at a level in 0..63; the cell must be within `LIMIT`."""
    return (((level << BITS | (x + LIMIT)) << BITS) | (y + LIMIT)) << BITS | (z + LIMIT)


@njit(cache=True)
def slot_of(keys: NDArray[np.int64], key: Integer) -> Integer:
    """The slot where `key` is, or the free one where it belongs."""
    mask = keys.size - 1
    scrambled = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    slot = np.int64(scrambled >> np.uint64(24)) & mask
    while keys[slot] != -1 and keys[slot] != key:
        slot = (slot + 1) & mask
    return slot


@njit(cache=True)
def find(keys: NDArray[np.int64], rows: NDArray[np.int32], key: Integer) -> Integer:
    """The row of a cell, -1 if it has none."""
    slot = slot_of(keys, key)
    return np.int64(rows[slot]) if keys[slot] == key else np.int64(-1)


@njit(cache=True)
def find_or_add(keys: NDArray[np.int64], rows: NDArray[np.int32], count: NDArray[np.int64], key: Integer) -> Integer:
    """The row of a cell, a new one if it had none; there must be room (`HashGrid.reserve`)."""
    slot = slot_of(keys, key)
    if keys[slot] != key:
        keys[slot] = key
        rows[slot] = count[0]
        count[0] += 1
    return np.int64(rows[slot])


@njit(cache=True)
def _rehash(
    keys: NDArray[np.int64], rows: NDArray[np.int32], new_keys: NDArray[np.int64], new_rows: NDArray[np.int32]
) -> None:
    for slot in range(keys.size):
        if keys[slot] != -1:
            new = slot_of(new_keys, keys[slot])
            new_keys[new] = keys[slot]
            new_rows[new] = rows[slot]
