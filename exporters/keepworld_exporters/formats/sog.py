"""``.sog``: PlayCanvas' packed splats (version 2): pictures in a zip, a pixel a splat, and a palette of harmonics.

Places lie in 16 bits of the logarithm of their distance from the origin's planes, scales and colours in 256 chosen numbers each,
quaternions as the three smallest numbers of w x y z in bytes, opacities in bytes; a splat's harmonics are one row of a palette of
at most 65,536. Pictures are lossless WebP. Splats lie in `morton_order`, which packs best. Source: the format's text at
developer.playcanvas.com, and its writer, github.com/playcanvas/splat-transform.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from keepworld_exporters.formats import archive
from keepworld_exporters.formats.checks import checked_splats
from keepworld_exporters.formats.harmonics import BANDS
from keepworld_exporters.formats.palettes import line_codebook, morton_order, row_palette
from keepworld_exporters.formats.picture import decode_pixels, encode_pixels
from keepworld_exporters.scene import Splats

_MAX_PALETTE, _SMALL = 1 << 16, 4096
_ACROSS = 64  # rows of the palette in a line of its picture
_TAG = 252  # the alpha of a quaternion says which number is the largest
_OTHERS = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])
_LEAST = 0.25  # bytes a splat: fewer than this no file has had, but those that claim too much
_FREE = 1 << 16
_MIN_SCALE = 1e-9


def encode(splats: Splats, about: Mapping[str, object] | None = None) -> bytes:
    """Turn splats into a file.

    Raises:
        ValueError: there are none, which the format cannot say.
    """
    count, bands = splats.shN.shape[:2]
    if not count or not np.isfinite(splats.means).all():
        raise ValueError("a SOG file needs at least one splat, and places that are finite")
    order = morton_order(splats.means)
    width = -(-int(np.ceil(np.sqrt(count))) // 4) * 4
    height = -(-count // (4 * width)) * 4

    def picture(values: NDArray[np.uint8]) -> bytes:
        pixels = np.full((height * width, 4), 255, np.uint8)
        pixels[count:] = 0
        pixels[:count, : values.shape[1]] = values
        return encode_pixels(pixels.reshape(height, width, 4))

    means = splats.means[order].astype(np.float64)
    logs = np.sign(means) * np.log1p(np.abs(means))
    low, high = logs.min(0), logs.max(0)
    steps = np.round((logs - low) / np.where(high > low, high - low, 1) * 65535).astype(np.uint16)
    scale_book, scales = line_codebook(np.log(np.maximum(splats.scales[order], _MIN_SCALE)))
    colour_book, colours = line_codebook(splats.sh0[order])
    opacities = np.round(255 * np.clip(splats.opacities[order], 0, 1)).astype(np.uint8)
    files = {
        "means_l.webp": picture((steps & 255).astype(np.uint8)),
        "means_u.webp": picture((steps >> 8).astype(np.uint8)),
        "quats.webp": picture(_pack_quats(splats.quats[order])),
        "scales.webp": picture(scales),
        "sh0.webp": picture(np.concatenate([colours, opacities[:, None]], 1)),
    }
    told: dict[str, object] = {
        "version": 2,
        "asset": {"generator": "keepworld", "extras": dict(about or {})},
        "count": count,
        "antialias": splats.antialiased,
        "means": {"mins": low.tolist(), "maxs": high.tolist(), "files": ["means_l.webp", "means_u.webp"]},
        "scales": {"codebook": scale_book.tolist(), "files": ["scales.webp"]},
        "quats": {"files": ["quats.webp"]},
        "sh0": {"codebook": colour_book.tolist(), "files": ["sh0.webp"]},
    }
    if bands:
        size = count if count <= _SMALL else min(_MAX_PALETTE, 1 << (count.bit_length() - 1))
        palette, labels = row_palette(splats.shN[order].reshape(count, 3 * bands), size)
        book, codes = line_codebook(palette)
        files["shN_centroids.webp"] = encode_pixels(_palette_picture(codes.reshape(-1, bands, 3)))
        low_high = np.stack([labels & 255, labels >> 8, np.zeros_like(labels)], 1).astype(np.uint8)
        files["shN_labels.webp"] = picture(low_high)
        told["shN"] = {
            "count": len(palette),
            "bands": BANDS.index(bands),
            "codebook": book.tolist(),
            "files": ["shN_centroids.webp", "shN_labels.webp"],
        }
    return archive.pack({**files, "meta.json": json.dumps(told).encode()})


def decode(data: bytes) -> Splats:
    """Read a file of version 2.

    Raises:
        ValueError: damaged, of another version, or claiming more than its size can hold.
    """
    files = archive.unpack(data, "SOG")
    try:
        meta = json.loads(files["meta.json"])
        return _read(meta, files, len(data))
    except (KeyError, TypeError, IndexError, AttributeError, RecursionError, OverflowError) as error:
        raise ValueError(f"damaged SOG file: {error!r}") from error


def _read(meta: Mapping[str, object], files: Mapping[str, bytes], size: int) -> Splats:
    count = meta["count"]
    if meta.get("version") != 2 or type(count) is not int:
        raise ValueError(f"SOG files of version 2 are read, this one says {meta.get('version')!r}")
    if not 0 < count <= size / _LEAST + _FREE:
        raise ValueError(f"the SOG file claims {count} splats, more than {size} bytes can hold, or none")
    low, high = (np.asarray(_part(meta, "means")[end], np.float64).reshape(3) for end in ("mins", "maxs"))
    steps = _pixels(meta, files, "means", count, 1)[:, :3] * 256.0 + _pixels(meta, files, "means", count)[:, :3]
    logs = low + steps / 65535 * (high - low)
    shown = _pixels(meta, files, "sh0", count)
    with np.errstate(over="ignore", invalid="ignore"):
        return checked_splats(
            means=np.sign(logs) * np.expm1(np.abs(logs)),
            quats=_unpack_quats(_pixels(meta, files, "quats", count)),
            scales=np.exp(_codebook(meta, "scales")[_pixels(meta, files, "scales", count)[:, :3]]),
            opacities=shown[:, 3] / 255.0,
            sh0=_codebook(meta, "sh0")[shown[:, :3]],
            shN=_harmonics(meta, files, count) if "shN" in meta else np.zeros((count, 0, 3)),
            antialiased=meta.get("antialias") is True,
        )


def _part(meta: Mapping[str, object], name: str) -> Mapping[str, object]:
    part = meta[name]
    if not isinstance(part, dict):
        raise ValueError(f"the SOG file's {name} is no object")
    return part


def _codebook(meta: Mapping[str, object], name: str) -> NDArray[np.float64]:
    book = np.asarray(_part(meta, name)["codebook"], np.float64)
    if book.shape != (256,):
        raise ValueError(f"the SOG file's {name} has a codebook of {book.size} numbers, wanted 256")
    return book


def _picture(
    meta: Mapping[str, object], files: Mapping[str, bytes], name: str, number: int, most: int
) -> NDArray[np.uint8]:
    listed = _part(meta, name)["files"]
    if not isinstance(listed, list):
        raise ValueError(f"the SOG file's {name} names no files")
    return decode_pixels(files[listed[number]], most=most)


def _pixels(
    meta: Mapping[str, object], files: Mapping[str, bytes], name: str, count: int, number: int = 0
) -> NDArray[np.uint8]:
    """A picture's pixels [count, 4], one a splat."""
    pixels = _picture(meta, files, name, number, 4 * count + _FREE).reshape(-1, 4)
    if len(pixels) < count:
        raise ValueError(f"the SOG file's {name} has {len(pixels)} pixels for {count} splats")
    return pixels[:count]


