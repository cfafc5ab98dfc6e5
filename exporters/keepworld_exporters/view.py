"""``keepworld view``: files of a scene, and walks, as a picture or as what the viewer's page loads."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from keepworld.errors import KeepworldError
from keepworld.files import write_atomically

MAX_SIDE = 4096
MAX_FILES = 16
EXAMPLES = """\
examples:
  keepworld view scene.splat.ply                       in the browser
  keepworld view scene.splat.ply scene.glb walk        splats, a mesh and a walk's cameras in one space
  keepworld view scene.spz --png scene.png             a picture, without a screen
  keepworld view scene.glb walk --png first.png --camera 0     as the walk's first frame saw it

FILE is anything that `keepworld export` and `keepworld convert` write or read: splats, meshes, point clouds, camera
files, COLMAP models and captures.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; gives its exit status: 0 done, 1 failed, 2 misused."""
    arguments = _parser().parse_args(argv)
    if len(arguments.files) > MAX_FILES:
        print(f"keepworld view: at most {MAX_FILES} files are shown together", file=sys.stderr)
        return 2
    try:
        from keepworld_exporters.view_scene import load, prepare, render

        shown = [load(path) for path in arguments.files]
        if arguments.png is not None:
            write_atomically(arguments.png, render(shown, arguments.size, arguments.camera))
            print(arguments.png)
        else:
            print(json.dumps(prepare(shown, arguments.prepare)))
    except ImportError as error:
        print(f"keepworld view: {error}; install what it needs: pip install 'keepworld[export]'", file=sys.stderr)
        return 1
    except (KeepworldError, ValueError, OSError, MemoryError) as error:
        print(f"keepworld view: {error or 'out of memory'}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="keepworld view",
        description="Draw files of a scene without a screen, or make them ready for the viewer's page.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="a scene's file, cameras, or a capture")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--png", type=Path, metavar="OUT", help="write a picture; several files side by side")
    what.add_argument("--prepare", type=Path, metavar="FOLDER", help="write what the viewer's page loads")
    parser.add_argument("--size", type=_size, default=(960, 540), metavar="WxH", help="of each picture (960x540)")
    parser.add_argument(
        "--camera", type=int, metavar="N", help="look through the N-th camera of the walk among the files, from 0"
    )
    return parser


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and all(16 <= int(side) <= MAX_SIDE for side in (width, height))):
        raise argparse.ArgumentTypeError(f"a size looks like 960x540, from 16 to {MAX_SIDE} each, got {text!r}")
    return int(width), int(height)


if __name__ == "__main__":
    sys.exit(main())
