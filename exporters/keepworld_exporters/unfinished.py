"""What an export has made so far, kept beside its files: killed, it goes on from there when it is asked for the same again."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import shutil
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType
from typing import TypeVar, cast

import numpy as np
from keepworld.errors import ExportError
from keepworld.files import write_atomically
from numpy.typing import NDArray

from keepworld_exporters.memory import available

T = TypeVar("T")
_NAME = ".keepworld-unfinished"


class Unfinished:
    """Results of stages in a folder that is there while an export runs.

    Args:
        beside: the folder of the export's files.
        what: everything that the results depend on; those of anything else are thrown away.
    """

    def __init__(self, beside: Path, what: Mapping[str, object]) -> None:
        self.key = hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()
        self.folder = beside / f"{_NAME}-{self.key[:12]}"
        self.resumed: list[str] = []

    def keep(self, name: str, kind: type[T], make: Callable[[], T]) -> T:
        """Give what an earlier run kept under a name, or else make and keep it: a dataclass of arrays and numbers."""
        path = self.folder / f"{name}.npz"
        if path.exists():
            try:
                with np.load(path, allow_pickle=False) as arrays:
                    found = _build(kind, arrays)
            except (ValueError, KeyError, OSError, TypeError, EOFError):
                path.unlink()  # cut off by something worse than a kill: it is made again
            else:
                self.resumed.append(name)
                return found
        made = make()
        flat = _flatten(made)
        if sum(array.nbytes for array in flat.values()) < available() // 4:
            file = io.BytesIO()
            np.savez(file, **flat)  # type: ignore[arg-type]
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(path, file.getvalue())
        return made

    def forget(self) -> None:
        """Remove all of it."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _flatten(value: object, prefix: str = "") -> dict[str, NDArray[np.generic]]:
    out: dict[str, NDArray[np.generic]] = {}
    for field in dataclasses.fields(cast("typing.Any", value)):
        part = getattr(value, field.name)
        if dataclasses.is_dataclass(part):
            out |= _flatten(part, f"{prefix}{field.name}.")
        elif part is not None:
            out[prefix + field.name] = np.asarray(part)
    return out


def _build(kind: type[T], arrays: Mapping[str, NDArray[np.generic]], prefix: str = "") -> T:
    hints = typing.get_type_hints(kind)
    values: dict[str, object] = {}
    for field in dataclasses.fields(cast("typing.Any", kind)):
        name, wanted = prefix + field.name, hints[field.name]
        choices = typing.get_args(wanted)
        if dataclasses.is_dataclass(wanted):
            values[field.name] = _build(cast("type[object]", wanted), arrays, f"{name}.")
        elif name not in arrays and NoneType in choices:
            values[field.name] = None
        elif wanted in (int, float, bool):
            values[field.name] = wanted(arrays[name][()])
        else:
            values[field.name] = arrays[name]
    return kind(**values)


def capture_digest(folder: Path) -> str:
    """What tells a capture from another, or from itself grown longer.

    Raises:
        ExportError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for name in ("capture.json", "chunks.jsonl"):
            digest.update((folder / name).read_bytes())
    except OSError as error:
        raise ExportError(f"{folder}: {error}") from error
    return digest.hexdigest()
