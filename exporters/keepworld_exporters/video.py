"""``walk.mp4``: the frames of a capture as a film."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
from keepworld.capture import CapturedFrame

CRF = 20  # constant quality: no difference to be seen at normal distance


def write_video(
    path: Path,
    frames: Sequence[CapturedFrame],
    fps: float,
    *,
    about: Mapping[str, object] | None = None,
    on_frame: Callable[[], None],
) -> None:
    """Write frames as H.264 in yuv420p, which plays everywhere, its index first so that it starts while loading.

    What the film says about itself is its comment.
    The file has its own name throughout; the caller writes beside the place it is meant for and renames.
    """
    width, height = frames[0].camera.width, frames[0].camera.height
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        container.metadata["comment"] = json.dumps(dict(about or {}))
        stream = container.add_stream(
            "libx264", rate=Fraction(fps).limit_denominator(1001), options={"crf": str(CRF), "preset": "veryfast"}
        )
        stream.width, stream.height = width + width % 2, height + height % 2  # 4:2:0 needs even sides
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 2
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(frame.image(), format="rgb24")
            container.mux(stream.encode(picture.reformat(stream.width, stream.height, "yuv420p")))
            on_frame()
        container.mux(stream.encode(None))
