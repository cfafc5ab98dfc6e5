"""Casting rays at triangles: in packets where Embree can be called directly, else one by one. Here it is decided which."""

from __future__ import annotations

import logging
from functools import cache
from typing import Protocol

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import NDArray

from keepworld_runtime.families.diorama.embree import EmbreeUnavailableError, load_embree
from keepworld_runtime.families.diorama.hits import Hits
from keepworld_runtime.families.diorama.packets import PacketTracer

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
logger = logging.getLogger(__name__)


class Tracer(Protocol):
    """Triangles that rays [N] can be cast at: origins and dirs [N, 3], which need not be unit; distances count in them."""

    def find(self, origins: F32, dirs: F32, order: I32 | None, owner: int, hits: Hits) -> None:
        """Enter into `hits` what is nearer than what stands there, as hit by body `owner`.

        order: [N] indices, an order in which neighbours follow each other, if the rays do not stand in one already.
        """
        ...

    def block(self, origins: F32, dirs: F32, far: float, free: NDArray[np.uint8]) -> None:
        """Set to 0, of `free` [N], rays with something on their way nearer than `far`."""
        ...


class SingleTracer:
    """Casts rays one by one at triangles, vertices [V, 3], faces [F, 3]: slow, and plain to see right."""

    def __init__(self, vertices: F32, faces: I32) -> None:
        self._scene = EmbreeScene()
        TriangleMesh(self._scene, vertices, faces)
        # Embree builds its tree with the first query.
        self._scene.run(np.zeros((1, 3), np.float32), np.array([[0, 1, 0]], np.float32), query="OCCLUDED")

    def find(self, origins: F32, dirs: F32, order: I32 | None, owner: int, hits: Hits) -> None:
        """See `Tracer`."""
        found = self._scene.run(origins, dirs, dists=hits.t.copy(), output=True)
        nearer = np.nonzero(found["primID"] >= 0)[0]
        for mine, name in ((hits.t, "tfar"), (hits.u, "u"), (hits.v, "v"), (hits.Ng, "Ng"), (hits.prim, "primID")):
            mine[nearer] = found[name][nearer]
        hits.owner[nearer] = owner

    def block(self, origins: F32, dirs: F32, far: float, free: NDArray[np.uint8]) -> None:
        """See `Tracer`."""
        ends = np.full(len(dirs), far, np.float32)
        free[self._scene.run(origins, dirs, dists=ends, query="OCCLUDED") >= 0] = 0


def tracer_of(vertices: F32, faces: I32) -> Tracer:
    """Make triangles, vertices [V, 3], faces [F, 3] (one at least), ready for rays, as fast as this machine has it."""
    return PacketTracer(vertices, faces) if _has_packets() else SingleTracer(vertices, faces)


@cache
def _has_packets() -> bool:
    try:
        load_embree()
    except EmbreeUnavailableError as error:
        logger.warning("rays are cast one by one, about four times slower: %s", error)
        return False
    logger.info("rays are cast in packets")
    return True
