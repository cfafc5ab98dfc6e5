"""``.laz``: a compressed LAS 1.4 cloud, as surveyors exchange it: places to a tenth of a millimetre, colours in 16 bits.

Normals and confidence are extra dimensions of the points, named as CloudCompare names them. Read and written by laspy with
lazrs. What a header claims is checked before laspy makes room for it, and what is packed is read in a process apart: lazrs
believes the sizes that it finds in there.
"""

from __future__ import annotations

import datetime
import io
import struct
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from keepworld_exporters.formats.apart import read_apart
from keepworld_exporters.formats.checks import checked_points
from keepworld_exporters.formats.ply import comments
from keepworld_exporters.scene import Points

STEP = 1e-4
_RGB_POINTS = 7
_MADE_ON = datetime.date(2000, 1, 1)  # a date of the day would make two exports differ
_MAX_PACKED = 200  # how many times smaller LAZ has been seen to make a cloud, with room to spare
_NORMALS = ("NormalX", "NormalY", "NormalZ")


def encode(points: Points, about: Mapping[str, object] | None = None) -> bytes:
    """Turn a cloud into a file; what it says about itself is a record of text.

    Raises:
        ValueError: places are too far apart for the format's whole numbers.
    """
    import laspy

    header = laspy.LasHeader(point_format=_RGB_POINTS, version="1.4")
    header.scales, header.offsets = np.full(3, STEP), np.zeros(3)
    header.creation_date = _MADE_ON
    header.generating_software = "keepworld"
    reach = float(np.abs(points.positions).max(initial=0))
    if not reach / STEP < 2**31:  # NaN is not, either
        raise ValueError(f"LAZ holds places up to {2**31 * STEP:.0f} units from the origin, got {reach:g}")
    header.add_extra_dims(
        [*(laspy.ExtraBytesParams(name, "f4") for name in _NORMALS), laspy.ExtraBytesParams("confidence", "u2")]
    )
    text = "\n".join(comments(about or {})).encode("utf-8")[:65_000]
    header.vlrs.append(laspy.VLR("keepworld", 1, "manifest", text))
    las = laspy.LasData(header)
    las.x, las.y, las.z = points.positions.astype(np.float64).T
    las.red, las.green, las.blue = points.colours.astype(np.uint16).T * 257
    for k, name in enumerate(_NORMALS):
        las[name] = points.normals[:, k]
    las["confidence"] = points.confidence
    file = io.BytesIO()
    las.write(file, do_compress=True, laz_backend=laspy.LazBackend.Lazrs)
    return file.getvalue()


def decode(data: bytes) -> Points:
    """Read a LAS or LAZ file; packed ones in a process apart.

    Raises:
        ValueError: damaged, or larger unpacked than anything its size can hold.
    """
    is_packed = _check_size(data)
    found = read_apart(__name__, data, memory_bytes=len(data) * _MAX_PACKED) if is_packed else read_arrays(data)
    return checked_points(**found)


def read_arrays(data: bytes) -> dict[str, NDArray[np.generic]]:
    """The arrays that `checked_points` takes.

    Raises:
        ValueError: damaged.
    """
    import laspy

    try:
        las = laspy.read(io.BytesIO(data), laz_backend=laspy.LazBackend.Lazrs)
        names = set(las.point_format.dimension_names)
        found = {"positions": np.stack([las.x, las.y, las.z], 1)}
        if names >= {"red", "green", "blue"}:
            wide = np.stack([las.red, las.green, las.blue], 1)
            # Some writers leave bytes in the 16 bits.
            found["colours"] = np.round(wide / (257.0 if wide.max(initial=0) > 255 else 1.0))
        if names >= set(_NORMALS):
            found["normals"] = np.stack([las[name] for name in _NORMALS], 1)
        if "confidence" in names:
            found["confidence"] = np.asarray(las["confidence"])
    except Exception as error:  # laspy and lazrs raise what they come upon: theirs, struct's, Rust's
        raise ValueError(f"not a LAS or LAZ file, or a damaged one: {error}") from error
    return found


def _check_size(data: bytes) -> bool:
    """Refuse a header whose points could not be in the file; gives whether they are packed."""
    if len(data) < 227 or data[:4] != b"LASF":
        raise ValueError("not a LAS or LAZ file: it must begin with 'LASF' and a header of at least 227 bytes")
    offset, num_records, kind, row, legacy = struct.unpack_from("<IIBHI", data, 96)
    count = struct.unpack_from("<Q", data, 247)[0] if data[25] >= 4 and len(data) >= 255 else legacy
    packed = _MAX_PACKED if kind & 0x80 else 1
    more = struct.unpack_from("<I", data, 243)[0] if data[25] >= 4 and len(data) >= 247 else 0
    if (
        offset > len(data)
        or max(count, legacy) * max(row, 20) > len(data) * packed
        or (num_records + more) * 54 > len(data)
    ):
        raise ValueError(f"the LAS header claims {max(count, legacy)} points, more than {len(data)} bytes can hold")
    return bool(kind & 0x80)
