"""What there is on disk of an operation."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from keepworld_runtime.serving.exports.operation import File

_HASHED_BYTES = 1 << 20


def files_in(folder: Path) -> tuple[File, ...]:
    """The files in a folder and those in it, by name, without hidden ones and links."""
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not path.is_file() or any(part.startswith(".") for part in name.split("/")):
            continue
        hasher = hashlib.sha256()
        with path.open("rb") as file:
            while part := file.read(_HASHED_BYTES):
                hasher.update(part)
        found.append(File(name=name, size=path.stat().st_size, sha256=hasher.hexdigest()))
    return tuple(found)


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder and those in it."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += path.lstat().st_size
    return total
