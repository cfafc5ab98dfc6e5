"""Coming back: what counts as the same view, and how alike two of them are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from keepworld.camera import Camera, PoseSource, Units, intrinsics
from keepworld.capture import Capture
from keepworld.capture_writer import CaptureWriter, Provenance
from keepworld.frames import Chunk, Encoding, Frame, Label, Latency
from keepworld.motion import NEUTRAL
from keepworld_exporters.revisit import find_revisit
from numpy.typing import NDArray

WIDTH, HEIGHT = 32, 16


def walk(
    folder: Path, xs: Sequence[float], images: Sequence[NDArray[np.uint8]], moving: NDArray[np.bool_] | None = None
) -> Capture:
    """A capture whose cameras stand at (x, 0, 0) and look along +z."""
    about = Provenance(
        family="test", version="1", licence="", prompt="", seed=0, mode="fly", width=WIDTH, height=HEIGHT, fps=2.0,
        units=Units.METRES, pose_source=PoseSource.RENDERED,
    )  # fmt: skip
    labels = (
        np.zeros((HEIGHT, WIDTH), np.uint8) if moving is None else np.where(moving, Label.MOVING, 0).astype(np.uint8)
    )
    frames = []
    for number, (x, image) in enumerate(zip(xs, images, strict=True)):
        c2w = np.eye(4)
        c2w[0, 3] = x
        camera = Camera(c2w=c2w, K=intrinsics(WIDTH, HEIGHT, 1.0), width=WIDTH, height=HEIGHT)
        frames.append(
            Frame(
                number=number,
                chunk=0,
                index=number,
                time_s=number / 2,
                camera=camera,
                encoding=Encoding.RAW,
                data=image.tobytes(),
                labels=labels,
            )
        )
    writer = CaptureWriter(folder, about)
    latency = Latency(control_ms=None, draw_ms=1.0, chunk_ms=1.0)
    writer.append(Chunk(index=0, frames=frames, controls=[NEUTRAL] * len(frames), events=[], latency=latency))
    return Capture(folder)


def pictures(rng: np.random.Generator, count: int) -> list[NDArray[np.uint8]]:
    return [rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8) for _ in range(count)]


OUT_AND_BACK = [0.0, 0.5, 1.0, 1.5, 1.0, 0.5, 0.0]


def test_a_world_that_remembers_is_identical(tmp_path: Path, rng: np.random.Generator) -> None:
    images = pictures(rng, 7)
    images[6] = images[0]
    revisit = find_revisit(walk(tmp_path / "walk", OUT_AND_BACK, images))
    assert revisit is not None
    assert (revisit.first, revisit.again, revisit.away, revisit.identical, revisit.psnr) == (0, 6, 1.5, 1.0, None)


def test_a_world_that_forgets_is_not(tmp_path: Path, rng: np.random.Generator) -> None:
    revisit = find_revisit(walk(tmp_path / "walk", OUT_AND_BACK, pictures(rng, 7)))
    assert revisit is not None
    assert revisit.identical < 0.01
    # two independent uniform values in [0, 1] differ by 1/6 in the mean square
    assert revisit.psnr is not None
    assert abs(revisit.psnr - 10 * np.log10(6)) < 0.5


def test_what_moved_is_left_out(tmp_path: Path, rng: np.random.Generator) -> None:
    images = pictures(rng, 7)
    images[6] = images[0].copy()
    images[6][:, :8] ^= 255
    moving = np.zeros((HEIGHT, WIDTH), np.bool_)
    moving[:, :8] = True
    revisit = find_revisit(walk(tmp_path / "walk", OUT_AND_BACK, images, moving))
    assert revisit is not None
    assert revisit.identical == 1.0


def test_a_walk_that_never_comes_back_or_never_leaves_has_none(tmp_path: Path, rng: np.random.Generator) -> None:
    assert find_revisit(walk(tmp_path / "away", [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0], pictures(rng, 7))) is None
    assert find_revisit(walk(tmp_path / "still", [0.0] * 7, pictures(rng, 7))) is None
