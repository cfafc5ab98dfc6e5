"""A sequence as a capture: pictures without bending, all of one size, every pixel with a value, each with its camera."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from collections.abc import Sequence as Rows
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from keepworld import png
from keepworld.camera import Camera
from keepworld.capture import Capture
from keepworld.capture_writer import CaptureWriter, Provenance
from keepworld.errors import ExportError
from keepworld.frames import Chunk, Encoding, Frame, Label, Latency
from keepworld.motion import NEUTRAL
from numpy.typing import NDArray

from keepworld_exporters.ingest.lens import Lens
from keepworld_exporters.ingest.resample import Resampling, resampling
from keepworld_exporters.ingest.sequence import Photo, Sequence

FAMILY = "pictures"
LICENCE = "that of the pictures, which this program does not know"
CHUNK = 16
MIN_SIDE = 32


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Ready:
    photo: Photo
    c2w: NDArray[np.float64]
    way: Resampling


def write(sequence: Sequence, folder: Path, *, max_side: int, on_photo: Callable[[], None]) -> Capture:
    """Write a capture of a sequence whose cameras are known.

    Args:
        sequence: what to write.
        folder: new or empty.
        max_side: pixels, the longer side at most; larger pictures are made smaller.
        on_photo: called after each.

    Raises:
        ExportError: a camera is missing, or a picture cannot be read.
    """
    lenses = [photo.lens for photo in sequence.photos if photo.lens is not None]
    if not lenses:
        raise ExportError(f"{sequence.title} holds no picture with a lens that is known")
    width, height = size_of(lenses, max_side=max_side)
    if min(width, height) < MIN_SIDE:
        raise ExportError(f"{sequence.title}: pictures of {width} x {height} are too small to make anything of")
    ways: dict[Lens, Resampling] = {}
    about = Provenance(
        family=FAMILY, version=sequence.kind, licence=LICENCE, prompt=sequence.title, seed=0, mode="fly", width=width,
        height=height, fps=sequence.fps, units=sequence.units, pose_source=sequence.pose_source,
    )  # fmt: skip
    writer = CaptureWriter(folder, about)
    with_cameras = [photo for photo in sequence.photos if photo.c2w is not None and photo.lens is not None]
    if not with_cameras:
        raise ExportError(f"{sequence.title}: no picture has a camera")
    for start in range(0, len(with_cameras), CHUNK):
        frames = []
        for number, photo in enumerate(with_cameras[start : start + CHUNK], start):
            assert photo.lens is not None
            if photo.lens not in ways:
                try:
                    ways[photo.lens] = resampling(photo.lens, width, height)
                except ValueError as error:
                    raise ExportError(f"{photo.name}: {error}") from error
            frames.append(_frame(photo, ways[photo.lens], about, number, start))
            on_photo()
        writer.append(
            Chunk(
                index=start // CHUNK, frames=frames, controls=[NEUTRAL] * len(frames), events=[],
                latency=Latency(control_ms=None, draw_ms=0.0, chunk_ms=0.0),
            )
        )  # fmt: skip
    return Capture(folder)


def size_of(lenses: Rows[Lens], *, max_side: int) -> tuple[int, int]:
    """Width and height of the frames that photos become: those of most of them, their longer side at most so many pixels."""
    sizes = Counter((lens.width, lens.height) for lens in lenses)
    # Of as many of each size the one that is first by its numbers, so that the same files give the same capture.
    width, height = min(sizes, key=lambda size: (-sizes[size], size))
    factor = min(1.0, max_side / max(width, height)) if max_side else 1.0
    return round(width * factor), round(height * factor)


def _frame(photo: Photo, way: Resampling, about: Provenance, number: int, start: int) -> Frame:
    assert photo.c2w is not None
    camera = Camera(
        c2w=photo.c2w, K=way.lens.K, width=about.width, height=about.height, units=about.units, source=about.pose_source
    )
    labels = depth = None
    if photo.mask is not None:
        labels = np.where(way.nearest(photo.mask()), 0, Label.MOVING).astype(np.uint8)
    if photo.depth is not None:
        depth = np.ascontiguousarray(way.nearest(photo.depth()), np.float32)
    return Frame(
        number=number, chunk=start // CHUNK, index=number - start, time_s=photo.time_s, camera=camera,
        encoding=Encoding.PNG, data=png.encode(np.ascontiguousarray(way.picture(photo.image()))), depth=depth, labels=labels,
    )  # fmt: skip
