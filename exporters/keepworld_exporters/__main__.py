"""``keepworld-export``: a capture becomes splats, a mesh, points, a film and a report."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from keepworld.errors import KeepworldError

from keepworld_exporters.command import UsageError, dataset_of, parser_of_exports, plan_of, wanted_of
from keepworld_exporters.interruption import Interruption

if TYPE_CHECKING:
    from keepworld_exporters.expect import Expected
    from keepworld_exporters.export import Start
    from keepworld_exporters.plan import Plan
    from keepworld_exporters.progress import Progress


COUNTED = ("frames", "splats", "triangles", "points", "depth_maps")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; gives its exit status: 0 done, 1 failed, 2 misused, 130 by Ctrl-C, 143 by SIGTERM."""
    arguments = parser_of_exports().parse_args(argv)
    # Numba's default threads spin when the machine is busy; these wait. It is read when numba is first imported.
    os.environ.setdefault("NUMBA_THREADING_LAYER", "workqueue")
    plan: Plan | None = None
    interruption = Interruption()
    try:
        from keepworld_exporters.dataset import make_dataset
        from keepworld_exporters.expect import expect
        from keepworld_exporters.export import export
        from keepworld_exporters.ingest.prepare import prepared

        dataset = dataset_of(arguments)
        plan = None if dataset else plan_of(arguments)
        wanted = wanted_of(arguments)
        if plan is not None and arguments.estimate:
            _tell_estimate(expect(arguments.source, wanted, plan), as_json=arguments.json)
            return 0
        told = _Told(_teller(arguments.progress))
        with (
            interruption.between_steps(told) as tell,
            prepared(arguments.source, wanted, tell) as ready,
        ):
            if dataset:
                content = make_dataset(ready.capture, dataset, ready.told, on_progress=ready.tell)
            else:
                assert plan is not None
                plan = replace(plan, told=ready.told)
                starter = _starter(arguments.progress, told)
                content = export(
                    ready.capture, plan, on_progress=ready.tell, on_start=starter, before=ready.before
                )  # fmt: skip
    except KeyboardInterrupt:
        resumed = "; the same command goes on with the training" if plan is not None and plan.trained_as else ""
        print(f"\nkeepworld-export: interrupted; no half-written file is left{resumed}", file=sys.stderr)
        return 128 + interruption.number
    except ImportError as error:
        print(f"keepworld-export: {error}; install what exports need: pip install 'keepworld[export]'", file=sys.stderr)
        return 1
    except UsageError as error:
        print(f"keepworld-export: {error}\ntry: keepworld-export --help", file=sys.stderr)
        return 2
    except (KeepworldError, OSError, MemoryError) as error:
        print(f"keepworld-export: {error or 'out of memory; try a larger --voxel'}", file=sys.stderr)
        return 1
    report = None if plan is None else plan.report
    if arguments.json:
        print(json.dumps(_finite(_summary(content, report))))
    else:
        _tell_result(content, report)
    return 0


class _Told:
    """Tells progress on, and knows how far it was: a source may have been prepared before the export began."""

    def __init__(self, tell: Callable[[Progress], None]) -> None:
        self.share = 0.0
        self._tell = tell

    def __call__(self, progress: Progress) -> None:
        self.share = progress.share
        self._tell(progress)


def _starter(choice: str | None, told: _Told) -> Callable[[Start, tuple[Path, ...]], None]:
    """What to say before the work begins."""

    def tell(start: Start, kept: tuple[Path, ...]) -> None:
        if choice == "json":
            expected = {
                "expected_s": round(start.expected.seconds, 1), "expected_bytes": start.expected.peak_bytes,
                "voxel": start.seen.resolution.voxel, "coarser": round(start.coarser, 3),
                "keeps": [str(path) for path in kept],
            }  # fmt: skip
            line = {"stage": "expected", "share": round(told.share, 4), "left_s": None, "memory_bytes": 0, **expected}
            print(json.dumps(line), file=sys.stderr, flush=True)
        elif choice == "bar" or (choice is None and sys.stderr.isatty()):
            print(f"this takes {start.expected.told()}", file=sys.stderr)
        if start.coarser > 1 and choice not in ("json", "none"):
            cells = (
                f"cells of {start.seen.resolution.voxel:g} instead of {start.seen.resolution.voxel / start.coarser:.2g}"
            )
            print(f"to fit into memory the mesh is made coarser: {cells}", file=sys.stderr)

    return tell


def _tell_estimate(expected: Expected, *, as_json: bool) -> None:
    estimate = expected.estimate
    if as_json:
        told = {"voxel": expected.voxel, "rings": expected.rings, "pace": expected.pace}
        print(json.dumps({"expected": estimate.asdict(), **told}))
        return
    for name, seconds in estimate.processor_s.items():
        print(f"  {name:10} {seconds:7.1f} s of a processor")
    cells = "" if expected.voxel is None else f"; cells of {expected.voxel:g}, {expected.rings} rings"
    print(f"{estimate.told()}, with nothing else running{cells}")


def _teller(choice: str | None) -> Callable[[Progress], None]:
    from keepworld_exporters.progress import bar, json_lines

    if choice == "json":
        return json_lines(sys.stderr)
    if choice == "bar" or (choice is None and sys.stderr.isatty()):
        return bar(sys.stderr)
    return lambda progress: None


def _summary(content: dict[str, object], report: Path | None) -> dict[str, object]:
    """What `--json` prints: the report's content without the figures of every single view."""
    files = content["files"]
    assert isinstance(files, dict)
    kept = ("metrics", "expected", "seconds", "processor_s", "peak_bytes", "pace", "coarser", "resumed", "holes")
    short = {name: {key: value for key, value in entry.items() if key != "heldout"} for name, entry in files.items()}
    return {
        "psnr": content["psnr"],
        "files": short,
        **{name: content[name] for name in kept if name in content},
        "manifest": content["manifest"],
        "report": None if report is None else str(report / "report.html"),
    }


def _finite(value: object) -> object:
    """A JSON value without NaN and infinity, which JSON does not know."""
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _tell_result(content: dict[str, object], report: Path | None) -> None:
    files, metrics = content["files"], content["metrics"]
    assert isinstance(files, dict) and isinstance(metrics, dict)
    for entry in files.values():
        counts = [f", {entry[kind]} {kind.replace('_', ' ')}" for kind in COUNTED if entry.get(kind)]
        print(f"{entry['path']}  {entry['bytes'] / 1e6:.1f} MB{''.join(counts)}")
    if report is not None:
        print(report / "report.html")
    told = []
    shown = "splats" if any("splats" in entry for entry in files.values()) else "mesh"
    if isinstance(metrics.get("psnr"), float):
        told.append(f"{shown} on held-out frames: {metrics['psnr']:.1f} dB")
    if shown == "splats" and isinstance(metrics.get("mesh_psnr"), float):
        told.append(f"mesh: {metrics['mesh_psnr']:.1f} dB")
    if isinstance(metrics.get("fscore"), float):
        told.append(f"mesh against the truth: F-score {metrics['fscore']:.3f} at {metrics['threshold']:g}")
    if told:
        print("; ".join(told))


if __name__ == "__main__":
    sys.exit(main())
