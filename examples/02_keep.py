"""Keep a world: walk it in words, have something happen, take it home as splats and a mesh.

    python examples/02_keep.py out             writes out/capture, out/abbey.splat.ply, out/abbey.glb, out/report.html

Shows the calls without async: `open`, `steer`, `event`, `capture`, `export`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keepworld as kw


def main() -> None:
    options = arguments()
    client = kw.Client(progress=True)  # KEEPWORLD_URL, or a server of its own
    session = client.sessions.open("ruined abbey in a meadow, morning fog", seed=42, size=options.size, progress=True)
    print(f"{session.reading.used} were understood, {session.reading.ignored} were not")

    walk = session.steer(options.walk)
    print(f"walked {walk.seconds:.1f} s in {walk.wall_s:.1f} s")
    receipt = session.event("light the lanterns")
    print(f"the lanterns are lit from chunk {receipt.applies_to_chunk} on")
    session.steer("look left 30deg, look right 60deg")

    capture = session.capture(options.out / "capture")  # readable by nerfstudio as it lies there
    client.close()  # closes the session and ends the server
    print(capture)

    exported = capture.export(
        options.out / "abbey.splat.ply", options.out / "abbey.glb", report=options.out, progress=True
    )
    for path in exported.paths:
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    if "psnr" in exported.metrics:
        print(f"the splats on frames that were kept from them: {exported.metrics['psnr']:.1f} dB")


def arguments() -> argparse.Namespace:
    def size(text: str) -> tuple[int, int]:
        width, height = text.split("x")
        return int(width), int(height)

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?", default=Path("walk"), help="a new folder for everything")
    parser.add_argument("--walk", default="forward 6s, look left 90deg, forward 4s", help="in motion words")
    parser.add_argument("--size", type=size, default=(512, 288), help="of the frames, such as 256x144")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    return options


if __name__ == "__main__":
    main()
