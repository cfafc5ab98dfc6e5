"""What a command line says of a source, and what is to be done with it before it is exported."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from keepworld.camera import CONVENTIONS, Units

from keepworld_exporters.stages.quality import LEVELS

if TYPE_CHECKING:
    from keepworld_exporters.ingest.wanted import Wanted

SOURCES = """\
SOURCE is any of these; which one it is, is found out:

  a capture                    as `keepworld capture` makes them
  a nerfstudio data set        a folder with transforms.json, or that file: lenses, masks, depth, applied_transform
  a COLMAP model               a folder with cameras and images, .bin or .txt, itself or in sparse/0; pictures in images/
  pictures, or a video         with --cameras FILE; without, the cameras are found from the pictures (minutes)

Pictures through lenses that bend are straightened, and cut so that every pixel has a value. Cameras that are not exact are
moved to fit their pictures, and frames that show something else than the rest are left out; the report says what was done.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that speak of a source."""
    source = parser.add_argument_group("pictures from elsewhere")
    source.add_argument(
        "--cameras", type=Path, metavar="FILE",
        help="cameras of a folder of pictures or a video: .cameras.json, transforms.json, a TUM .txt, a COLMAP folder",
    )  # fmt: skip
    source.add_argument("--images", type=Path, metavar="FOLDER", help="where the pictures of a COLMAP model lie")
    source.add_argument(
        "--axes", choices=CONVENTIONS, help="the convention of transforms.json's matrices (default: nerfstudio's)"
    )
    source.add_argument(
        "--fov",
        type=_degrees,
        metavar="DEG",
        help="what pictures see from left to right (default: from EXIF, or guessed)",
    )
    source.add_argument(
        "--units", choices=[str(unit) for unit in Units], default=str(Units.MODEL),
        help="what a unit of the given cameras is (default: model, which means unknown)",
    )  # fmt: skip
    source.add_argument(
        "--max-side",
        type=int,
        default=960,
        metavar="PIXELS",
        help="make larger pictures smaller; 0: none (default: 960)",
    )
    cameras = parser.add_argument_group("cameras, frames and scale")
    cameras.add_argument(
        "--refine", choices=("auto", "on", "off"), default="auto",
        help="move cameras to fit their pictures (default: auto, where they are not exact and do not fit)",
    )  # fmt: skip
    cameras.add_argument(
        "--quality", choices=LEVELS, default="normal",
        help="leave out frames that do not show what the others show (default: normal); exact cameras are not judged",
    )  # fmt: skip
    cameras.add_argument(
        "--known-distance", nargs=3, metavar=("A", "B", "METRES"),
        help="how far apart two places are, each FRAME (its camera's) or FRAME:U,V (what its pixel shows)",
    )  # fmt: skip
    cameras.add_argument(
        "--camera-height", type=_length, metavar="M", help="how high above the ground the camera was held, metres"
    )
    cameras.add_argument(
        "--upright", action="store_true", help="turn the world so that up is up, its origin on the ground"
    )


def wanted(arguments: argparse.Namespace) -> Wanted:
    """What the flags ask for.

    Raises:
        ValueError: they make no sense together.
    """
    from keepworld_exporters.ingest.sources import Asked
    from keepworld_exporters.ingest.wanted import Wanted
    from keepworld_exporters.stages.scale import parse_mark

    distance = None
    if arguments.known_distance:
        a, b, metres = arguments.known_distance
        try:
            distance = (parse_mark(a), parse_mark(b), _length(metres))
        except (ValueError, argparse.ArgumentTypeError) as error:
            raise ValueError(f"--known-distance: {error}") from error
    return Wanted(
        asked=Asked(
            cameras=arguments.cameras, images=arguments.images, axes=arguments.axes, fov=arguments.fov,
            units=Units(arguments.units), max_side=arguments.max_side,
        ),
        refine=arguments.refine, quality=arguments.quality, distance=distance, height=arguments.camera_height,
        upright=arguments.upright,
    )  # fmt: skip


def _length(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"must be a length above 0, got {text!r}")
    return value


def _degrees(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 1 <= value <= 170:
        raise argparse.ArgumentTypeError(f"must be 1 to 170 degrees, got {text!r}")
    return value
