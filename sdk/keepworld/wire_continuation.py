"""Turns what a session shall go on from into messages: see `wire`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from keepworld.capture import Capture
from keepworld.v1 import control_pb2, world_service_pb2
from keepworld.wire import control_message, transform_message


def from_clip(
    request_id: str, asset_id: str, cameras: NDArray[np.float64] | None, *, here: bool
) -> world_service_pb2.StreamSessionRequest:
    """Go on from frames that have been uploaded; with cameras [N, 4, 4] camera to world in place of theirs."""
    extend = control_pb2.Extend(
        request_id=request_id,
        clip_asset_id=asset_id,
        world_from_camera=() if cameras is None else [transform_message(c2w) for c2w in cameras],
        from_here=here,
    )
    return world_service_pb2.StreamSessionRequest(extend=extend)


def from_recording(request_id: str, capture: Capture) -> world_service_pb2.StreamSessionRequest:
    """Go on from where a captured walk ended."""
    about = capture.provenance
    recording = control_pb2.Recording(
        family=about.family,
        family_version=about.version,
        prompt=about.prompt,
        seed=about.seed,
        mode=about.mode,
        frames=[
            control_pb2.RecordedFrame(
                control=control_message(control), world_from_camera=transform_message(frame.camera.c2w)
            )
            for control, frame in zip(capture.controls, capture.frames, strict=True)
        ],
        events=[
            control_pb2.RecordedEvent(chunk=chunk, text=event.text, ramp_s=event.ramp_s, duration_s=event.duration_s)
            for chunk, event in capture.events
        ],
    )
    extend = control_pb2.Extend(request_id=request_id, recording=recording)
    return world_service_pb2.StreamSessionRequest(extend=extend)
