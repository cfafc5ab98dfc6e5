"""All that a training is at one moment, and the file that holds it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from keepworld.errors import ExportError
from keepworld.files import write_atomically
from numpy.lib import format as npy
from numpy.typing import NDArray

from keepworld_exporters.train.exposure import Exposures, neutral
from keepworld_exporters.train.parameters import NAMES, Parameters, zeros
from keepworld_exporters.train.poses import Poses, unmoved

_WIDTHS = dict(zip(NAMES, (3, 4, 3, 1, 3, 45), strict=True))
_EXPOSURE = ("values", "first", "second", "steps")
_POSES = ("viewmats", "given", "first", "second", "steps")
_MOST = 10_000_000
Number = TypeVar("Number", bound=np.generic)


@dataclass(kw_only=True, slots=True, eq=False)
class State:
    """A training: with the frames and the settings, everything that its next step depends on.

    Attributes:
        values, first, second: the splats and Adam's two moments of them.
        free: [N] bool; the others keep their place and shape, and only their colours are trained.
        exposures: of the frames.
        poses: of the frames' cameras.
        start: how many free splats there were at first.
        iteration: how many steps have been taken.
        spent_s: seconds they took.
        squared: mean squared error of the last frames, the latest counting most; NaN before the first.
    """

    values: Parameters
    first: Parameters
    second: Parameters
    free: NDArray[np.bool_]
    exposures: Exposures
    poses: Poses
    start: int
    iteration: int = 0
    spent_s: float = 0.0
    squared: float = float("nan")


def begin(values: Parameters, free: NDArray[np.bool_], viewmats: Sequence[NDArray[np.float64]]) -> State:
    """A training that has not begun, of frames whose cameras are `viewmats` [F] of [4, 4]."""
    count = len(values)
    return State(
        values=values, first=zeros(count), second=zeros(count), free=free, exposures=neutral(len(viewmats)),
        poses=unmoved(viewmats), start=int(free.sum()),
    )  # fmt: skip


def save(path: Path, state: State, key: str) -> None:
    """Write a training whole or not at all; `key` says what it was of, so that it goes on only with that."""
    arrays: dict[str, NDArray[np.generic]] = {
        f"{group}.{name}": getattr(getattr(state, group), name)
        for group in ("values", "first", "second")
        for name in NAMES
    }
    arrays |= {f"exposures.{name}": getattr(state.exposures, name) for name in _EXPOSURE}
    arrays |= {f"poses.{name}": getattr(state.poses, name) for name in _POSES}
    arrays |= {
        "free": state.free,
        "numbers": np.array([state.start, state.iteration, state.spent_s, state.squared], np.float64),
        "key": np.frombuffer(key.encode(), np.uint8),
    }
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:  # stored, with the date a zip file begins at: the same bytes every time
        for name, array in arrays.items():
            with file.open(zipfile.ZipInfo(f"{name}.npy"), "w") as entry:
                npy.write_array(entry, np.ascontiguousarray(array), allow_pickle=False)
    write_atomically(path, data.getvalue())


def load(path: Path, key: str, frames: int) -> State | None:
    """Read a training back; None if it was of other frames or settings.

    Raises:
        ExportError: the file is damaged.
    """
    try:
        size = path.stat().st_size
        with zipfile.ZipFile(path) as file:
            # Nothing is compressed in what `save` writes: an entry that would unfold to more than the file is a lie.
            if sum(entry.file_size for entry in file.infolist()) > size:
                raise ValueError("its entries claim to be larger than the file")
            if _entry(file, "key", np.uint8, (None,)).tobytes() != key.encode():
                return None
            free = _entry(file, "free", np.bool_, (None,))
            numbers = _entry(file, "numbers", np.float64, (4,))
            if not (numbers[:3] >= 0).all() or not np.isfinite(numbers[:3]).all():
                raise ValueError(f"its counts must be finite and at least 0, got {numbers[:3].tolist()}")
            groups = [
                Parameters(**{
                    name: _entry(file, f"{group}.{name}", np.float32, (len(free), _WIDTHS[name])) for name in NAMES
                })
                for group in ("values", "first", "second")
            ]  # fmt: skip
            exposures = Exposures(
                values=_entry(file, "exposures.values", np.float32, (frames, 6)),
                first=_entry(file, "exposures.first", np.float32, (frames, 6)),
                second=_entry(file, "exposures.second", np.float32, (frames, 6)),
                steps=_entry(file, "exposures.steps", np.int64, (frames,)),
            )
            poses = Poses(
                viewmats=_entry(file, "poses.viewmats", np.float64, (frames, 4, 4)),
                given=_entry(file, "poses.given", np.float64, (frames, 4, 4)),
                first=_entry(file, "poses.first", np.float32, (frames, 6)),
                second=_entry(file, "poses.second", np.float32, (frames, 6)),
                steps=_entry(file, "poses.steps", np.int64, (frames,)),
            )
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ExportError(f"{path} is no training that can go on: {error}; delete it to start again") from error
    return State(
        values=groups[0], first=groups[1], second=groups[2], free=free, exposures=exposures, poses=poses,
        start=int(numbers[0]), iteration=int(numbers[1]), spent_s=float(numbers[2]), squared=float(numbers[3]),
    )  # fmt: skip


def _entry(file: zipfile.ZipFile, name: str, dtype: type[Number], shape: tuple[int | None, ...]) -> NDArray[Number]:
    """Read an array of a known type and shape (None: any length), its header checked before memory is spent on it."""
    info = file.getinfo(f"{name}.npy")
    with file.open(info) as entry:
        if npy.read_magic(entry) != (1, 0):
            raise ValueError(f"{name} is no array of the version wanted")
        found, order, kind = npy.read_array_header_1_0(entry)
        fits = len(found) == len(shape) and all(w in (None, f) for f, w in zip(found, shape, strict=True))
        if not fits or order or kind != np.dtype(dtype) or max(found, default=0) > _MOST:
            raise ValueError(f"{name} must be {np.dtype(dtype)} {shape}, got {kind} {found}")
        data = entry.read()
        if len(data) != int(np.prod(found)) * kind.itemsize:
            raise ValueError(f"{name} must hold {found} numbers, got {len(data)} bytes")
        return np.frombuffer(bytearray(data), dtype).reshape(found)
