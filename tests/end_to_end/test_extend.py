"""Walks that go on from something else in their middle, as users have them: a real server, the SDK, files."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from keepworld import AsyncClient, AsyncSession, Capture
from keepworld_runtime.families import load_family
from keepworld_runtime.replay import replay

from tests import families
from tests.end_to_end.test_resume import opened, server
from tests.proxy import Proxy
from tests.runtime.serving.client import spec

WORLD = {"text": "a village by a lake, morning", "model": "diorama", "seed": 9, "size": (96, 64)}
THERE = "forward 28frames + look right 20deg"
ON = "look left 16frames, forward 16frames"
GIVEN = np.full((2, 16, 24, 3), 60, np.uint8)


async def kept(session: AsyncSession) -> Capture:
    """A walk with a balloon and nightfall on its way; three chunks."""
    await session.event("a balloon rises", at=0.2, ramp=1.0)
    await session.event("night falls", chunk=2, ramp=2.0)
    await session.steer(THERE)
    await session.steer("forward 16frames")
    return await session.capture()


def pictures(capture: Capture, first: int) -> list[tuple[bytes, bytes]]:
    frames = capture.frames[first:]
    return [(frame.image().tobytes(), frame.camera.c2w.tobytes()) for frame in frames]


async def test_a_diorama_goes_on_from_its_own_capture_to_the_byte(tmp_path: Path) -> None:
    async with AsyncClient() as client:
        async with client.sessions.open(**WORLD) as session:
            capture = await kept(session)
            walked = len(capture)
            assert walked == 45
            shutil.copytree(capture.folder, tmp_path / "walk")  # as far as it is now: the recording goes on
            await session.steer(ON)
            ahead = pictures(await session.capture(), walked)
        async with client.sessions.open(**WORLD) as session:
            await session.event("it snows", ramp=0.0)
            await session.steer("back 28frames")
            told = session.capabilities
            assert (told.takes_clip, told.takes_recording) == (False, True)
            with pytest.raises(ValueError, match="captures of its own worlds alone"):
                await session.extend(GIVEN)
            receipt = await session.extend(tmp_path / "walk")
            assert receipt.applies_to_chunk == 2
            await session.steer(ON)
            found = await session.capture()
            assert pictures(found, 29) == ahead
            assert found.extended == [2]
            await session.undo(3)
            assert await session.journal(tmp_path / "undone.kwj")
            await session.extend(Capture(tmp_path / "walk"))
            await session.steer(ON)
            assert pictures(await session.capture(), 13) == ahead
            path = await session.journal(tmp_path / "walk.kwj")
        kept_world = await client.import_journal(path)
        async with client.sessions.open(snapshot=kept_world) as session:
            assert (await session.steer("forward 16frames")).first_frame == 45
    again = await asyncio.to_thread(replay, path, load_family)
    assert (again.chunks, again.different) == (3, ())


async def test_a_killed_server_takes_in_once_what_it_was_given(tmp_path: Path) -> None:
    """Killed between the receipt and the chunk; the client never hears of it."""
    with contextlib.ExitStack() as servers:
        first = servers.enter_context(contextlib.ExitStack())
        address = first.enter_context(server("--port", "0", "--journal", str(tmp_path)))
        port = address.rpartition(":")[2]
        async with Proxy(address) as proxy, opened(proxy.address) as session:
            await session.steer("forward 12frames")
            assert (await session.extend(GIVEN)).applies_to_chunk == 1
            first.close()
            servers.enter_context(server("--port", port, "--journal", str(tmp_path)))
            await session.steer("forward 32frames")
            capture = await session.capture()
    frames = capture.frames
    assert [frame.number for frame in frames] == list(range(45))
    for frame in frames:
        wanted = families.picture(spec("meadow", seed=5), frame.number, float(frame.camera.c2w[2, 3]), 0)
        wanted[..., 0] += np.uint8(60 if frame.chunk >= 1 else 0)
        np.testing.assert_array_equal(frame.image(), wanted)
