"""A scene from all round, as a short film."""

from __future__ import annotations

import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from keepworld.camera import Camera
from numpy.typing import NDArray

from keepworld_exporters.pictures import draw, overlook
from keepworld_exporters.scene import Scene

FRAMES, FPS = 72, 24
CRF = 27


def turntable(
    scene: Scene, places: NDArray[np.floating], forward: NDArray[np.float64], *, width: int = 640, height: int = 360
) -> bytes:
    """Draw a scene once round its middle and make an MP4 of it that plays in a loop.

    Args:
        scene: what to show.
        places: [N, 3], most of which are to be in view.
        forward: [3] where to look at first.
        width, height: of the film, even.
    """
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "turntable.mp4"  # a file: the index is moved to its front at the end
        with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as film:
            stream = film.add_stream("libx264", rate=Fraction(FPS), options={"crf": str(CRF), "preset": "medium"})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.codec_context.thread_count = 2
            for camera in circle(places, forward, width=width, height=height):
                film.mux(stream.encode(av.VideoFrame.from_ndarray(draw(scene, camera), format="rgb24")))
            film.mux(stream.encode(None))
        return path.read_bytes()


def circle(places: NDArray[np.floating], forward: NDArray[np.float64], *, width: int, height: int) -> list[Camera]:
    """Cameras all round places [N, 3], looking down at their middle; the first looks on as `forward` [3] does."""
    low, high = np.quantile(places.astype(np.float64), [0.04, 0.96], axis=0)
    middle, radius = (low + high) / 2, float(np.hypot(*(high - low)[[0, 2]]) / 2)
    # The distance is chosen for a round stage, or the camera would come and go as it walks along a long one.
    rim = [(radius * np.cos(a), y, radius * np.sin(a)) for a in np.arange(64) * np.pi / 32 for y in (low[1], high[1])]
    stage = np.array(rim) + np.array([middle[0], 0, middle[2]])
    cameras = []
    for angle in 2 * np.pi * np.arange(FRAMES) / FRAMES:
        turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
        cameras.append(overlook(stage, turn @ forward, width=width, height=height))
    return cameras
