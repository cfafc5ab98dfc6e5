"""What the page is told, as it travels: frames as bytes, everything else as JSON.

A frame is 52 bytes and then its picture as the server encoded it, little-endian: number, chunk (u32), place in the chunk
(u16), encoding and whether it can be decoded without the frames before it (u8), its time in the world and when the bridge
had it, on the bridge's clock (f64, seconds), the camera's place, OpenCV axes, and its yaw, pitch and roll in radians (f32).
"""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from keepworld.capabilities import Capabilities, FamilyCapabilities
from keepworld.frames import Encoding, Frame

HEADER = struct.Struct("<IIHBBddffffff")
CODES: Mapping[Encoding, int] = {encoding: code for code, encoding in enumerate(Encoding)}


def frame(made: Frame) -> bytes:
    """A frame for the page."""
    c2w = made.camera.c2w
    x, y, z = c2w[:3, 3].tolist()
    is_key = made.encoding != "h264" or made.index == 0
    return (
        HEADER.pack(
            made.number, made.chunk, made.index, CODES[made.encoding], is_key, made.time_s, time.monotonic(),
            x, y, z, *angles(c2w),
        )
        + made.data
    )  # fmt: skip


def angles(c2w: NDArray[np.float64]) -> tuple[float, float, float]:
    """Yaw, pitch and roll of a camera [4, 4], radians, signed as in `Control.turn`: to the right, up, leaning right."""
    right, ahead = c2w[:3, 0], c2w[:3, 2]
    yaw = math.atan2(float(ahead[0]), float(ahead[2]))
    pitch = math.asin(max(-1.0, min(1.0, -float(ahead[1]))))
    level = np.array([math.cos(yaw), 0.0, -math.sin(yaw)])
    roll = math.atan2(float(right @ np.cross(ahead, level)), float(right @ level))
    return yaw, pitch, roll


def server(told: Capabilities) -> dict[str, object]:
    """What the server can do."""
    return {
        "version": told.server_version,
        "families": [_family(family) for family in told.families],
        "asset_frames": told.limits.max_asset_frames,
    }


def _family(family: FamilyCapabilities) -> dict[str, object]:
    return {
        "name": family.name,
        "summary": family.summary,
        "licence": family.licence,
        "modes": {mode: list(axes) for mode, axes in family.modes.items()},
        "sizes": [list(size) for size in family.sizes],
        "fps": family.fps,
        "chunk_frames": family.chunk_frames,
        "max_prompt_chars": family.max_prompt_chars,
        "has_depth": family.has_depth,
        "takes_image": family.takes_image,
        "takes_clip": family.takes_clip,
        "prompt_words": {heading: list(words) for heading, words in family.prompt_words.items()},
        "event_phrases": {heading: list(words) for heading, words in family.event_phrases.items()},
    }
