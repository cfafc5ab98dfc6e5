"""From one walk to the files of each program: export once, then convert, with axes and units that the program expects.

    python examples/07_formats.py out                 a short walk, then out/abbey.* and out/unity, out/unreal, out/blender, ...
    python examples/07_formats.py out --capture walk  of a capture that there is already

Shows `Capture.export`, ``keepworld convert --profile``, and the manifest that says what was done to each file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import keepworld as kw

PROFILES = ("unity", "unreal", "blender", "godot", "web", "houdini")


def main() -> None:
    options = arguments()
    capture = kw.Capture(options.capture) if options.capture else walk(options)
    exported = capture.export(options.out / "abbey.splat.ply", options.out / "abbey.glb", progress=True)
    for path in exported.paths:
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB, in the session's own axes or its format's")
        for profile in options.programs:
            print(f"  {profile}: {convert(path, options.out / profile, profile)}")


def walk(options: argparse.Namespace) -> kw.Capture:
    with (
        kw.Client(progress=True) as client,  # KEEPWORLD_URL, or a server of its own
        client.sessions.open("ruined abbey in a meadow", seed=42, size=options.size) as session,
    ):
        session.steer(options.walk)
        return session.capture(options.out / "walk")


def convert(path: Path, folder: Path, profile: str) -> str:
    """Convert a file for a program; gives what was made of it."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "keepworld.cli", "convert", path, f"{folder}/", "--profile", profile, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return done.stderr.strip()
    said = json.loads(done.stdout.splitlines()[-1])
    return f"{Path(said['path']).name}, {said['bytes'] / 1e6:.2f} MB, {said['manifest']['axes']}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="a new folder")
    parser.add_argument("--capture", type=Path, help="a capture to use instead of walking")
    parser.add_argument("--walk", default="forward 3s, look left 60deg", help="in motion words")
    parser.add_argument("--for", dest="programs", nargs="+", default=PROFILES, choices=PROFILES, help="which programs")
    parser.add_argument("--size", type=lambda text: tuple(map(int, text.split("x"))), default=(512, 288))
    return parser.parse_args()


if __name__ == "__main__":
    main()
