"""Memory that the server and a worker share, for pixels: copied in once and out once, never through a pipe."""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from multiprocessing.reduction import DupFd
from typing import Any

import numpy as np
from numpy.typing import NDArray

SLOTS = 8

Layout = tuple[tuple[str, tuple[int, ...]], ...]  # dtype and shape of each array in a slot, in order


class Arena:
    """`SLOTS` equal slots of anonymous shared memory; pages cost nothing until they are written.

    Args:
        slot_bytes: how much one frame can take.
        fd: the memory to map; None makes it.
    """

    def __init__(self, slot_bytes: int, fd: int | None = None) -> None:
        self.slot_bytes = -(-slot_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        self._fd = os.memfd_create("keepworld-frames") if fd is None else fd
        if fd is None:
            os.ftruncate(self._fd, self.slot_bytes * SLOTS)
        self._memory = mmap.mmap(self._fd, self.slot_bytes * SLOTS)

    def __reduce__(self) -> tuple[Any, ...]:
        """As an argument of a process being spawned: the same memory there."""
        return _attach, (self.slot_bytes, DupFd(self._fd))

    def write(self, slot: int, arrays: Sequence[NDArray[Any]]) -> Layout:
        """Copy arrays into a slot, one behind the other; gives what `read` needs."""
        at = slot * self.slot_bytes
        if sum(array.nbytes for array in arrays) > self.slot_bytes:
            raise ValueError(f"a frame has {sum(array.nbytes for array in arrays)} bytes, a slot {self.slot_bytes}")
        for array in arrays:
            np.frombuffer(self._memory, array.dtype, array.size, at).reshape(array.shape)[...] = array
            at += array.nbytes
        return tuple((array.dtype.str, array.shape) for array in arrays)

    def read(self, slot: int, layout: Layout) -> list[NDArray[Any]]:
        """Copy the arrays of a slot out of it."""
        at = slot * self.slot_bytes
        arrays = []
        for dtype, shape in layout:
            shared = np.frombuffer(self._memory, dtype, int(np.prod(shape)), at).reshape(shape)
            arrays.append(shared.copy())
            at += shared.nbytes
        return arrays

    def close(self) -> None:
        """Unmap the memory."""
        self._memory.close()
        os.close(self._fd)


def _attach(slot_bytes: int, handle: Any) -> Arena:
    return Arena(slot_bytes, handle.detach())
