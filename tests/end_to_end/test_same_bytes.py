"""The same prompt, seed and controls give the same bytes: in one session or four at once, on one server or another."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from keepworld import AsyncClient, Client
from keepworld.capture import Capture
from keepworld.frames import Label

from tests.end_to_end.play.browser import server

PROMPT = "meadow hamlet by a pond, autumn evening"
SIZE = (128, 72)
WALK = "forward 1s + look right 40deg, look left 40deg, back 1s"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with server("--port", "0") as (_, address):
        yield address


async def walked(client: AsyncClient, folder: Path) -> str:
    """Walk, with an event on the way, and give the hash of every picture and depth map."""
    async with client.sessions.open(PROMPT, seed=11, size=SIZE, record=folder) as session:
        await session.event("a balloon rises", at=1.0, ramp=1.0)
        await session.event("night falls", at=1.5, ramp=1.0)
        await session.steer(WALK)
        capture = await session.capture()
    digest = hashlib.sha256()
    for frame in capture.frames:
        depth = frame.depth()
        assert depth is not None
        digest.update(frame.image().tobytes() + depth.tobytes() + frame.camera.c2w.tobytes())
    return digest.hexdigest()


async def test_four_sessions_at_once_and_another_server_give_the_bytes_of_one_alone(
    tmp_path: Path, address: str
) -> None:
    async with AsyncClient(address) as client:
        alone = await walked(client, tmp_path / "alone")
        together = await asyncio.gather(*(walked(client, tmp_path / f"together-{n}") for n in range(4)))
    async with AsyncClient() as client:  # with a server of its own
        elsewhere = await walked(client, tmp_path / "elsewhere")
    assert {alone, elsewhere, *together} == {alone}


@pytest.fixture(scope="module")
def loop_walk(tmp_path_factory: pytest.TempPathFactory, address: str) -> Capture:
    """Straight out and straight back, while a balloon comes."""
    with Client(address) as client, client.sessions.open(PROMPT, seed=11, size=SIZE) as session:
        session.event("a balloon rises", at=1.0, ramp=1.0)
        session.steer("forward 2s, look left 60deg, look right 60deg, back 2s")
        return session.capture(tmp_path_factory.mktemp("loop") / "walk")


def test_a_revisited_place_looks_as_it_did_outside_moving_things(loop_walk: Capture) -> None:
    first, last = loop_walk.frames[0], loop_walk.frames[-1]
    np.testing.assert_allclose(first.camera.c2w, last.camera.c2w, atol=1e-9)
    first_labels, last_labels = first.labels(), last.labels()
    assert first_labels is not None
    assert last_labels is not None
    still = ((first_labels | last_labels) & Label.MOVING) == 0
    assert still.mean() > 0.5
    differing = (first.image() != last.image()).any(axis=-1) & still
    assert differing.sum() == 0


def test_the_walk_did_go_somewhere(loop_walk: Capture) -> None:
    centres = loop_walk.c2ws[:, :3, 3]
    assert np.linalg.norm(centres - centres[0], axis=-1).max() > 3.5
