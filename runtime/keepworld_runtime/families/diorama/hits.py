"""What rays hit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
FAR = 1e37  # how far rays go that have no end


@dataclass(frozen=True, slots=True, eq=False)
class Hits:
    """What N rays hit: distance in rays, barycentrics, normal (any length), face (-1: nothing), and which body.

    Where a ray hits nothing, the barycentrics and the normal mean nothing.
    """

    t: F32
    u: F32
    v: F32
    Ng: F32
    prim: I32
    owner: NDArray[np.uint8]

    @staticmethod
    def none(count: int) -> Hits:
        """Nothing hit by any of `count` rays."""
        u, v, Ng = np.empty(count, np.float32), np.empty(count, np.float32), np.empty((count, 3), np.float32)
        return Hits(np.full(count, FAR, np.float32), u, v, Ng, np.full(count, -1, np.int32), np.zeros(count, np.uint8))

    def only(self, index: I32) -> Hits:
        """Those of the rays `index` [M]."""
        return Hits(self.t[index], self.u[index], self.v[index], self.Ng[index], self.prim[index], self.owner[index])
