"""Zip archives as scenes come in them: files stored as they are, unpacked into memory, whatever their names say."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping

from keepworld_exporters.formats.checks import check_unpacked

_LOCAL_HEADER = 30
_MADE_ON = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can say: a time of the day would make two exports differ
_PADDING = 0x1986  # the extra field that USDZ fills up with


def pack(files: Mapping[str, bytes], *, alignment: int = 1) -> bytes:
    """An archive of files in their order, stored, each beginning at a multiple of `alignment` bytes."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as zipped:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, _MADE_ON)
            if alignment > 1:
                missing = -(archive.tell() + _LOCAL_HEADER + len(name.encode()) + 4) % alignment
                entry.extra = struct.pack("<HH", _PADDING, missing) + b"\0" * missing
            zipped.writestr(entry, data)
    return archive.getvalue()


def unpack(data: bytes, kind: str, *, packed: bool = True) -> dict[str, bytes]:
    """The files of an archive by their names; nothing touches the disk.

    Args:
        data: the archive.
        kind: what it is called in messages.
        packed: whether its files may be deflated.

    Raises:
        ValueError: no archive, damaged, locked, or with more in it than it could hold.
    """
    known = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) if packed else (zipfile.ZIP_STORED,)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as zipped:
            entries = zipped.infolist()
            if any(entry.compress_type not in known or entry.flag_bits & 1 for entry in entries):
                way = "neither packed nor locked" if not packed else "not locked"
                raise ValueError(f"the files of a {kind} archive must be stored as they are, {way}")
            size = sum(entry.file_size for entry in entries)
            if packed:
                check_unpacked(size, data, f"the {kind} archive claims {len(entries)} files")
            elif size > len(data):
                raise ValueError(f"the {kind} archive claims more than it holds")
            return {entry.filename: zipped.read(entry) for entry in entries}
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError, struct.error, zlib.error, ValueError) as error:
        raise ValueError(f"not a {kind} archive, or a damaged one: {error}") from error
