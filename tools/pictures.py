"""Makes the pictures of docs/ with the diorama and from the table of conventions.

python tools/pictures.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keepworld as kw
import numpy as np
from keepworld.camera import CONVENTIONS
from numpy.typing import NDArray
from PIL import Image

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "pictures"
SIZE = (400, 224)
GAP = 6
Picture = NDArray[np.uint8]


def row(*pictures: Picture) -> Picture:
    """Pictures side by side."""
    gap = np.full((pictures[0].shape[0], GAP, 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (picture, gap)]
    return np.concatenate(parts[:-1], axis=1)


def keep(name: str, picture: Picture) -> None:
    """Write a picture as a JPEG of moderate size."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(FOLDER / name, quality=85, optimize=True, progressive=True)
    print(FOLDER / name)


def last(session: kw.Session, walk: str) -> kw.Frame:
    """What is seen at the end of a walk, with depth."""
    return list(session.stream(walk, depth=True, pace="fast"))[-1].frames[-1]


def events(client: kw.Client) -> Picture:
    """One place under three events."""
    pictures = []
    for event in (None, "a thunderstorm rolls in", "night falls"):
        with client.sessions.open("a village with a windmill by a lake, summer", seed=7, size=SIZE) as session:
            if event:
                session.event(event, ramp=0.5)
            pictures.append(last(session, "forward 2s").image)
    return row(*pictures)


def frame(client: kw.Client) -> Picture:
    """A frame, its depth and its labels."""
    with client.sessions.open("ruined abbey in a meadow, noon", seed=42, size=SIZE) as session:
        session.event("a hot-air balloon rises over the hills", ramp=0.5)
        seen = last(session, "forward 2s")
    assert seen.depth is not None and seen.sky is not None and seen.moving is not None
    near = np.where(seen.depth > 0, 1 / np.maximum(seen.depth, 1), 0)
    grey = (255 * np.clip(near / np.quantile(near, 0.98), 0, 1) ** 0.6).astype(np.uint8)
    labels = np.full((*grey.shape, 3), (118, 153, 84), np.uint8)
    labels[seen.sky] = (150, 190, 230)
    labels[seen.moving] = (214, 84, 62)
    return row(seen.image, np.repeat(grey[..., None], 3, axis=2), labels)


def branches(client: kw.Client) -> Picture:
    """A crossroads, and two ways on from it."""
    with client.sessions.open("village by the sea, sunset", seed=3, size=SIZE) as session:
        middle = last(session, "forward 2s").image
        with session.branch() as other:
            left = last(other, "look left 45deg, forward 1s").image
        right = last(session, "look right 45deg, forward 1s").image
    return row(left, middle, right)


def axes() -> str:
    """The axes of every program's world, drawn: right, up and away from the reader as one sees them."""
    shown = {
        "opencv": "keepworld, OpenCV",
        "unity": "Unity",
        "unreal": "Unreal",
        "gltf": "glTF, Godot",
        "blender": "Blender",
    }
    side, colours, letters = 150, ("#d6543e", "#4b8b3b", "#2f6fb5"), "xyz"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side * len(shown)} 196" font-family="sans-serif">',
        f'<rect width="{side * len(shown)}" height="196" fill="#ffffff"/>',
    ]
    for number, (name, title) in enumerate(shown.items()):
        there = CONVENTIONS[name]
        x0, y0 = side * number + side / 2 - 8, 76.0
        for axis in np.argsort([-there.world[i][2] for i in range(3)]):  # what points away is drawn first
            right, down, forward = there.world[axis]
            dx, dy = 46 * right + 34 * forward, 46 * down - 26 * forward
            x1, y1 = x0 + dx, y0 + dy
            length = np.hypot(dx, dy)
            ux, uy = dx / length, dy / length
            head = f"{x1 + 9 * ux:.1f},{y1 + 9 * uy:.1f} {x1 - 5 * uy:.1f},{y1 + 5 * ux:.1f} {x1 + 5 * uy:.1f},{y1 - 5 * ux:.1f}"
            parts += [
                f'<line x1="{x0}" y1="{y0}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="{colours[axis]}" stroke-width="4"/>',
                f'<polygon points="{head}" fill="{colours[axis]}"/>',
                f'<text x="{x1 + 18 * ux:.1f}" y="{y1 + 18 * uy + 5:.1f}" font-size="15" text-anchor="middle" '
                f'fill="{colours[axis]}">{letters[axis]}</text>',
            ]
        unit = "centimetres" if there.scale == 100 else "metres"
        parts += [
            f'<text x="{side * number + side / 2}" y="168" font-size="14" font-weight="bold" text-anchor="middle">{title}</text>',
            f'<text x="{side * number + side / 2}" y="186" font-size="12" text-anchor="middle" fill="#555">'
            f"{'left' if there.left_handed else 'right'}-handed, {unit}</text>",
        ]
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    """Make all of them, or the axes alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--axes", action="store_true", help="only those that need no server")
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "axes.svg").write_text(axes())
    if options.axes:
        return
    with kw.Client(progress=True) as client:
        keep("events.jpg", events(client))
        keep("frame.jpg", frame(client))
        keep("branches.jpg", branches(client))


if __name__ == "__main__":
    main()
