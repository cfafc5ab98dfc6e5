"""H.264 read by hand, after ITU-T H.264: NAL units 7.3.1, slice headers 7.3.3; and BT.709 by its formula."""

from __future__ import annotations

import re

import av
import numpy as np

SLICE, IDR, SEI, SPS, PPS = 1, 5, 6, 7, 8


def nal_units(data: bytes) -> list[bytes]:
    """The NAL units of an access unit, without start codes."""
    assert data.startswith((b"\0\0\1", b"\0\0\0\1"))
    return [unit.rstrip(b"\0") for unit in re.split(b"\0\0\1", data)[1:]]


def nal_types(data: bytes) -> list[int]:
    return [unit[0] & 31 for unit in nal_units(data)]


def slice_types(data: bytes) -> set[int]:
    """Of each slice: 0 P, 1 B, 2 I."""
    found = set()
    for unit in nal_units(data):
        if unit[0] & 31 in (SLICE, IDR):
            bits = "".join(f"{byte:08b}" for byte in unit[1:13])
            values = []
            for _ in range(2):  # first_mb_in_slice, slice_type: Exp-Golomb codes
                zeros = bits.index("1")
                values.append(int(bits[zeros : 2 * zeros + 1], 2) - 1)
                bits = bits[2 * zeros + 1 :]
            found.add(values[1] % 5)
    return found


class Decoder:
    """FFmpeg's, fed access unit by access unit; colours by the formula of BT.709, limited range."""

    def __init__(self) -> None:
        self._context = av.CodecContext.create("h264", "r")
        self._context.thread_count = 1

    def planes(self, data: bytes) -> av.VideoFrame:
        """The picture of an access unit: there is one, and there it is."""
        (frame,) = self._context.decode(av.Packet(data))
        return frame

    def picture(self, data: bytes) -> np.ndarray:
        """[H, W, 3], 0 to 255, not rounded."""
        frame = self.planes(data)
        assert (frame.format.name, frame.colorspace, frame.color_range) == ("yuv420p", 1, 1)  # BT.709, limited
        values = frame.to_ndarray().astype(float)
        luma = (values[: frame.height] - 16) / 219
        chroma = (values[frame.height :].reshape(2, frame.height // 2, frame.width // 2) - 128) / 224
        blue, red = chroma.repeat(2, 1).repeat(2, 2)
        r, b = luma + 1.5748 * red, luma + 1.8556 * blue
        return np.clip(np.stack([r, (luma - 0.2126 * r - 0.0722 * b) / 0.7152, b], -1) * 255, 0, 255)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(np.mean((a.astype(float) - b) ** 2), 1e-9)))
