"""``.spz``: Niantic's packed splats, about 20 bytes a splat; version 3, or 4 by the suffix ``.v4.spz``; 2 is read as well.

A header and then, each for all splats: places (24 bits with 12 behind the point, fewer for worlds beyond 2048 units), opacities,
colours, scales (1/16 of a logarithm), quaternions (the three smallest, 10 bits each), harmonics (by default 5 bits of the first
degree and 4 of the others, as Niantic writes them). The axes are x right, y up, z back. How they lie in a file is
`spz_container`'s business. Source: the format's text and reader, github.com/nianticlabs/spz.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from keepworld_exporters.formats import spz_container
from keepworld_exporters.formats.checks import checked_splats
from keepworld_exporters.formats.harmonics import BANDS
from keepworld_exporters.scene import Splats

_ANTIALIASED = 1
_MAX_BITS = 12
_COLOUR_SCALE = 0.15
_LARGEST = np.sqrt(0.5)  # what the second largest of a unit quaternion's numbers can be
_STEPS = 511


def encode(
    splats: Splats,
    about: Mapping[str, object] | None = None,
    *,
    version: int = 3,
    sh1_bits: int = 5,
    rest_bits: int = 4,
) -> bytes:
    """Turn splats into a file.

    Args:
        splats: what to write.
        about: what the file says about itself, for which version 3 has no place.
        version: 3, which every reader knows, or 4, whose parts are packed with zstd.
        sh1_bits, rest_bits: those kept of the harmonics of degree 1, and of the higher ones, at most 8.

    Raises:
        ValueError: places lie beyond 2^23 units.
    """
    count, bands = splats.shN.shape[:2]
    reach = float(np.abs(splats.means).max(initial=0))
    if reach >= 2**23 - 1:
        raise ValueError(f"SPZ holds places up to {2**23} units from the origin, got {reach:g}")
    bits = min(_MAX_BITS, int(np.floor(np.log2((2**23 - 1) / max(reach, 1e-3)))))
    fixed = np.round(splats.means.astype(np.float64) * 2**bits).astype("<i4")
    opacities = np.round(255 * np.clip(splats.opacities, 0, 1)).astype(np.uint8)
    colours = _bytes((splats.sh0 * _COLOUR_SCALE + 0.5) * 255)
    scales = _bytes((np.log(np.maximum(splats.scales, 1e-9)) + 10) * 16)
    harmonics = np.empty((count, bands, 3), np.uint8)
    for low, high, kept in ((0, 3, sh1_bits), (3, bands, rest_bits)):
        step = 1 << (8 - kept)
        whole = np.round(splats.shN[:, low:high].astype(np.float64) * 128) + 128
        harmonics[:, low:high] = np.clip(np.floor((whole + step // 2) / step) * step, 0, 255)
    places = fixed.view(np.uint8).reshape(count, 3, 4)[:, :, :3]
    parts = (places, opacities, colours, scales, _pack_quats(splats.quats), harmonics)
    header = spz_container.Header(
        version=version,
        count=count,
        degree=BANDS.index(bands),
        bits=bits,
        flags=_ANTIALIASED if splats.antialiased else 0,
    )
    return spz_container.pack(header, [part.tobytes() for part in parts], about or {})


def decode(data: bytes) -> Splats:
    """Read a file of version 2 to 4; harmonics of degree 4 are left out.

    Raises:
        ValueError: damaged, of another version, or larger unpacked than anything its size can hold.
    """
    header, unpacked = spz_container.unpack(data)
    count, bands = header.count, BANDS[min(header.degree, 3)]
    places, opacities, colours, scales, quats, harmonics = (np.frombuffer(part, np.uint8) for part in unpacked)
    fixed = np.zeros((count, 3, 4), np.uint8)
    fixed[:, :, 1:] = places.reshape(count, 3, 3)
    return checked_splats(
        means=(fixed.view("<i4")[:, :, 0] >> 8) / 2.0**header.bits,
        quats=_unpack_quats(quats.reshape(count, header.row_sizes[4])),
        scales=np.exp(scales.reshape(count, 3) / 16.0 - 10),
        opacities=opacities / 255.0,
        sh0=(colours.reshape(count, 3) / 255.0 - 0.5) / _COLOUR_SCALE,
        shN=(harmonics.reshape(count, header.row_sizes[5] // 3, 3)[:, :bands].astype(np.float32) - 128) / 128,
        antialiased=bool(header.flags & _ANTIALIASED),
    )


def _bytes(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def _pack_quats(quats: NDArray[np.float32]) -> NDArray[np.uint32]:
    """The number of the largest of x y z w in 2 bits, then sign and magnitude of the others in 10 bits each."""
    q = quats[:, [1, 2, 3, 0]].astype(np.float64)
    q /= np.maximum(np.linalg.norm(q, axis=1, keepdims=True), 1e-12)
    largest = np.abs(q).argmax(1)
    q *= np.where(q[np.arange(len(q)), largest] < 0, -1.0, 1.0)[:, None]
    packed = largest.astype(np.uint32)
    for k in range(4):
        magnitude = np.minimum(np.floor(_STEPS * np.abs(q[:, k]) / _LARGEST + 0.5), _STEPS).astype(np.uint32)
        entry = (packed << np.uint32(10)) | ((q[:, k] < 0).astype(np.uint32) << np.uint32(9)) | magnitude
        packed = np.where(largest == k, packed, entry)
    return packed.astype("<u4")


def _unpack_quats(stored: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Quaternions [N, 4], w x y z, of 4 bytes each, or of version 2's three."""
    q = np.zeros((len(stored), 4))
    if stored.shape[1] == 3:
        q[:, :3] = stored / 127.5 - 1
        q[:, 3] = np.sqrt(np.maximum(0, 1 - (q[:, :3] ** 2).sum(1)))
        return q[:, [3, 0, 1, 2]]
    packed = np.ascontiguousarray(stored).view("<u4")[:, 0]
    largest = packed >> 30
    for k in (3, 2, 1, 0):
        value = _LARGEST * (packed & _STEPS) / _STEPS * np.where((packed >> 9) & 1, -1, 1)
        there = largest != k
        q[there, k] = value[there]
        packed = np.where(there, packed >> 10, packed)
    q[np.arange(len(q)), largest] = np.sqrt(np.maximum(0, 1 - (q**2).sum(1)))
    return q[:, [3, 0, 1, 2]]
