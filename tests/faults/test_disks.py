"""Disks that are full or may not be written: a clear error, no half of anything, and the session goes on."""

import contextlib
import ctypes
import ctypes.util
import os
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from keepworld import AsyncClient, Capture
from keepworld.errors import KeepworldError
from keepworld.v1 import world_service_pb2
from keepworld_exporters import convert

from tests.runtime.serving.client import Walk, create, serving

MS_RDONLY, MS_REMOUNT = 1, 32
_LIBC = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)


def _mount(folder: Path, flags: int, options: str) -> None:
    if _LIBC.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", flags, options.encode()):
        pytest.skip(f"needs the right to mount a file system: {os.strerror(ctypes.get_errno())}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 96 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    _mount(folder, 0, "size=96k")
    try:
        yield folder
    finally:
        _LIBC.umount2(os.fsencode(folder), 2)


@contextlib.asynccontextmanager
async def walking(**options):
    async with (
        serving() as (server, _),
        AsyncClient(f"127.0.0.1:{server.port}") as client,
        client.sessions.open("", model="gradient", seed=7, size=(64, 48), **options) as session,
    ):
        yield session


def check_whole(folder: Path) -> int:
    """What there is of a capture can be read to its last pixel; gives how many frames there are."""
    try:
        capture = Capture(folder)
    except KeepworldError:
        return 0
    for frame in capture.frames:
        assert frame.image().shape == (48, 64, 3)
    return len(capture)


async def test_a_disk_that_fills_up_ends_the_recording_and_not_the_session(disk):
    async with walking(record=disk / "walk") as session:
        with pytest.raises(OSError, match="No space left"):
            await session.steer("forward 60s")
        kept = check_whole(disk / "walk")
        state = (await session.snapshot()).chunks
    assert kept % 16 in (0, 13)
    assert state * 16 >= kept
    assert not [path for path in disk.rglob(".*") if path.is_file()]  # nothing unfinished is left lying about


async def test_a_capture_for_a_full_disk_stays_where_it_is_and_can_go_elsewhere(disk, tmp_path):
    async with walking() as session:
        await session.steer("forward 3s")
        (disk / "fill").write_bytes(bytes(88 << 10))
        with pytest.raises(OSError, match="No space left"):
            await session.capture(disk / "walk")
        moved = await session.capture(tmp_path / "walk")
    assert check_whole(disk / "walk") == 0
    assert check_whole(moved.folder) == len(moved) > 60


async def test_a_disk_that_may_not_be_written_is_an_error_that_names_it(disk):
    _mount(disk, MS_RDONLY | MS_REMOUNT, "")
    async with walking(record=disk / "walk") as session:
        with pytest.raises(OSError, match="Read-only"):
            await session.steer("forward 1s")
    assert not list(disk.iterdir())


async def test_a_journal_whose_disk_fills_up_ends_its_session_with_a_reason_and_the_server_goes_on(disk):
    async with serving(journal=disk / "journal") as (server, stub):
        walk = Walk(stub, await create(stub))
        await walk.attach()
        code, info = await walk.status()  # it is read until it ends
        assert (code, info.reason) == (grpc.StatusCode.INTERNAL, "JOURNAL_FAILED")
        assert (await stub.ListSessions(world_service_pb2.ListSessionsRequest())).sessions == []
        assert not server.failed.done()


@pytest.mark.parametrize("flags", [0, MS_RDONLY | MS_REMOUNT])
def test_a_conversion_onto_such_a_disk_says_so_and_leaves_nothing(disk, flags, tmp_path, capsys):
    rng = np.random.default_rng(0)
    rows = "".join(f"{x} {y} {z} {r} {g} {b}\n" for x, y, z, r, g, b in rng.integers(0, 255, (20_000, 6)))
    (tmp_path / "cloud.xyz").write_text(rows)
    if flags:
        _mount(disk, flags, "")
    assert convert.main([str(tmp_path / "cloud.xyz"), str(disk / "cloud.points.ply")]) != 0
    said = capsys.readouterr()
    assert ("Read-only" if flags else "No space") in said.err + said.out
    assert not list(disk.iterdir())
