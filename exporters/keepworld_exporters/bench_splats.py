"""``keepworld bench splats``: how fast this machine draws splats and follows a loss back to them."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from keepworld_exporters.rasterize.rasterizer import Rasterizer
    from keepworld_exporters.scene import Splats

COLUMNS = (
    "   size",
    " splats",
    "draw ms",
    "loss ms",
    "back ms",
    "steps/s",
    "CPU ms/step",
    "gsplat in torch",
    "times",
)
REFERENCE_MOST = 5_000  # splats: beyond, gsplat's formulas in torch take minutes and gigabytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One measurement, the fastest of some: milliseconds to draw, to compare and to go back, and what that makes a second.

    Attributes:
        cpu_ms: processor time a step takes, over all threads: what stays comparable on a machine that others use.
        reference_cpu_ms: the same of a step with gsplat's own formulas in torch on the CPU, None where it was not run.
    """

    size: str
    splats: int
    draw_ms: float
    loss_ms: float
    back_ms: float
    steps_per_s: float
    cpu_ms: float
    reference_cpu_ms: float | None = None


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        prog="keepworld bench splats", description="Measure training steps of splats, by picture size and count."
    )
    parser.add_argument(
        "--sizes", type=_size, nargs="+", default=[(256, 144), (480, 270)], metavar="WxH", help="picture sizes"
    )
    parser.add_argument(
        "--counts", type=_count, nargs="+", default=[5_000, 20_000, 100_000], metavar="N", help="how many splats"
    )
    parser.add_argument("--repeat", type=_count, default=5, help="steps a row (default: 5)")
    parser.add_argument(
        "--no-reference",
        action="store_true",
        help=f"without gsplat's formulas in torch, which are run up to {REFERENCE_MOST} splats where gsplat is installed",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    # Numba's default threads spin when the machine is busy; these wait. It is read when numba is first imported.
    os.environ.setdefault("NUMBA_THREADING_LAYER", "workqueue")
    rows = []
    reference = not options.no_reference and find_spec("gsplat") is not None and find_spec("torch") is not None
    if not options.json:
        if not reference and not options.no_reference:
            print("gsplat is not installed: no reference (pip install 'keepworld[dev]')")
        print("  ".join(COLUMNS))
    for width, height in options.sizes:
        for count in options.counts:
            row = measure(width, height, count, options.repeat)
            if reference and count <= REFERENCE_MOST:
                row = replace(row, reference_cpu_ms=measure_reference(width, height, count))
            rows.append(row)
            if not options.json:
                print(_line(row), flush=True)
    if options.json:
        print(json.dumps({"rows": [asdict(row) for row in rows]}))
    return 0


def measure(width: int, height: int, count: int, repeat: int) -> Row:
    """Time `repeat` training steps of one scene after one that is not counted."""
    from keepworld_exporters.rasterize.choose import choose_rasterizer

    times = _steps(choose_rasterizer(), width, height, count, repeat + 1)
    draw_s, loss_s, back_s, cpu_s = np.array(times[1:]).min(0)
    return Row(
        size=f"{width}x{height}",
        splats=count,
        draw_ms=1e3 * draw_s,
        loss_ms=1e3 * loss_s,
        back_ms=1e3 * back_s,
        steps_per_s=1 / (draw_s + loss_s + back_s),
        cpu_ms=1e3 * cpu_s,
    )


def measure_reference(width: int, height: int, count: int) -> float:
    """Milliseconds of the processor for a step of the same scene with gsplat's formulas in torch, the second of two."""
    from keepworld_exporters.rasterize.gsplat_torch import GsplatTorchRasterizer

    return 1e3 * _steps(GsplatTorchRasterizer(), width, height, count, 2)[1][3]


def _steps(rasterizer: Rasterizer, width: int, height: int, count: int, times: int) -> list[tuple[float, ...]]:
    """Seconds of training steps, each to draw, to compare, to go back, and of the processor."""
    from keepworld_exporters.rasterize.rasterizer import Pinhole
    from keepworld_exporters.train.loss import compare, photo

    splats = _room(count)
    K = np.array([[0.7 * width, 0, width / 2], [0, 0.7 * width, height / 2], [0, 0, 1]])
    camera = Pinhole(viewmat=np.eye(4), K=K, width=width, height=height)
    truth = photo(np.full((height, width, 3), 128, np.uint8))
    found = []
    for _ in range(times):
        busy, marks = time.process_time(), [time.perf_counter()]
        drawing = rasterizer.draw(splats, camera, degree=3)
        marks.append(time.perf_counter())
        wanted = np.zeros_like(drawing.out)
        wanted[..., :3] = compare(drawing.out[..., :3], truth).gradient
        marks.append(time.perf_counter())
        drawing.pull(wanted)
        marks.append(time.perf_counter())
        found.append((*np.diff(marks), time.process_time() - busy))
    return found


def _room(count: int) -> Splats:
    """Splats that fill what the camera sees, smaller the more there are, as training makes them."""
    from keepworld_exporters.scene import Splats

    rng = np.random.default_rng(0)
    depth = rng.uniform(1, 6, count)
    places = rng.uniform(-0.75, 0.75, (count, 2)) * depth[:, None]
    width = 0.5 * depth[:, None] / np.sqrt(count)
    return Splats(
        means=np.column_stack([places, depth]).astype(np.float32),
        quats=rng.normal(size=(count, 4)).astype(np.float32),
        scales=(width * np.exp(rng.normal(0, 0.5, (count, 3)))).astype(np.float32),
        opacities=rng.uniform(0.05, 0.95, count).astype(np.float32),
        sh0=rng.normal(0, 0.5, (count, 3)).astype(np.float32),
        shN=rng.normal(0, 0.1, (count, 15, 3)).astype(np.float32),
        antialiased=True,
    )


def _line(row: Row) -> str:
    cells = (row.size, str(row.splats), *(f"{value:.1f}" for value in (row.draw_ms, row.loss_ms, row.back_ms)))
    cells += (f"{row.steps_per_s:.1f}", f"{row.cpu_ms:.1f}")
    reference = row.reference_cpu_ms
    cells += ("-", "-") if reference is None else (f"{reference:.0f} ms", f"{reference / row.cpu_ms:.0f}")
    return "  ".join(f"{cell:>{len(title)}}" for cell, title in zip(cells, COLUMNS, strict=True))


def _size(text: str) -> tuple[int, int]:
    """Read a picture size such as 480x270, 16 to 4096 pixels a side."""
    sides = text.split("x")
    if len(sides) != 2 or not all(side.isdecimal() and 16 <= int(side) <= 4096 for side in sides):
        raise argparse.ArgumentTypeError(f"a size such as 480x270, each side from 16 to 4096, is wanted, got {text!r}")
    return int(sides[0]), int(sides[1])


def _count(text: str) -> int:
    """Read a number from 1 to 2000000."""
    if not (text.isdecimal() and 1 <= int(text) <= 2_000_000):
        raise argparse.ArgumentTypeError(f"a number from 1 to 2000000 is wanted, got {text!r}")
    return int(text)


if __name__ == "__main__":
    raise SystemExit(main())
