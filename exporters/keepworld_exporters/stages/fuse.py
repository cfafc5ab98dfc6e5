"""From many views to one surface: fuse, extract, clean, paint."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from keepworld.errors import ExportError

from keepworld_exporters.scene import Mesh
from keepworld_exporters.stages.clean import decimate, drop_crumbs
from keepworld_exporters.stages.depth import Resolution, View
from keepworld_exporters.stages.paint import paint
from keepworld_exporters.stages.surface import extract_surface
from keepworld_exporters.stages.tsdf import build_volume

PASSES = 3  # how often `fuse_mesh` goes through the views


def fuse_mesh(
    views: Callable[[], Iterable[View]],
    resolution: Resolution,
    *,
    max_faces: int,
    budget_bytes: int,
    on_view: Callable[[], None],
) -> Mesh:
    """Make a coloured mesh of what the views saw.

    Args:
        views: gives the views from the start each time it is called; it is called `PASSES` times.
        resolution: cell size and range.
        max_faces: about how many triangles to keep at most.
        budget_bytes: how much memory the distance field may take.
        on_view: called once a view and pass.

    Raises:
        ExportError: the field would not fit, or nothing was seen.
    """
    volume = build_volume(views, resolution, budget_bytes=budget_bytes, on_view=on_view)
    vertices, faces = drop_crumbs(*extract_surface(volume))
    del volume
    if not len(faces):
        raise ExportError(
            f"no surface was seen within {resolution.max_depth:g} of the cameras; try a larger --max-depth or --voxel"
        )
    vertices, faces = decimate(vertices, faces, max_faces)
    colours = paint(vertices, faces, views(), tolerance=2 * resolution.voxel, on_view=on_view)
    return Mesh(vertices=vertices, faces=faces, colours=colours)
