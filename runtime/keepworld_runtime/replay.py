"""A kept walk made again: every chunk from what it was made from, every frame compared with the checksum that it had."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from keepworld_runtime.families import FAMILIES, Chosen
from keepworld_runtime.families.family import Family, FamilyOptions, Place
from keepworld_runtime.journal import file, record, specs
from keepworld_runtime.journal.blobs import MemoryBlobs

_MAX_BYTES = 8 << 30  # of what a file holds


@dataclass(frozen=True, kw_only=True, slots=True)
class Replayed:
    """What came of it.

    Attributes:
        chunks, frames: how many were made again.
        different: the numbers of the frames that are not as they were, from 0.
        is_whole: whether the file had its end.
    """

    chunks: int
    frames: int
    different: tuple[int, ...]
    is_whole: bool


def replay(path: Path, find: Callable[[str], Family], *, num_threads: int = 1) -> Replayed:
    """Make a walk again.

    Args:
        path: the .kwj file.
        find: gives the family of a name, or raises ValueError.
        num_threads: to draw with.

    Raises:
        ValueError: it is not such a file, or of a family that is not here in that version.
    """
    blobs = MemoryBlobs(_MAX_BYTES)
    with path.open("rb") as source:
        walk = file.read(source, blobs)
    origin = specs.decode(walk.origin, blobs)
    family = find(origin.family)
    if family.capabilities.version != origin.version:
        raise ValueError(f"the walk is of {origin.family} {origin.version}, this is {family.capabilities.version}")
    world = family.load(Place(num_threads=num_threads)).open(origin.spec)
    num_frames, different = 0, []
    for body in walk.bodies:
        kept = record.decode(body)
        for frame, checksum in zip(world.next_chunk(kept.begun.request(blobs)), kept.frames, strict=True):
            if record.checksum(frame) != checksum:
                different.append(num_frames)
            num_frames += 1
    return Replayed(chunks=len(walk.bodies), frames=num_frames, different=tuple(different), is_whole=walk.is_whole)


def main() -> int:
    """Run `python -m keepworld_runtime.replay`; 0: all as it was, 1: not, or it could not be tried."""
    parser = argparse.ArgumentParser(
        prog="keepworld replay",
        description=__doc__,
        epilog="A file that was cut off is made again up to its last whole chunk.\n\nexample:\n  keepworld replay abbey.kwj",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="FILE.kwj", help="a walk, as GetJournal gives it")
    parser.add_argument("--threads", type=int, default=1, help="to draw with (1)")
    parser.add_argument("--json", action="store_true", help="say what came of it as one JSON object")
    parser.add_argument("--family", default="", metavar="NAME=MODULE", help="a family from elsewhere")
    parser.add_argument("--checkpoint", type=Path, metavar="DIR", help="the weights of a learned family")
    parser.add_argument("--variant", help="which of its weights")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (auto)")
    arguments = parser.parse_args()
    elsewhere, _, module = arguments.family.partition("=")
    options = FamilyOptions(checkpoint=arguments.checkpoint, variant=arguments.variant, device=arguments.device)

    def find(name: str) -> Family:
        modules = {**FAMILIES, elsewhere: module}
        if name not in modules:
            raise ValueError(f"unknown family {name[:64]!r}; known: {', '.join(FAMILIES)}")
        return Chosen(module=modules[name], options=options).make()

    try:
        done = replay(arguments.file, find, num_threads=arguments.threads)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        told = {"chunks": done.chunks, "frames": done.frames, "different": done.different, "whole": done.is_whole}
        print(json.dumps(told))
    else:
        verdict = (
            f"{len(done.different)} are different, the first is {done.different[0]}"
            if done.different
            else "all as they were"
        )
        cut = "" if done.is_whole else "; the file is cut off after that"
        print(f"{arguments.file}: {done.chunks} chunks, {done.frames} frames made again, {verdict}{cut}")
    return 1 if done.different else 0


if __name__ == "__main__":
    sys.exit(main())
