"""``keepworld demo``: the whole line once. A server, a world from words, a walk with an event, and what is kept of it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from keepworld.cli import OK, command_parser, print_json, size
from keepworld.cli.forward import check_installed
from keepworld.errors import KeepworldError
from keepworld.exported import Exported
from keepworld.shots import Shot
from keepworld.sync import Client
from keepworld.timeline import PlannedEvent

PROMPT = "meadow village with a windmill by a lake, summer morning"
# Straight out, a look round and the same way back: the last frames see the first ones' place again.
WALK = "forward 3s, right 1s, look left 50deg, look right 100deg, look left 50deg, left 1s, back 3s"
EVENT = PlannedEvent("a hot-air balloon rises over the hills", at=3.0, ramp=3.0)
EXAMPLES = """\
  keepworld demo
  keepworld demo dusk --prompt "snowy pine forest with a cabin, dusk" --seed 3
"""


def main(arguments: list[str]) -> int:
    """Do everything once, and say what came of it."""
    parser = command_parser(
        "demo", "Start a server, walk a world for ten seconds, keep it in 3D. About three minutes.", examples=EXAMPLES
    )
    parser.add_argument(
        "folder", type=Path, nargs="?", help="where everything goes (default: demo, or demo-2, demo-3 … if taken)"
    )
    parser.add_argument("--prompt", default=PROMPT, help="the world, in words (default: %(default)r)")
    parser.add_argument("--seed", type=int, default=1, help="which of the worlds of these words (default: %(default)s)")
    parser.add_argument("--size", type=size, default=(512, 288), help="frame size (default: 512x288)")
    parser.add_argument("--json", action="store_true", help="end with one JSON object instead of words")
    options = parser.parse_args(arguments)
    for module, extra in (("keepworld_runtime", "runtime"), ("keepworld_exporters", "export")):
        check_installed(module, extra=extra)
    folder = options.folder or free_folder("demo")
    shot = Shot(name="demo", prompt=options.prompt, seed=options.seed, size=options.size, walk=WALK, events=(EVENT,))
    exported = keep(shot, folder, quiet=options.json)
    if options.json:
        print_json(
            {"folder": str(folder), "files": [str(path) for path in exported.paths], "metrics": exported.metrics}
        )
    return OK


def keep(shot: Shot, folder: Path, *, quiet: bool) -> Exported:
    """Walk a shot and export it into `folder`, telling the story on the way."""
    started = time.monotonic()

    def say(text: str) -> None:
        if not quiet:
            print(text, flush=True)

    folder.mkdir(parents=True, exist_ok=True)
    say("1/4  starting a server: a process of its own on this machine")
    with Client(progress=not quiet) as client:
        say(f"     listening on {client.address}")
        say(f"2/4  walking {shot.prompt!r}, seed {shot.seed}: {shot.walk}")
        say(f"     and {shot.events[0].at:g} s in: {shot.events[0].text!r}")
        capture = shot.make(client, folder / "capture", progress=not quiet)
    about = capture.provenance
    say(f"     {len(capture)} frames {about.width}x{about.height}; words used: {', '.join(about.used)}")
    if about.ignored:
        say(f"     words not understood: {', '.join(about.ignored)}")
    with tempfile.TemporaryDirectory() as scratch:
        truth = Path(scratch) / "truth.ply"
        say("3/4  writing the world's true surface, to measure against")
        _run_truth(capture.folder, truth)
        say("4/4  exporting: video, point cloud, mesh, splats, report")
        exported = capture.export(folder, truth=truth, progress=not quiet)
    say(f"\ndone in {time.monotonic() - started:.0f} s")
    for path in (*exported.paths, folder / "report.html"):
        say(f"  {path}  {path.stat().st_size / 1e6:.1f} MB")
    say(_fidelity(exported))
    say(
        f"\ntry next:\n"
        f"  xdg-open {folder / 'report.html'}\n"
        f'  keepworld capture my-walk --prompt "snowy pine forest with a cabin, dusk" --walk "forward 6s, look left 60deg"\n'
        f"  keepworld export my-walk my-walk-3d"
    )
    return exported


def free_folder(name: str) -> Path:
    """The first of name, name-2, name-3 … that is not taken."""
    number = 1
    while (folder := Path(name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    return folder


def _run_truth(capture: Path, target: Path) -> None:
    command = [sys.executable, "-m", "keepworld_runtime.truth", str(capture), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise KeepworldError(f"writing the true surface failed: {done.stderr.strip()}")


def _fidelity(exported: Exported) -> str:
    """One line of the figures a reader looks for first."""
    names = {"fscore": "mesh F-score at 5 cm", "psnr": "splat PSNR on held-out frames"}
    figures = [
        f"{title} {exported.metrics[name]:.2f}"
        for name, title in names.items()
        if exported.metrics.get(name) is not None
    ]
    return "  measured on the written files: " + ", ".join(figures) if figures else ""
