"""A stream's pictures as H.264: no delay, every chunk decodable alone. Needs PyAV, which is imported when it is first used."""

from __future__ import annotations

import importlib.util
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext

_NO_KEYFRAMES_BUT_OURS = 1 << 30
_BEST_CRF, _WORST_CRF = 14.0, 44.0  # of x264, at quality 100 and 0


def is_available() -> bool:
    """Whether this installation can encode video."""
    return importlib.util.find_spec("av") is not None


class H264Encoder:
    """One stream's pictures, one after the other.

    Access units are Annex B, the first of them an IDR picture behind SPS and PPS, and so is every one asked for alone. There are
    no B-frames and there is no lookahead: each picture is out before the next goes in. 4:2:0 in BT.709's limited range,
    which the SPS says too.

    Args:
        width, height: of every picture; even.
        fps: frames a second.
        quality: 1 to 100.
    """

    def __init__(self, width: int, height: int, *, fps: float, quality: int) -> None:
        self._size = width, height
        self._rate = Fraction(fps).limit_denominator(1001)
        self._crf = _WORST_CRF + (_BEST_CRF - _WORST_CRF) * quality / 100
        self._context: VideoCodecContext | None = None
        self._number = 0

    def encode(self, image: NDArray[np.uint8], *, alone: bool) -> bytes:
        """The access unit of a picture [H, W, 3] uint8 sRGB; `alone`: it shall need none before it."""
        import av
        from av.video.frame import PictureType
        from av.video.reformatter import ColorRange, Colorspace, Interpolation

        if self._context is None:
            self._context = self._opened()
        frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
            format="yuv420p",
            src_colorspace=Colorspace.ITU709,
            dst_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
            # Without these, swscale's shortcuts darken every picture by a level or two.
            interpolation=Interpolation.BICUBIC
            | Interpolation.ACCURATE_RND
            | Interpolation.FULL_CHR_H_INT
            | Interpolation.FULL_CHR_H_INP,
            threads=1,
        )
        frame.pts = self._number
        frame.pict_type = PictureType.I if alone else PictureType.NONE
        self._number += 1
        (packet,) = self._context.encode(frame)
        return bytes(packet)

    def _opened(self) -> VideoCodecContext:
        from av.codec import CodecContext
        from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

        context = CodecContext.create("libx264", "w")
        context.width, context.height = self._size
        context.pix_fmt = "yuv420p"
        context.framerate, context.time_base = self._rate, 1 / self._rate
        context.gop_size, context.max_b_frames = _NO_KEYFRAMES_BUT_OURS, 0
        context.thread_count = 1  # streams share the threads that they are encoded in
        context.color_range, context.colorspace = ColorRange.MPEG, Colorspace.ITU709
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        context.options = {
            "preset": "superfast",
            "tune": "zerolatency",
            "crf": f"{self._crf:.1f}",
            "forced-idr": "1",
            "x264-params": "scenecut=0:repeat-headers=1:annexb=1",
        }
        return context
