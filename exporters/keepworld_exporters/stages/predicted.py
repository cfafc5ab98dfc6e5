"""Depth that a learned model predicted, from the files that such models leave, and brought to the capture's scale."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from keepworld.capture import CapturedFrame
from keepworld.errors import ExportError
from numpy.lib import format as npy
from numpy.typing import NDArray

from keepworld_exporters.stages.sources import DepthMap, DepthSource

Kind = Literal["metric", "scale", "affine"]
KINDS: tuple[Kind, ...] = ("metric", "scale", "affine")
_DEPTH, _INVERSE = ("depth", "depths", "depth_map", "pred", "prediction"), ("disparity", "inverse_depth")
_CONFIDENCE = ("confidence", "depth_conf", "conf")
_MAX_SIDE, _MAX_FRAMES = 8192, 100_000
_ROUNDS = 30  # of reweighting; each costs nothing
_MIN_PIXELS = 100  # that both know, to tell a scale from


class PredictedDepth:
    """Depth from files, such as WorldMirror, VGGT or Depth Anything leave.

    Either a folder with a file a frame, named by the frame's number (``000007.npy``, ``.npz`` or 16-bit ``.png``), or one
    ``.npz`` with all of them, [N, H, W] or [N, H, W, 1], in the capture's order. In an ``.npz`` depth is called depth, depths,
    depth_map, pred or prediction, or as 1 / depth disparity or inverse_depth; confidence, which may be there,
    confidence, depth_conf or conf (beside an ``.npy``: ``000007.confidence.npy``). A PNG holds thousandths. Floats of 16, 32 or
    64 bits, 0 or NaN where unknown; maps of another size than the frame are resampled.

    Args:
        path: the folder or file.
        inverse: whether it holds 1 / depth whatever it is called, as relative models do.
    """

    def __init__(self, path: Path, *, inverse: bool = False) -> None:
        if not path.exists():
            raise ExportError(f"the folder or .npz file of predicted depth must exist, got {path}")
        self._path, self._inverse = path, inverse

    def of(self, frame: CapturedFrame) -> DepthMap:
        """Read a frame's depth as it was predicted."""
        inverse, depth, confidence = self._stored(frame)
        size = (frame.camera.height, frame.camera.width)
        depth = depth.astype(np.float32)
        depth = np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(0))
        if inverse:
            depth = np.where(depth > 0, 1 / np.maximum(depth, np.float32(1e-9)), np.float32(0))
        if confidence is not None:
            confidence = np.nan_to_num(confidence.astype(np.float32))
            # VGGT's confidence begins at 1 and has no upper end.
            most = float(confidence.max(initial=0))
            confidence = resampled(np.clip(confidence / max(most, 1.0), 0, 1), size)
        return DepthMap(depth=resampled(depth, size), confidence=confidence)

    def _stored(self, frame: CapturedFrame) -> tuple[bool, NDArray[np.floating], NDArray[np.floating] | None]:
        """Whether it is 1 / depth, the numbers [h, w], and their confidence."""
        if self._path.is_file():
            return self._entry(self._path, frame.number)
        stem = self._path / f"{frame.number:06d}"
        if stem.with_suffix(".npz").exists():
            return self._entry(stem.with_suffix(".npz"), None)
        if stem.with_suffix(".png").exists():
            return self._inverse, _png(stem.with_suffix(".png")), None
        file, beside = stem.with_suffix(".npy"), stem.with_suffix(".confidence.npy")
        if not file.exists():
            raise ExportError(f"{file} (or .npz, .png) is missing: frame {frame.number} has no depth")
        return self._inverse, _npy(file), _npy(beside) if beside.exists() else None

    def _entry(self, path: Path, index: int | None) -> tuple[bool, NDArray[np.floating], NDArray[np.floating] | None]:
        try:
            with zipfile.ZipFile(path) as file:
                names = {name.removesuffix(".npy"): name for name in file.namelist()}
                found = next((name for name in (*_DEPTH, *_INVERSE) if name in names), None)
                if found is None:
                    wanted = ", ".join((*_DEPTH, *_INVERSE))
                    raise ValueError(f"it must hold one of {wanted}, got {', '.join(sorted(names)) or 'nothing'}")
                sure = next((name for name in _CONFIDENCE if name in names), None)
                depth = _slice(file, names[found], index)
                confidence = None if sure is None else _slice(file, names[sure], index)
        except (ValueError, OSError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
            raise ExportError(f"{path}: not predicted depth: {error}") from error
        if confidence is not None and confidence.shape != depth.shape:
            raise ExportError(f"{path}: confidence must be {list(depth.shape)}, got {list(confidence.shape)}")
        return found in _INVERSE or self._inverse, depth, confidence


def aligned(
    frames: Sequence[CapturedFrame],
    predicted: DepthSource,
    anchors: Sequence[tuple[int, NDArray[np.float32]]],
    kind: Kind,
) -> DepthSource:
    """Bring predictions to the capture's scale, by what is known for sure of some frames.

    Args:
        frames: of the capture.
        predicted: as the model left it.
        anchors: (index into frames, depth [H, W] in the capture's units, 0 where not sure); a few wrong pixels do no harm.
        kind: `scale`: all frames are off by one factor; `affine`: 1 / depth is off by a factor and an offset, as relative
            models leave it; `metric`: nothing is to be done.

    Raises:
        ExportError: too little is known for sure.
    """
    if kind == "metric":
        return predicted
    pairs = [_common(predicted.of(frames[index]).depth, known) for index, known in anchors]
    guess, true = (np.concatenate([pair[side] for pair in pairs] or [np.empty(0, np.float32)]) for side in (0, 1))
    if len(guess) < _MIN_PIXELS:
        raise ExportError(
            f"predicted depth cannot be brought to scale: it and the pictures agree on {len(guess)} pixels that are sure, "
            f"{_MIN_PIXELS} are wanted; walk sideways, or give metric depth"
        )
    return _Aligned(predicted, *(fit_affine(guess, true) if kind == "affine" else (fit_scale(guess, true), 0.0)))


class _Aligned:
    """Predictions whose 1 / depth is `factor` times what was predicted, and `offset`."""

    def __init__(self, predicted: DepthSource, factor: float, offset: float) -> None:
        self._predicted, self._factor, self._offset = predicted, factor, offset

    def of(self, frame: CapturedFrame) -> DepthMap:
        """Read a frame's depth in the capture's units."""
        known = self._predicted.of(frame)
        inverse = self._factor / np.maximum(known.depth, np.float32(1e-9)) + self._offset
        there = (known.depth > 0) & (inverse > 1e-6)
        depth = np.where(there, 1 / np.where(there, inverse, 1), 0).astype(np.float32)
        return DepthMap(depth=depth, confidence=known.confidence)


def fit_scale(guess: NDArray[np.floating], true: NDArray[np.floating]) -> float:
    """The factor from 1 / guess [N] to 1 / true [N] that half of the pixels find too large and half too small."""
    return float(np.exp(np.median(np.log(guess) - np.log(true))))


def fit_affine(guess: NDArray[np.floating], true: NDArray[np.floating]) -> tuple[float, float]:
    """Factor and offset from 1 / guess [N] to 1 / true [N] with the least sum of absolute differences.

    Least squares, reweighted by what is left over (Schlossmacher 1973): what is far off counts little.
    """
    x, y = 1 / guess.astype(np.float64), 1 / true.astype(np.float64)
    A, weight = np.stack([x, np.ones_like(x)], 1), np.ones_like(x)
    solution = np.array([1.0, 0.0])
    for _ in range(_ROUNDS):
        solution = np.linalg.lstsq(A * weight[:, None], y * weight, rcond=None)[0]
        left = np.abs(A @ solution - y)
        weight = 1 / np.sqrt(np.maximum(left, 1e-3 * float(np.median(y))))
    if not solution[0] > 0:
        raise ExportError("predicted depth grows where the pictures' falls: is it 1 / depth, or depth?")
    return float(solution[0]), float(solution[1])


def resampled(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """A map [h, w] at another size [H, W], each pixel from the nearest: no depth is made up between two surfaces."""
    if values.shape == size:
        return np.ascontiguousarray(values)
    rows = ((np.arange(size[0]) + 0.5) * values.shape[0] / size[0]).astype(np.int64)
    columns = ((np.arange(size[1]) + 0.5) * values.shape[1] / size[1]).astype(np.int64)
    return np.ascontiguousarray(values[rows][:, columns])


def _common(guess: NDArray[np.float32], known: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    both = (guess > 0) & np.isfinite(guess) & (known > 0) & np.isfinite(known)
    return guess[both], known[both]


def _map(values: NDArray[np.generic], name: str) -> NDArray[np.floating]:
    """A map [h, w] of floats from what was stored, [h, w] or with axes of length 1 besides."""
    if values.dtype not in (np.float16, np.float32, np.float64):
        raise ValueError(f"{name} must be floats, got {values.dtype}")
    squeezed = values.reshape([side for side in values.shape if side != 1] or [1])
    if squeezed.ndim != 2 or max(squeezed.shape) > _MAX_SIDE:
        raise ValueError(f"{name} must be a map of at most {_MAX_SIDE} pixels a side, got {list(values.shape)}")
    return np.asarray(squeezed, np.float32)


def _npy(path: Path) -> NDArray[np.floating]:
    try:
        # Nothing is read before its shape is known.
        return _map(np.load(path, mmap_mode="r", allow_pickle=False), path.name)
    except (ValueError, OSError, EOFError) as error:
        raise ExportError(f"{path}: not an array of numbers: {error}") from error


def _slice(file: zipfile.ZipFile, name: str, index: int | None) -> NDArray[np.floating]:
    """One frame of an array in a zip file, without unfolding the others into memory."""
    with file.open(name) as entry:
        version = npy.read_magic(entry)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
        if read is None:
            raise ValueError(f"{name} is no array of a version that can be read")
        shape, order, kind = read(entry)
        if order or kind.kind != "f" or not shape or max(shape) > _MAX_FRAMES:
            raise ValueError(f"{name} must be floats in C order, got {kind} {list(shape)}")
        if index is not None:
            if len(shape) < 3 or index >= shape[0]:
                raise ValueError(f"{name} must hold a map for frame {index}, got {list(shape)}")
            shape = shape[1:]
        sides = [side for side in shape if side != 1]
        if len(sides) > 2 or max(sides, default=0) > _MAX_SIDE:
            raise ValueError(f"{name} must hold maps of at most {_MAX_SIDE} pixels a side, got {list(shape)}")
        size = int(np.prod(shape)) * kind.itemsize
        entry.seek(entry.tell() + (index or 0) * size)
        data = entry.read(size)
        if len(data) != size:
            raise ValueError(f"{name} ends before its last number")
        return _map(np.frombuffer(data, kind).reshape(shape), name)


def _png(path: Path) -> NDArray[np.floating]:
    """A 16-bit grey PNG of thousandths."""
    from PIL import Image

    try:
        with Image.open(path, formats=["PNG"]) as picture:
            if max(picture.size) > _MAX_SIDE or not picture.mode.startswith("I"):
                raise ValueError(
                    f"a grey PNG of 16 bits and at most {_MAX_SIDE} pixels a side was wanted, got {picture.mode} {picture.size}"
                )
            return np.asarray(picture, np.float32) / np.float32(1000)
    except (ValueError, OSError, SyntaxError) as error:
        raise ExportError(f"{path}: not predicted depth: {error}") from error
