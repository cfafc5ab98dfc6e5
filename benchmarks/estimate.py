"""What exports were expected to take beside what they took: processor time and memory, by case and by stage.

    python benchmarks/estimate.py --work DIR                    every case; captures and figures are kept in DIR
    python benchmarks/estimate.py --work DIR --cases mid,sweep  some
    python benchmarks/estimate.py --work DIR --again            the figures of the last runs, beside what is expected now
    python benchmarks/estimate.py --work DIR --photos FOLDER    and those of photos: a nerfstudio data set with its images

A case runs in a process of its own. Of processor time the last column's is the whole process's, from its start, and its
children's; what another program does beside it counts little there. The machine's pace is as it was when the case ran.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keepworld.cli.bench import machine

PROMPT = "meadow village with a windmill by a lake, summer morning"
WALKS = {  # name -> size, and the way
    "small29": ("256x144", "forward 1s"),
    "small77": ("256x144", "forward 1.5s, look left 40deg, forward 0.5s"),
    "small109": ("256x144", "forward 2s, look left 60deg, forward 1.4s"),
    "mid": ("512x288", "forward 3s, look left 45deg, forward 1.2s"),
    "large": ("832x480", "forward 4s, look left 90deg, forward 4s, look right 60deg"),
}
PHOTOS, BARE = "photos", "bare"  # with cameras, and a few of them without
BARE_PHOTOS = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """An export: of which walk, to which files (none: a folder), with which flags."""

    source: str
    files: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


ENGINE = ("world.glb", "world.lod1.glb", "world.lod2.glb", "world.collider.glb", "world.hulls.glb")
CASES = {
    "small preview": Case(source="small29"),
    "small standard": Case(source="small109", flags=("--preset", "standard", "--steps", "150")),
    "small sweep": Case(source="small77", flags=("--depth", "sweep")),
    "small refined": Case(source="small29", flags=("--refine", "on")),
    "mid preview": Case(source="mid"),
    "mid standard": Case(source="mid", flags=("--preset", "standard", "--steps", "150")),
    "mid points": Case(source="mid", files=("world.points.ply",)),
    "mid splats": Case(source="mid", files=("world.splat.ply",)),
    "mid texture 4096": Case(source="mid", files=("world.glb",), flags=("--texture", "4096")),
    "mid for engines": Case(source="mid", files=ENGINE, flags=("--texture", "1024", "--normal-map", "--hulls", "16")),
    "large standard": Case(source="large", flags=("--preset", "standard", "--steps", "150")),
    "photos": Case(source=PHOTOS, flags=("--max-side", "240")),
    "bare photos": Case(source=BARE, flags=("--max-side", "240")),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="a folder for captures and figures")
    parser.add_argument("--cases", help=f"some of: {', '.join(CASES)} (default: all)")
    parser.add_argument("--photos", type=Path, help="a nerfstudio data set")
    parser.add_argument("--again", action="store_true", help="run nothing")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    names = [name.strip() for name in options.cases.split(",")] if options.cases else list(CASES)
    print(f"{machine()}, load {os.getloadavg()[0]:.1f}\n")
    rows = []
    for name in names:
        figures = options.work / f"{name.replace(' ', '-')}.json"
        case = CASES[name]
        source = None if options.again and not figures.exists() else source_of(case, options.work, options.photos)
        if source is None:
            continue
        if not options.again:
            figures.write_text(json.dumps(run(case, source, options.work / "out")))
        told = json.loads(figures.read_text())
        if options.again:
            told["expected"] = expected(case, source, options.work / "out", told["pace"])
        show(name, told)
        rows.append((name, told))
    print(f"\n{'':20}{'processor, s':>30}{'memory, MB':>30}")
    print(f"{'':20}" + 2 * f"{'expected':>11}{'measured':>11}{'ratio':>8}")
    for name, told in rows:
        wanted, most = told["expected"], max(told["peak_bytes"].values())
        work = row(sum(wanted["processor_s"].values()), told["process_s"])
        print(f"{name:20}{work}{row(wanted['peak_bytes'] / 1e6, most / 1e6)}")


def source_of(case: Case, work: Path, photos: Path | None) -> Path | None:
    """The case's capture, made if it is not there; None if it needs photos and there are none."""
    if case.source == PHOTOS:
        return photos
    folder = work / case.source
    if case.source == BARE:
        if photos is None:
            return None
        if not folder.exists():
            folder.mkdir()
            for path in sorted((photos / "images").iterdir())[:BARE_PHOTOS]:
                shutil.copy(path, folder)
        return folder
    if not folder.exists():
        size, way = WALKS[case.source]
        command = [sys.executable, "-m", "keepworld.cli", "capture", str(folder), "--prompt", PROMPT, "--seed", "7"]
        subprocess.run([*command, "--size", size, "--walk", way], check=True, stdout=sys.stderr)
    return folder


def words(case: Case, source: Path, out: Path) -> list[str]:
    """The command line of a case, after the program's name."""
    return [str(source), *(f"{out}/{name}" for name in case.files or ("",)), *case.flags]


def run(case: Case, source: Path, out: Path) -> dict[str, Any]:
    """Run a case; gives what ``--json`` tells, and what the whole process came to."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    before, began = os.times(), time.monotonic()
    command = [sys.executable, "-m", "keepworld_exporters", *words(case, source, out), "--json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    after = os.times()
    told = json.loads(done.stdout.splitlines()[-1])
    worked = after.children_user + after.children_system - before.children_user - before.children_system
    return {**told, "process_s": worked, "wall_s": time.monotonic() - began}


def expected(case: Case, source: Path, out: Path, pace: float) -> dict[str, Any]:
    """What is expected of a case now, on a machine of a pace."""
    command = [sys.executable, "-m", "keepworld_exporters", *words(case, source, out), "--json", "--estimate"]
    told = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])
    scale = pace / told["pace"]
    return {**told["expected"], "processor_s": {k: scale * s for k, s in told["expected"]["processor_s"].items()}}


def show(name: str, told: Mapping[str, Any]) -> None:
    """Print a case by its stages; what the process took outside of them, loading the program above all, counts as looking."""
    wanted, bytes_wanted = told["expected"]["processor_s"], told["expected"]["stage_bytes"]
    worked, held = dict(told["processor_s"]), told["peak_bytes"]
    worked["look"] = told["process_s"] - sum(seconds for stage, seconds in worked.items() if stage != "look")
    print(f"{name}: pace {told['pace']}, {told['wall_s']:.0f} s by the clock")
    for stage in dict.fromkeys([*wanted, *worked]):
        memory = row(bytes_wanted.get(stage, 0) / 1e6, held[stage] / 1e6) if stage in held else ""
        print(f"  {stage:18}{row(wanted.get(stage, 0), worked.get(stage, 0))}{memory}")
    sys.stdout.flush()


def row(wanted: float, measured: float) -> str:
    """Expected, measured, and their ratio."""
    ratio = f"{wanted / measured:8.2f}" if measured > 0.05 else f"{'':8}"
    return f"{wanted:11.1f}{measured:11.1f}{ratio}"


if __name__ == "__main__":
    main()
