"""What each file of an export is to hold, from its name, and the usual set of files for a folder."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from keepworld_exporters.formats import FORMATS, VIDEO, suffix_of
from keepworld_exporters.profiles import PROFILES

MESH, COLLIDER, HULLS = "mesh", "collider", "hulls"
PLAIN, SPLATS = ".ply", ".splat.ply"  # what trainers of splats write is called .ply, and nothing more
_LEVEL = re.compile(r"\.lod([1-9])$", re.IGNORECASE)
_LEVELS = (1, 2, 3)  # of a folder's usual set


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """A file to write.

    Attributes:
        path: where.
        suffix: one of `keepworld_exporters.formats.SUFFIXES`.
        part: what it holds: "splats", "points", "mesh", "collider", "hulls", "lod1" and so on, or "video".
    """

    path: Path
    suffix: str
    part: str

    @property
    def level(self) -> int:
        """Of detail, 0 for what has none."""
        return int(self.part[3:]) if self.part.startswith("lod") else 0


def output_of(path: Path) -> Output:
    """What a name asks for; a plain ``.ply`` asks for splats.

    Raises:
        ValueError: it says nothing.
    """
    suffix = _suffix(path.name)
    part = "video" if suffix == VIDEO else FORMATS[suffix].holds
    if part == MESH:
        stem = path.name[: -len(suffix)]
        level = _LEVEL.search(stem)
        if level:
            part = f"lod{level[1]}"
        elif stem.lower().endswith((f".{COLLIDER}", f".{HULLS}")):
            part = stem.lower().rpartition(".")[2]
    return Output(path=path, suffix=suffix, part=part)


def _suffix(name: str) -> str:
    try:
        return suffix_of(name)
    except ValueError:
        if name.lower().endswith(PLAIN) and len(name) > len(PLAIN):
            return SPLATS
        raise


def outputs_of(paths: Iterable[Path]) -> tuple[Output, ...]:
    """What names ask for, in order."""
    return tuple(output_of(path) for path in paths)


def usual_names(profile: str | None, *, engine: bool) -> tuple[str, ...]:
    """The files of a folder: splats, points, a mesh and a film, in the formats of a profile.

    Args:
        profile: one of `PROFILES`, or None.
        engine: whether levels of detail and a collider belong to it.
    """
    suffixes = {"splats": ".splat.ply", "points": ".points.ply", "mesh": ".glb"}
    if profile is not None:
        suffixes |= PROFILES[profile].suffixes
    mesh = suffixes["mesh"]
    names = [f"walk{VIDEO}", f"scene{suffixes['points']}", f"scene{mesh}", f"scene{suffixes['splats']}"]
    if engine:
        names += [f"scene.lod{level}{mesh}" for level in _LEVELS] + [f"scene.{COLLIDER}{mesh}"]
    return tuple(names)