def _palette_picture(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A palette's codes [P, K, 3] as a picture: 64 rows a line, K pixels each."""
    lines = -(-len(codes) // _ACROSS)
    picture = np.zeros((lines * _ACROSS, codes.shape[1], 4), np.uint8)
    picture[: len(codes), :, :3] = codes
    picture[:, :, 3] = 255
    return picture.reshape(lines, _ACROSS * codes.shape[1], 4)


def _harmonics(meta: Mapping[str, object], files: Mapping[str, bytes], count: int) -> NDArray[np.float64]:
    size, degree = _part(meta, "shN")["count"], _part(meta, "shN")["bands"]
    if type(size) is not int or not 0 < size <= _MAX_PALETTE or degree not in (1, 2, 3):
        raise ValueError(f"the SOG file's palette has {size!r} rows of degree {degree!r}, which cannot be")
    bands = BANDS[degree]
    picture = _picture(meta, files, "shN", 0, _MAX_PALETTE * bands)
    if picture.shape[1] != _ACROSS * bands or len(picture) * _ACROSS < size:
        raise ValueError(
            f"the SOG file's palette is a picture of {picture.shape[1]} x {len(picture)}, which is not its size"
        )
    codes = picture.reshape(-1, bands, 4)[:size, :, :3]
    labels = _pixels(meta, files, "shN", count, 1).astype(np.int64)
    rows = labels[:, 0] + 256 * labels[:, 1]
    if rows.max() >= size:
        raise ValueError(f"a splat of the SOG file names row {rows.max()} of a palette of {size}")
    return _codebook(meta, "shN")[codes[rows]]


def _pack_quats(quats: NDArray[np.float32]) -> NDArray[np.uint8]:
    q = quats.astype(np.float64) / np.maximum(np.linalg.norm(quats, axis=1, keepdims=True), 1e-12)
    largest = np.abs(q).argmax(1)
    q *= np.where(q[np.arange(len(q)), largest] < 0, -1.0, 1.0)[:, None]
    shares = np.take_along_axis(q, _OTHERS[largest], 1) * np.sqrt(0.5) + 0.5
    packed = np.concatenate([np.round(255 * np.clip(shares, 0, 1)), (_TAG + largest)[:, None]], 1)
    return packed.astype(np.uint8)


def _unpack_quats(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    largest = pixels[:, 3].astype(np.int64) - _TAG
    if largest.min() < 0:
        raise ValueError("a quaternion of the SOG file does not say which of its numbers is the largest")
    values = (pixels[:, :3] / 255.0 - 0.5) * np.sqrt(2)
    q = np.zeros((len(pixels), 4))
    np.put_along_axis(q, _OTHERS[largest], values, 1)
    q[np.arange(len(q)), largest] = np.sqrt(np.maximum(0, 1 - (values**2).sum(1)))
    return q
