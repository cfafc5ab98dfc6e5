"""The same walk with other cameras: in memory, or as a capture of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from keepworld.camera import PoseSource, Units
from keepworld.capture import Capture, CapturedFrame
from keepworld.capture_writer import CaptureWriter
from keepworld.frames import Chunk, Encoding, Frame, Latency
from keepworld.motion import NEUTRAL
from numpy.typing import NDArray

from keepworld_exporters.ingest.write import CHUNK


def with_cameras(capture: Capture, c2ws: NDArray[np.float64], moved: NDArray[np.bool_]) -> None:
    """Give a capture's frames other cameras [N, 4, 4], marked as refined where they `moved` [N]; its files stay as they are."""
    capture.frames = [
        replace(frame, camera=replace(frame.camera, c2w=c2w, source=PoseSource.REFINED if new else frame.camera.source))
        for frame, c2w, new in zip(capture.frames, c2ws, moved, strict=True)
    ]
    capture.__dict__.pop("c2ws", None)
    capture.provenance = replace(capture.provenance, pose_source=PoseSource.REFINED)


def move(capture: Capture, world: NDArray[np.float64]) -> None:
    """Move a capture's cameras by a rigid motion [4, 4] of the world; its files stay as they are."""
    capture.frames = [
        replace(frame, camera=replace(frame.camera, c2w=world @ frame.camera.c2w)) for frame in capture.frames
    ]
    capture.__dict__.pop("c2ws", None)


def save(capture: Capture, folder: Path, *, scale: float = 1.0, units: Units | None = None) -> Capture:
    """Write a capture anew, from its frames as they are in memory, grown by a scale with its depth.

    Args:
        capture: to write; its events and controls are not kept where frames are missing.
        folder: new or empty.
        scale: from its units to the new ones.
        units: the new ones; None: as they were.
    """
    about = replace(capture.provenance, units=units or capture.provenance.units)
    writer = CaptureWriter(folder, about)
    for start in range(0, len(capture.frames), CHUNK):
        frames = capture.frames[start : start + CHUNK]
        writer.append(_chunk(start // CHUNK, frames, scale, about.units))
    return Capture(folder)


def _chunk(index: int, frames: Sequence[CapturedFrame], scale: float, units: Units) -> Chunk:
    made = []
    for place, frame in enumerate(frames):
        c2w = frame.camera.c2w.copy()
        c2w[:3, 3] *= scale
        depth = frame.depth()
        made.append(
            Frame(
                number=frame.number, chunk=index, index=place, time_s=frame.time_s,
                camera=replace(frame.camera, c2w=c2w, units=units), encoding=Encoding.PNG,
                data=(frame.folder / f"frames/{frame.number:06d}.png").read_bytes(),
                depth=None if depth is None else depth * np.float32(scale),
                labels=frame.labels(), confidence=frame.confidence(),
            )
        )  # fmt: skip
    return Chunk(
        index=index, frames=made, controls=[NEUTRAL] * len(made), events=[],
        latency=Latency(control_ms=None, draw_ms=0.0, chunk_ms=0.0),
    )  # fmt: skip
