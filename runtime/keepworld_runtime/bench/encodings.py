"""``keepworld bench encodings``: what a frame costs in each encoding, and what is lost. No server, no client: frames, coded."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

import numpy as np
from keepworld.camera import Camera, PoseSource, Units
from keepworld.frames import Encoding, Frame
from keepworld.motion import Control
from keepworld.video import Video
from numpy.typing import NDArray

from keepworld_runtime.families import load_family
from keepworld_runtime.families.family import ChunkRequest, FrameData, Place, WorldSpec
from keepworld_runtime.serving import h264, pictures
from keepworld_runtime.serving.h264 import H264Encoder
from keepworld_runtime.serving.pictures import PictureFormat

DESCRIPTION = """\
Draw a walk, and turn its frames into each encoding and back, one thread, one frame at a time. CPU is processor time. PSNR is
against the frame as drawn, the mean over frames of 10 log10(255^2 / MSE). The depth rows are what depth, labels and
confidence take beside a picture, losslessly.
"""
EXAMPLES = """\
examples:
  keepworld bench encodings
  keepworld bench encodings --sizes 832x480 --qualities 50 75 90 --chunks 8 --json
"""
PROMPT = "meadow village with a windmill by a lake, summer morning"
COLUMNS = ("    size", "   encoding", "kB/frame", "Mbit/s", "encode CPU ms", "decode CPU ms", "PSNR dB")
_Result = TypeVar("_Result")


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """An encoding's cost a frame; `decode_ms` and `psnr_db` are None where there is nothing to decode, or nothing lost."""

    size: str
    encoding: str
    frame_bytes: float
    megabits_a_second: float
    encode_ms: float
    decode_ms: float | None
    psnr_db: float | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    options = _parser().parse_args(arguments)
    formats = [PictureFormat(encoding=pictures.Encoding.RAW), PictureFormat(encoding=pictures.Encoding.PNG)]
    lossy = [pictures.Encoding.JPEG, *([pictures.Encoding.H264] if h264.is_available() else [])]
    formats += [
        PictureFormat(encoding=encoding, quality=quality) for encoding in lossy for quality in options.qualities
    ]
    if not options.json:
        print(f"{len(os.sched_getaffinity(0))} cores, of which one is used; diorama: {PROMPT!r}, seed 1\n")
        print("  ".join(COLUMNS))
    rows = []
    for size in options.sizes:
        frames, fps = draw(size, options.chunks)
        for row in [*(measure(frames, fps, wanted) for wanted in formats), measure_pixels(frames, fps)]:
            rows.append(row)
            if not options.json:
                print(format_row(row), flush=True)
    if not h264.is_available():
        print("no H.264 here: pip install 'keepworld[video]'", file=sys.stderr)
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    return 0


def draw(size: tuple[int, int], chunks: int) -> tuple[list[FrameData], float]:
    """The frames of a walk that turns slowly, and how many there are a second."""
    family = load_family("diorama")
    told = family.capabilities
    spec = WorldSpec(prompt=PROMPT, seed=1, width=size[0], height=size[1], mode=next(iter(told.modes)))
    world = family.load(Place(num_threads=len(os.sched_getaffinity(0)))).open(spec)
    frames = []
    for chunk in range(chunks):
        count = told.frames_in(chunk)
        controls = (Control(move=(0, 0, 1), turn=(0.3, 0, 0)),) * count
        frames += list(world.next_chunk(ChunkRequest(chunk=chunk, controls=controls, poses=(None,) * count)))
    return frames, told.fps


def measure(frames: Sequence[FrameData], fps: float, wanted: PictureFormat) -> Row:
    """Encode and decode the frames, as a server and a client do."""
    height, width = frames[0].image.shape[:2]
    is_video = wanted.encoding is pictures.Encoding.H264
    video = H264Encoder(width, height, fps=fps, quality=wanted.quality) if is_video else None
    coded, encode_s = _timed(lambda frame: pictures.encode(frame, wanted, video).image, frames)
    back, decode_s = _timed(lambda frame: frame.image, list(_as_received(frames, coded, Encoding(wanted.encoding))))
    is_lossy = not Encoding(wanted.encoding).is_lossless
    losses = [_psnr(there.image, here) for there, here in zip(frames, back, strict=True)] if is_lossy else None
    quality = f" q{wanted.quality}" if is_lossy else ""
    return _row(
        frames, fps, f"{wanted.encoding}{quality}", [len(each) for each in coded], encode_s, decode_s,
        None if losses is None else float(np.mean(losses)),
    )  # fmt: skip


