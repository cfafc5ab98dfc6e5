"""Pictures without cameras: where each was taken from, and through what lens, found from the pictures by COLMAP.

Source: Schoenberger and Frahm 2016, "Structure-from-motion revisited", through pycolmap. The world comes out turned so that up
is up, with its first camera at the origin, and in a unit of its own: the median distance to what is seen is `TYPICAL` units.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from keepworld import png
from keepworld.errors import ExportError

from keepworld_exporters.ingest.lens import Lens, colmap_lens
from keepworld_exporters.ingest.resample import resampling
from keepworld_exporters.ingest.sequence import Photo
from keepworld_exporters.stages.features import SEED, colmap
from keepworld_exporters.stages.ground import level, up_axis

TYPICAL = 3.0
MAX_SIDE = 1600  # pixels; features of larger pictures are found in them made smaller
ALL_PAIRS, ALL_PAIRS_LOOSE = 70, 150  # pictures, up to which each is compared with each: of a film, and of a folder
NEXT, EVERY = 12, 6  # beyond that: how many pictures on one is compared, and every how many-th with all like it
MIN_PHOTOS = 3


def solve(photos: Sequence[Photo], folder: Path, *, in_order: bool, on_step: Callable[[], None]) -> tuple[Photo, ...]:
    """Find the cameras and lenses of photos; those that do not fit the rest are left out.

    Args:
        photos: with lenses that are a first guess.
        folder: for files on the way.
        in_order: whether those that follow each other show about the same, as in a film.
        on_step: called after each photo is read, and `len(photos)` times more on the way.

    Raises:
        ExportError: too few fit together.
    """
    pycolmap = colmap()
    if len(photos) < MIN_PHOTOS:
        raise ExportError(f"cameras are found from at least {MIN_PHOTOS} pictures, got {len(photos)}")
    pycolmap.set_random_seed(SEED)
    images, database, out = folder / "images", folder / "sfm.db", folder / "model"
    images.mkdir()
    out.mkdir()
    names = [f"{number:06d}.png" for number in range(len(photos))]
    groups: dict[str, list[str]] = defaultdict(list)
    for photo, name in zip(photos, names, strict=True):
        groups[_write(photo, images / name)].append(name)
        on_step()
    for parameters, members in groups.items():
        options = pycolmap.ImageReaderOptions(camera_model="SIMPLE_RADIAL", camera_params=parameters)
        pycolmap.extract_features(
            database, images, members, pycolmap.CameraMode.SINGLE, options, device=pycolmap.Device.cpu
        )
    listed = folder / "pairs.txt"
    listed.write_text("".join(f"{names[i]} {names[j]}\n" for i, j in pairs(len(photos), in_order=in_order)))
    pycolmap.match_image_pairs(
        database, pairing_options=pycolmap.ImportedPairingOptions(match_list_path=listed), device=pycolmap.Device.cpu
    )
    options = pycolmap.IncrementalPipelineOptions(random_seed=SEED, min_model_size=MIN_PHOTOS)
    options.triangulation.random_seed = options.mapper.random_seed = SEED
    models = pycolmap.incremental_mapping(database, images, out, options, next_image_callback=on_step)
    if not models:
        raise ExportError(
            "the cameras cannot be found: the pictures have too little in common; take them with more overlap, moving sideways"
        )
    return _placed(photos, names, max(models.values(), key=lambda model: model.num_reg_images()))


def _write(photo: Photo, path: Path) -> str:
    """Write a photo for COLMAP, not too large; gives the numbers of its lens, which name its group."""
    lens = photo.lens
    if lens is None:
        raise ExportError(f"{photo.name}: a first guess of its lens is needed")
    way = resampling(lens, *size_of(lens))
    path.write_bytes(png.encode(np.ascontiguousarray(way.picture(photo.image()))))
    return f"{way.lens.fx:.6f},{way.lens.cx:.6f},{way.lens.cy:.6f},0"


def size_of(lens: Lens) -> tuple[int, int]:
    """Width and height at which features of a photo are found."""
    factor = min(1.0, MAX_SIDE / max(lens.width, lens.height))
    return round(lens.width * factor), round(lens.height * factor)


def pairs(count: int, *, in_order: bool) -> list[tuple[int, int]]:
    """Which of so many pictures are compared."""
    if count <= (ALL_PAIRS if in_order else ALL_PAIRS_LOOSE):
        return list(itertools.combinations(range(count), 2))
    near = {(i, j) for i in range(count) for j in range(i + 1, min(count, i + 1 + NEXT))}
    return sorted(near | set(itertools.combinations(range(0, count, EVERY), 2)))


def _placed(photos: Sequence[Photo], names: Sequence[str], model: Any) -> tuple[Photo, ...]:
    found = {image.name: image for image in model.images.values() if image.has_pose}
    if len(found) < MIN_PHOTOS:
        raise ExportError(f"the cameras cannot be found: only {len(found)} of {len(photos)} pictures fit together")
    kept = [(photo, found[name]) for photo, name in zip(photos, names, strict=True) if name in found]
    c2ws = np.stack([np.vstack([image.cam_from_world().inverse().matrix(), [0, 0, 0, 1]]) for _, image in kept])
    points = np.array([point.xyz for point in model.points3D.values()])
    distances = np.linalg.norm(points[None, ::7] - c2ws[:, None, :3, 3], axis=2)
    turn, scale = level(up_axis(c2ws)), TYPICAL / float(np.median(distances))
    start = c2ws[0, :3, 3].copy()
    c2ws[:, :3, :3] = turn @ c2ws[:, :3, :3]
    c2ws[:, :3, 3] = scale * (c2ws[:, :3, 3] - start) @ turn.T
    placed = []
    for (photo, image), c2w in zip(kept, c2ws, strict=True):
        camera = model.cameras[image.camera_id]
        lens = colmap_lens(camera.model_name, camera.width, camera.height, list(camera.params))
        assert photo.lens is not None
        placed.append(replace(photo, c2w=c2w, lens=lens.resized(photo.lens.width, photo.lens.height)))
    return tuple(placed)
