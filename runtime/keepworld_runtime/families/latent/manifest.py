"""Sizes and hashes of a checkpoint's files, kept beside them in `manifest.json`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from keepworld.files import write_atomically

NAME = "manifest.json"
_FORMAT = 1
_PIECE = 1 << 22

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Entry:
    """A file as it should be."""

    num_bytes: int
    sha256: str


def sha256_of(path: Path, progress: Progress = lambda count: None) -> str:
    """The sha256 of a file, in hexadecimal; `progress` is told of every so many bytes read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
            progress(len(piece))
    return digest.hexdigest()


def read_manifest(folder: Path) -> dict[str, Entry]:
    """The entries of a folder's manifest by path from the folder, none if it has no manifest.

    Raises:
        ValueError: it is not one, or a path leads out of the folder.
    """
    path = folder / NAME
    if not path.exists():
        return {}
    try:
        told = json.loads(path.read_bytes())
        entries = {str(name): Entry(int(row["bytes"]), str(row["sha256"])) for name, row in told["files"].items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is not a manifest of files, bytes and sha256: {error!r}") from error
    for name in entries:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise ValueError(f"{path} names {name}, which is not within its folder")
    return entries


def hash_of_all(folder: Path | None) -> str:
    """One sha256 over what a folder's manifest says of its files, in hexadecimal; "" where there is none.

    Raises:
        ValueError: the manifest is none.
    """
    entries = {} if folder is None else read_manifest(folder)
    lines = "".join(f"{entry.sha256}  {name}\n" for name, entry in sorted(entries.items()))
    return hashlib.sha256(lines.encode()).hexdigest() if entries else ""


def write_manifest(folder: Path, entries: dict[str, Entry]) -> None:
    """Write a folder's manifest, whole or not at all."""
    files = {name: {"bytes": entry.num_bytes, "sha256": entry.sha256} for name, entry in sorted(entries.items())}
    content = json.dumps({"format": _FORMAT, "files": files}, indent=2)
    write_atomically(folder / NAME, content.encode())


def entry_of(path: Path, progress: Progress = lambda count: None) -> Entry:
    """A file as it is."""
    return Entry(path.stat().st_size, sha256_of(path, progress))


def changed(folder: Path, names: Iterable[str], progress: Progress = lambda count: None) -> list[str]:
    """What of the manifest is not so any more, a line a file; files that it does not know yet are added to it.

    Args:
        folder: the checkpoint.
        names: paths from the folder; those of the manifest are looked at too.
        progress: is told of every so many bytes read.
    """
    known = read_manifest(folder)
    problems, has_new = [], False
    for name in sorted({*names, *known}):
        path, wanted = folder / name, known.get(name)
        if not path.is_file():
            problems.append(f"{name} is missing")
        elif wanted is None:
            known[name], has_new = entry_of(path, progress), True
        elif path.stat().st_size != wanted.num_bytes:
            problems.append(f"{name} has {path.stat().st_size} bytes, not {wanted.num_bytes}")
        elif sha256_of(path, progress) != wanted.sha256:
            problems.append(f"{name} has another sha256 than {wanted.sha256[:12]}…")
    if has_new:
        write_manifest(folder, known)
    return problems