def measure_pixels(frames: Sequence[FrameData], fps: float) -> Row:
    """What comes with a picture if it is asked for: depth, labels and confidence."""
    with_pixels = PictureFormat(encoding=pictures.Encoding.RAW, pixel_data=True)
    coded, encode_s = _timed(lambda frame: pictures.encode(frame, with_pixels), frames)
    sizes = [len(each.depth) + len(each.labels) + len(each.confidence) for each in coded]
    return _row(frames, fps, "depth", sizes, encode_s, None, None)


def _as_received(frames: Sequence[FrameData], coded: Sequence[bytes], encoding: Encoding) -> Iterator[Frame]:
    height, width = frames[0].image.shape[:2]
    video, chunk = Video((width, height)), -1
    for number, (data, drawn) in enumerate(zip(coded, frames, strict=True)):
        chunk += drawn.index == 0
        yield Frame(
            number=number,
            chunk=chunk,
            index=drawn.index,
            time_s=0.0,
            camera=Camera(
                c2w=drawn.c2w, K=drawn.K, width=width, height=height, units=Units.METRES, source=PoseSource.RENDERED
            ),
            encoding=encoding,
            data=data,
            run=video.add(data, chunk) if encoding is Encoding.H264 else None,
        )


_Each = TypeVar("_Each")


def _timed(act: Callable[[_Each], _Result], items: Sequence[_Each]) -> tuple[list[_Result], float]:
    """What comes of each, and the processor time that took, seconds an item; the first, which opens things, not counted."""
    results = [act(items[0])]
    started_s = time.thread_time()
    results += [act(item) for item in items[1:]]
    return results, (time.thread_time() - started_s) / (len(items) - 1)


def _row(
    frames: Sequence[FrameData],
    fps: float,
    name: str,
    sizes: Sequence[int],
    encode_s: float,
    decode_s: float | None,
    psnr_db: float | None,
) -> Row:
    height, width = frames[0].image.shape[:2]
    frame_bytes = float(np.mean(sizes))
    return Row(
        size=f"{width}x{height}",
        encoding=name,
        frame_bytes=frame_bytes,
        megabits_a_second=frame_bytes * 8 * fps / 1e6,
        encode_ms=encode_s * 1e3,
        decode_ms=None if decode_s is None else decode_s * 1e3,
        psnr_db=psnr_db,
    )


def _psnr(image: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    mse = float(np.mean((image.astype(np.float64) - other) ** 2))
    return 10 * math.log10(255**2 / max(mse, 1e-9))


def format_row(row: Row) -> str:
    """Set a row's cells under `COLUMNS`."""
    cells = (
        row.size,
        row.encoding,
        f"{row.frame_bytes / 1000:.1f}",
        f"{row.megabits_a_second:.1f}",
        f"{row.encode_ms:.2f}",
        "" if row.decode_ms is None else f"{row.decode_ms:.2f}",
        "exact" if row.psnr_db is None else f"{row.psnr_db:.1f}",
    )
    return "  ".join(f"{cell:>{len(title)}}" for cell, title in zip(cells, COLUMNS, strict=True))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="keepworld bench encodings",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sizes", type=_size, nargs="+", default=[(512, 288), (832, 480)], metavar="WxH")
    parser.add_argument("--qualities", type=_quality, nargs="+", default=[75, 90], metavar="Q", help="1 to 100 (75 90)")
    parser.add_argument("--chunks", type=_chunks, default=5, help="how long the walk is (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON list")
    return parser


def _size(text: str) -> tuple[int, int]:
    told = load_family("diorama").capabilities
    width, _, height = text.lower().partition("x")
    sides = [int(side) if side.isdecimal() else 0 for side in (width, height)]
    if (
        min(sides) < told.min_side
        or sides[0] * sides[1] > told.max_pixels
        or any(s % told.size_multiple for s in sides)
    ):
        raise argparse.ArgumentTypeError(
            f"sides must be multiples of {told.size_multiple} from {told.min_side}, as in 832x480, got {text!r}"
        )
    return sides[0], sides[1]


def _quality(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= 100):
        raise argparse.ArgumentTypeError(f"a quality is 1 to 100, got {text!r}")
    return int(text)


def _chunks(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= 100):
        raise argparse.ArgumentTypeError(f"a number from 1 to 100 is wanted, got {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
