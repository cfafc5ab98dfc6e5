"""``.compressed.ply``: PlayCanvas' packed splats, 16 bytes each and a byte a harmonic.

Splats lie in chunks of 256 near each other, in the order of a Morton curve. Of a chunk the least and the greatest place,
logarithm of scale and colour are kept as floats; what lies between is stored in 11, 10 and 11 bits, colours and opacities in 8,
quaternions as the three smallest numbers of w x y z in 10 bits each, harmonics in 256 steps over [-4, 4].
Source: its writer and reader, github.com/playcanvas/splat-transform.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from keepworld_exporters.formats import ply
from keepworld_exporters.formats.checks import checked_splats
from keepworld_exporters.formats.harmonics import BANDS, SH_C0
from keepworld_exporters.formats.palettes import morton_order
from keepworld_exporters.formats.splat_ply import ANTIALIASED
from keepworld_exporters.scene import Splats

CHUNK = 256
_LIMIT = 20.0  # of a scale's logarithm
_CHUNKS = np.dtype(
    [(f"{end}_{name}", "<f4") for group in ("xyz", "scale", "rgb") for end in ("min", "max")
     for name in {"xyz": ("x", "y", "z"), "scale": ("scale_x", "scale_y", "scale_z"), "rgb": ("r", "g", "b")}[group]]
)  # fmt: skip
_VERTICES = np.dtype([(f"packed_{name}", "<u4") for name in ("position", "rotation", "scale", "color")])


def encode(splats: Splats, comments: Sequence[str] = ()) -> bytes:
    """Turn splats into a file; they lie in it in `morton_order`."""
    order = morton_order(splats.means)
    count, bands = splats.shN.shape[:2]
    logs = np.clip(np.log(np.maximum(splats.scales[order], 1e-9)), -_LIMIT, _LIMIT)
    chunks = np.empty(-(-count // CHUNK), _CHUNKS)
    rows = np.empty((len(chunks), 18), "<f4")
    packed = []
    for k, values in enumerate((splats.means[order], logs, splats.sh0[order] * SH_C0 + 0.5)):
        grouped = _grouped(values.astype(np.float32))
        low, high = grouped.min(1), grouped.max(1)
        rows[:, 6 * k : 6 * k + 3], rows[:, 6 * k + 3 : 6 * k + 6] = low, high
        span = (high - low).astype(np.float64)
        within = (grouped - low[:, None]) / np.where(span > 0, span, 1)[:, None]
        packed.append(within.reshape(-1, 3)[:count])
    chunks[:] = rows.view(_CHUNKS).reshape(-1)
    table = np.empty(count, _VERTICES)
    table["packed_position"] = _bits(packed[0], (11, 10, 11))
    table["packed_rotation"] = _pack_quats(splats.quats[order])
    table["packed_scale"] = _bits(packed[1], (11, 10, 11))
    opacities = np.clip(splats.opacities[order], 0, 1)[:, None]
    table["packed_color"] = _bits(np.concatenate([packed[2], opacities], 1), (8, 8, 8, 8))
    elements: list[tuple[str, NDArray[np.void]]] = [("chunk", chunks), ("vertex", table)]
    if bands:
        steps = np.clip(np.trunc((splats.shN[order] / 8 + 0.5) * 256), 0, 255).astype(np.uint8)
        flat = np.ascontiguousarray(steps.transpose(0, 2, 1)).reshape(count, 3 * bands)
        elements.append(("sh", flat.view([(f"f_rest_{k}", "u1") for k in range(3 * bands)]).reshape(count)))
    return ply.encode_elements(elements, [ANTIALIASED, *comments] if splats.antialiased else comments)


def decode(data: bytes) -> Splats:
    """Read a file.

    Raises:
        ValueError: damaged, or of another layout.
    """
    header = ply.read_header(data)
    tables, start = {}, header.size
    for element in header.elements:
        tables[element.name], start = ply.read_table(data, element, start)
    if list(tables) not in (["chunk", "vertex"], ["chunk", "vertex", "sh"]) or start != len(data):
        raise ValueError("a compressed splat file has the elements chunk, vertex and perhaps sh, and nothing else")
    chunks, table = tables["chunk"], tables["vertex"]
    count = len(table)
    if table.dtype != _VERTICES or chunks.dtype != _CHUNKS or len(chunks) != -(-count // CHUNK):
        raise ValueError("not the properties of a compressed splat file, or not one chunk for each 256 splats")
    rows = np.ascontiguousarray(chunks).view("<f4").reshape(-1, 18).astype(np.float64)[np.arange(count) // CHUNK]
    places = _between(rows[:, 0:6], _unbits(table["packed_position"], (11, 10, 11)))
    logs = _between(rows[:, 6:12], _unbits(table["packed_scale"], (11, 10, 11)))
    shown = _unbits(table["packed_color"], (8, 8, 8, 8))
    with np.errstate(over="ignore", invalid="ignore"):
        return checked_splats(
            means=places,
            quats=_unpack_quats(table["packed_rotation"]),
            scales=np.exp(logs),
            opacities=shown[:, 3],
            sh0=(_between(rows[:, 12:18], shown[:, :3]) - 0.5) / SH_C0,
            shN=_harmonics(tables.get("sh"), count),
            antialiased=ANTIALIASED in header.comments,
        )


def _grouped(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values [N, 3] by chunks [C, 256, 3]; the last one is filled up with its last row."""
    missing = -len(values) % CHUNK
    return np.concatenate([values, np.repeat(values[-1:], missing, 0)]).reshape(-1, CHUNK, 3)


