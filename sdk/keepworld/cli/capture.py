"""``keepworld capture``: one walk, described on the command line."""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from keepworld.capture import Capture
from keepworld.cli import OK, add_world_arguments, command_parser, print_json
from keepworld.motion import GRAMMAR
from keepworld.shots import Shot
from keepworld.sync import Client
from keepworld.timeline import PlannedEvent, Timeline

EXAMPLES = """\
  keepworld capture abbey --prompt "mossy ruined abbey, morning fog" --walk "forward 6s, look left 90deg, forward 4s"
  keepworld capture night --prompt "village by the sea" --walk "forward 8s" --event "2: night falls" --event "5: fireworks"
  keepworld capture storm --prompt "village by the sea" --walk "forward 12s" --events storm.json
      where storm.json is [{"text": "rain", "at": 2}, {"text": "night falls", "at": 6, "ramp": 3, "duration": 20}]
  keepworld capture more --prompt "the same abbey" --walk "forward 4s" --model worldplay-8b --continue abbey
  keepworld capture again --prompt "pine forest" --seed 7 --path transforms.json --mode fly
"""


def main(arguments: list[str]) -> int:
    """Walk through a world and keep every frame with its camera."""
    parser = command_parser(
        "capture",
        "Walk through a world and keep every frame with its camera, depth and masks. A connection that breaks on the way is "
        "taken up again; the capture has no gap.",
        examples=EXAMPLES,
    )
    parser.add_argument("folder", type=Path, help="where the capture goes; must be new or empty")
    add_world_arguments(parser, prompt=None)
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--walk", help=f"the way in words: {GRAMMAR}")
    way.add_argument(
        "--path", help="a file of cameras to follow: nerfstudio transforms.json, a JSON list of matrices, or a capture"
    )
    parser.add_argument("--frame", help="the convention the matrices of --path are in, such as opencv or blender")
    parser.add_argument(
        "--event",
        type=event,
        action="append",
        default=[],
        metavar="SECONDS:TEXT",
        help="something to happen on the way; repeatable",
    )
    parser.add_argument(
        "--events",
        type=Path,
        metavar="FILE",
        help="a timeline of them: a JSON or YAML list of {text, at or chunk, ramp, duration}",
    )
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--image", metavar="FILE", help="a PNG or JPEG file that the world begins with")
    start.add_argument(
        "--continue", dest="clip", metavar="CAPTURE", help="a capture whose frames the world goes on from"
    )
    parser.add_argument("--json", action="store_true", help="end with one JSON object about the capture")
    options = parser.parse_args(arguments)
    shot = Shot(
        name="capture",
        prompt=options.prompt,
        walk=options.walk,
        path=options.path,
        frame=options.frame,
        seed=random.randrange(2**31) if options.seed is None else options.seed,  # noqa: S311
        size=options.size,
        mode=options.mode,
        model=options.model,
        image=options.image,
        clip=options.clip,
        events=tuple(options.event),
        timeline=Timeline() if options.events is None else Timeline.load(options.events),
    )
    with Client(options.url) as client:
        report(shot.make(client, options.folder, progress=not options.json), as_json=options.json)
    return OK


def event(text: str) -> PlannedEvent:
    """Read "4.5: night falls"."""
    seconds, colon, words = text.partition(":")
    try:
        if not colon or not words.strip():
            raise ValueError(f"an event looks like '4.5: night falls', got {text!r}")
        return PlannedEvent(words.strip(), at=float(seconds))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def report(capture: Capture, *, as_json: bool) -> None:
    """Say what was captured."""
    about = capture.provenance
    if as_json:
        print_json({"folder": str(capture.folder), "frames": len(capture), "seed": about.seed, "prompt": about.prompt})
    else:
        print(f"{capture.folder}: {len(capture)} frames {about.width}x{about.height}, seed {about.seed}")
        print(f"next: keepworld export {capture.folder} {capture.folder}-3d")
