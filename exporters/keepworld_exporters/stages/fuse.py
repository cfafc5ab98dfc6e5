"""From many views to one surface: fuse, extract, clean, close, paint; fine where a camera came near, coarser further away."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from keepworld.errors import ExportError
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from keepworld_exporters.scene import Mesh
from keepworld_exporters.stages.clean import compact, decimate, drop_crumbs
from keepworld_exporters.stages.depth import Resolution, View
from keepworld_exporters.stages.holes import Holes, fill_holes
from keepworld_exporters.stages.paint import paint
from keepworld_exporters.stages.smooth import smooth
from keepworld_exporters.stages.surface import extract_surface
from keepworld_exporters.stages.tsdf import build_volume

STEP = 2.0  # how much coarser, and how much further, each ring round the fine surface is
OVERLAP = 0.85  # a ring begins at this share of where the last one ended, so that no gap is left
WITHIN = 0.75  # cells of a ring: what of it is so near the finer surface is that surface, seen from afar
RIM_CELLS = 48  # the rim of the largest hole that is closed, in cells


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """What surface to make.

    Attributes:
        max_faces: about how many triangles to keep at most, over all rings.
        rings: how many coarser rings go on beyond the resolution's range; each reaches `STEP` times as far.
        smoothing: rounds of smoothing, for depth that is rough.
        budget_bytes: how much memory a distance field may take.
    """

    max_faces: int
    rings: int = 0
    smoothing: int = 0
    budget_bytes: int = 2 * 2**30


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Surface:
    """A mesh and what is known of how it was made.

    Attributes:
        mesh: with colours, at most as many triangles as were asked for.
        cells: [V] float32, how large the cells were that each vertex was found in, the capture's units.
        fine: the triangles before their number was reduced, as a mesh without colours.
        holes: what became of its holes.
    """

    mesh: Mesh
    cells: NDArray[np.float32]
    fine: Mesh
    holes: Holes


def passes(shape: Shape) -> int:
    """How often `fuse_mesh` goes through the views."""
    return 2 * (1 + shape.rings) + 1


def fuse_mesh(
    views: Callable[[], Iterable[View]], resolution: Resolution, shape: Shape, *, on_view: Callable[[], None]
) -> Surface:
    """Make a coloured mesh of what the views saw.

    Args:
        views: gives the views from the start each time it is called; it is called `passes` times.
        resolution: cell size and range of the fine surface.
        shape: how many triangles, how far beyond that range, how smooth.
        on_view: called once a view and pass.

    Raises:
        ExportError: the field would not fit, or nothing was seen.
    """
    vertices, faces = np.empty((0, 3), np.float32), np.empty((0, 3), np.int32)
    parts, cells, holes = [], [], []
    for ring in rings_of(resolution, shape.rings):
        placed, corners = _fuse_ring(views, ring, shape, known=vertices, on_view=on_view)
        corners, closed = fill_holes(placed, corners, max_length=RIM_CELLS * ring.resolution.voxel)
        faces = np.concatenate([faces, corners + np.int32(len(vertices))])
        vertices = np.concatenate([vertices, placed])
        parts.append((placed, corners))
        cells.append(ring.resolution.voxel)
        holes.append(closed)
    if not len(faces):
        raise ExportError(
            f"no surface was seen within {resolution.max_depth:g} of the cameras; try a larger --max-depth or --voxel"
        )
    share = min(1.0, shape.max_faces / len(faces))
    fewer = [decimate(placed, corners, round(share * len(corners))) for placed, corners in parts]
    vertices_kept, faces_kept = joined(fewer)
    sizes = np.repeat(np.array(cells, np.float32), [len(placed) for placed, _ in fewer])
    colours = paint(vertices_kept, faces_kept, views(), tolerance=2 * sizes, on_view=on_view)
    return Surface(
        mesh=Mesh(vertices=vertices_kept, faces=faces_kept, colours=colours),
        cells=sizes,
        fine=Mesh(vertices=vertices, faces=faces, colours=np.empty((0, 3), np.uint8)),
        holes=Holes(
            filled=sum(hole.filled for hole in holes),
            left=sum(hole.left for hole in holes),
            rim=sum(hole.rim for hole in holes),
        ),
    )


def joined(
    parts: Sequence[tuple[NDArray[np.float32], NDArray[np.int32]]],
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Several surfaces as one."""
    starts = np.cumsum([0, *(len(vertices) for vertices, _ in parts)])
    return (
        np.concatenate([vertices for vertices, _ in parts]),
        np.concatenate([faces + np.int32(start) for (_, faces), start in zip(parts, starts, strict=False)]),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Ring:
    """A range of depths, from `nearest` on, and the cells for it."""

    nearest: float
    resolution: Resolution


def rings_of(resolution: Resolution, count: int) -> list[Ring]:
    """The fine range and `count` coarser ones round it."""
    rings = [Ring(nearest=0.0, resolution=resolution)]
    for k in range(1, count + 1):
        further = Resolution(voxel=resolution.voxel * STEP**k, max_depth=resolution.max_depth * STEP**k)
        rings.append(Ring(nearest=OVERLAP * further.max_depth / STEP, resolution=further))
    return rings


def _fuse_ring(
    views: Callable[[], Iterable[View]],
    ring: Ring,
    shape: Shape,
    *,
    known: NDArray[np.float32],
    on_view: Callable[[], None],
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """The surface of a range of depths, without what is `known` [K, 3] already from nearer."""

    def within() -> Iterator[View]:
        for view in views():
            yield replace(view, depth=np.where(view.depth >= ring.nearest, view.depth, np.float32(0)))

    volume = build_volume(within, ring.resolution, budget_bytes=shape.budget_bytes, on_view=on_view)
    vertices, faces = extract_surface(volume)
    del volume
    if len(known) and len(faces):
        apart = cKDTree(known).query(vertices, distance_upper_bound=WITHIN * ring.resolution.voxel, workers=-1)[0]
        new = np.isinf(apart)
        new[faces[new[faces].any(1)]] = True  # and one cell more, so that no gap is left where the two meet
        faces = faces[new[faces].any(1)]
        vertices, faces = compact(vertices, faces)
    vertices, faces = drop_crumbs(vertices, faces)
    return smooth(vertices, faces, shape.smoothing), faces