def _between(ends: NDArray[np.float64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    return ends[:, :3] * (1 - share) + ends[:, 3:] * share


def _bits(values: NDArray[np.floating], widths: tuple[int, ...]) -> NDArray[np.uint32]:
    """Shares [N, K] of 1 in so many bits each, the first highest."""
    packed = np.zeros(len(values), np.uint32)
    for k, width in enumerate(widths):
        top = (1 << width) - 1
        whole = np.clip(np.floor(values[:, k].astype(np.float64) * top + 0.5), 0, top).astype(np.uint32)
        packed = (packed << np.uint32(width)) | whole
    return packed


def _unbits(packed: NDArray[np.uint32], widths: tuple[int, ...]) -> NDArray[np.float64]:
    values = np.empty((len(packed), len(widths)))
    shift = 32
    for k, width in enumerate(widths):
        shift -= width
        values[:, k] = ((packed >> np.uint32(shift)) & np.uint32((1 << width) - 1)) / ((1 << width) - 1)
    return values


def _pack_quats(quats: NDArray[np.float32]) -> NDArray[np.uint32]:
    q = quats.astype(np.float64) / np.maximum(np.linalg.norm(quats, axis=1, keepdims=True), 1e-12)
    largest = np.abs(q).argmax(1)
    q *= np.where(q[np.arange(len(q)), largest] < 0, -1.0, 1.0)[:, None]
    others = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])[largest]
    shares = np.take_along_axis(q, others, 1) * np.sqrt(0.5) + 0.5
    return (largest.astype(np.uint32) << np.uint32(30)) | _bits(shares, (10, 10, 10))


def _unpack_quats(packed: NDArray[np.uint32]) -> NDArray[np.float64]:
    others = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])
    largest = (packed >> np.uint32(30)).astype(np.int64)
    values = (_unbits(packed & np.uint32((1 << 30) - 1), (2, 10, 10, 10))[:, 1:] - 0.5) * np.sqrt(2)
    q = np.zeros((len(packed), 4))
    np.put_along_axis(q, others[largest], values, 1)
    q[np.arange(len(q)), largest] = np.sqrt(np.maximum(0, 1 - (values**2).sum(1)))
    return q


def _harmonics(table: NDArray[np.void] | None, count: int) -> NDArray[np.float64]:
    if table is None:
        return np.zeros((count, 0, 3))
    names = table.dtype.names or ()
    bands = len(names) // 3
    wanted = tuple(f"f_rest_{k}" for k in range(3 * bands))
    if len(table) != count or bands not in BANDS or names != wanted or table.dtype.itemsize != len(names):
        raise ValueError("the element sh must have 9, 24 or 45 bytes a splat")
    steps = np.ascontiguousarray(table).view(np.uint8).reshape(count, 3, bands).transpose(0, 2, 1).astype(np.float64)
    return (np.where(steps == 0, 0, np.where(steps == 255, 1, (steps + 0.5) / 256)) - 0.5) * 8
