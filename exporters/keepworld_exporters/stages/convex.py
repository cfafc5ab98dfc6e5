"""The process that finds convex parts: CoACD's library writes to the standard output, and nothing can stop it from within."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CONCAVITY = 0.05  # how far a part may be from convex, in parts of the mesh's size
MAX_VERTICES = 64  # of a part: what PhysX allows is 255, what is quick is fewer


def main(given: Path, found: Path, count: int) -> None:
    """Read a mesh's arrays, and write those of its parts."""
    import coacd  # only where parts are asked for

    coacd.set_log_level("error")
    with np.load(given, allow_pickle=False) as arrays:
        mesh = coacd.Mesh(arrays["vertices"].astype(np.float64), arrays["faces"].astype(np.int32))
    parts = coacd.run_coacd(
        mesh, threshold=CONCAVITY, max_convex_hull=count, decimate=True, max_ch_vertex=MAX_VERTICES, seed=0
    )
    named: dict[str, NDArray[np.generic]] = {}
    for k, (vertices, faces) in enumerate(parts):
        named |= {f"vertices_{k}": np.asarray(vertices), f"faces_{k}": np.asarray(faces)}
    np.savez(found, **named)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
