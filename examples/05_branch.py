"""Go back, go on another way, keep both: worlds are journals of chunks, so nothing that was walked is lost.

    python examples/05_branch.py out                  writes out/left.png and out/right.png, from the same crossroads

Shows `undo`, `branch`, `snapshot`, `open(snapshot=...)`, and that the same walk again gives the same pixels.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keepworld as kw
import numpy as np
from keepworld import png


def last_image(session: kw.Session, walk: str) -> np.ndarray:
    """Walk, and give what is seen at the end, [H, W, 3]."""
    chunks = list(session.stream(walk, pace="fast"))
    return chunks[-1].frames[-1].image


def main() -> None:
    options = arguments()
    with kw.Client(progress=True) as client:  # KEEPWORLD_URL, or a server of its own
        session = client.sessions.open("pine forest with a river, autumn", seed=11, size=options.size)
        session.steer("forward 2s")
        crossroads = session.snapshot("crossroads")
        print(f"kept after {crossroads.chunks} chunks: {crossroads.name}")

        right = last_image(session, "look right 40deg")
        session.undo(1)  # the last chunk never happened; what was undone stays on the server, as a line of its own
        instead = last_image(session, "look right 40deg")
        print(f"undone and walked again: {'the same pixels' if np.array_equal(instead, right) else 'another view'}")

        with client.sessions.open(snapshot=crossroads) as other:  # as often as one likes, and after a restart too
            left = last_image(other, "look left 40deg")
            with other.branch() as twin:  # two walks that share what they have in common
                same = last_image(twin, "forward 1s"), last_image(other, "forward 1s")
                print(f"two walks the same way: {'the same pixels' if np.array_equal(*same) else 'different'}")

        keep(options.out / "left.png", left)
        keep(options.out / "right.png", right)
        for snapshot in client.snapshots():
            print(f"on the server: {snapshot.name or snapshot.id}, {snapshot.chunks} chunks")
        client.delete_snapshot(crossroads)


def keep(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png.encode(image))
    print(path)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="a folder for two pictures")
    parser.add_argument("--size", type=lambda text: tuple(map(int, text.split("x"))), default=(512, 288))
    return parser.parse_args()


if __name__ == "__main__":
    main()
