"""A walk as a file: whole, cut off, changed, or something else."""

import contextlib
import io
import struct

import pytest
from keepworld_runtime.journal import file
from keepworld_runtime.journal.blobs import MemoryBlobs

from tests.runtime.journal.chunks import opened, walked


@pytest.fixture
def written(tmp_path) -> bytes:
    journal = opened(tmp_path)
    walked(journal, 3)
    return b"".join(journal.written(journal.line("s", 1).point))


def read(data: bytes) -> file.Walk:
    return file.read(io.BytesIO(data), MemoryBlobs(1 << 20))


def test_what_is_read_in_another_journal_is_what_was_written(tmp_path, written):
    (tmp_path / "other").mkdir()
    other = opened(tmp_path / "other")
    point = other.take(file.read(io.BytesIO(written), other.blobs))
    assert b"".join(other.written(point)) == written


def test_a_file_cut_at_any_byte_has_its_whole_chunks(written):
    sections = [at for at in range(len(written)) if written[at : at + 1] == b"C" and is_section(written, at)]
    ends = [at + 9 + struct.unpack_from("<cII", written, at)[1] for at in sections]
    assert len(ends) == 3
    beginning = sections[0]
    for size in range(beginning, len(written)):
        walk = read(written[:size])
        assert (len(walk.bodies), walk.is_whole) == (sum(end <= size for end in ends), False)
    assert read(written).is_whole


def is_section(data: bytes, at: int) -> bool:
    return data[at + 9 : at + 20] == b'{"number":' + data[at + 19 : at + 20]


def test_a_file_with_a_changed_byte_is_never_whole(written):
    for at in range(0, len(written), 7):
        changed = bytearray(written)
        changed[at] ^= 1
        with contextlib.suppress(ValueError):  # refused is as good
            assert not read(bytes(changed)).is_whole


@pytest.mark.parametrize(
    "data", [b"", b"PK\3\4", file.MAGIC, file.MAGIC + b"C" + bytes(8), file.MAGIC + b"E" + bytes(8)]
)
def test_what_is_no_walk_is_refused(data):
    with pytest.raises(ValueError, match="not a journal"):
        read(data)


def test_a_section_that_claims_to_be_huge_is_refused_before_it_is_read():
    with pytest.raises(ValueError, match="at most"):
        read(file.MAGIC + struct.pack("<cII", b"B", 2**32 - 1, 0) + bytes(100))
