"""Worlds that begin with a picture, go on from frames or from a snapshot, against a real server."""

from __future__ import annotations

import io
import pickle
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from keepworld import (
    AsyncClient,
    BrokenChunkError,
    Capture,
    Chunk,
    Clip,
    InvalidRequestError,
    NotFoundError,
    Snapshot,
    png,
)
from keepworld.uploads import MAX_PICTURE_BYTES
from PIL import Image

from tests import families
from tests.runtime.serving.client import serving, spec


@pytest.fixture
async def client() -> AsyncIterator[AsyncClient]:
    async with serving() as (server, _), AsyncClient(f"127.0.0.1:{server.port}") as client:
        yield client


def grey(value: int, *shape: int) -> np.ndarray:
    return np.full((*(shape or (16, 24)), 3), value, np.uint8)


def jpeg(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=100)
    return file.getvalue()


async def walked(session, words: str = "forward 0.5s") -> list[Chunk]:
    return [chunk async for chunk in session.stream(words, pace="fast", depth=True)]


async def red_added(client: AsyncClient, **given: object) -> int:
    """The red that a world took over from what it was given, as the gradient shows it."""
    async with client.sessions.open(model="gradient", seed=7, **given) as session:
        image = (await walked(session))[0].frames[0].image
    return (int(image[0, 0, 0]) - int(families.picture(spec(), 0, 0.0, 0)[0, 0, 0])) % 256


@pytest.mark.parametrize("form", ["array", "png", "jpeg", "path", "text"])
async def test_a_picture_may_be_given_in_many_forms(client: AsyncClient, tmp_path: Path, form: str) -> None:
    file = tmp_path / "picture.png"
    file.write_bytes(png.encode(grey(90)))
    given = {"array": grey(90), "png": file.read_bytes(), "jpeg": jpeg(grey(90)), "path": file, "text": str(file)}[form]
    assert await red_added(client, image=given) == 90


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (b"GIF89a", "PNG or JPEG"),
        (grey(1, 4), "H, W, 3"),
        (grey(1).astype(np.float32), "uint8"),
        (b"\xff\xd8\xff" + bytes(MAX_PICTURE_BYTES), "smaller"),
    ],
)
async def test_what_is_no_picture_is_refused_before_it_is_sent(client: AsyncClient, given: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        await client.sessions.open(model="gradient", image=given)
    assert await client.sessions.list() == []


def test_a_clip_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="N, H, W, 3"):
        Clip(grey(1))
    with pytest.raises(ValueError, match="one a frame"):
        Clip(grey(1, 3, 16, 24), np.stack([np.eye(4)] * 2))
    with pytest.raises(ValueError, match="rotation"):
        Clip(grey(1, 1, 16, 24), 2 * np.eye(4)[None])


async def test_a_walk_goes_on_from_a_capture(client: AsyncClient, tmp_path: Path) -> None:
    async with client.sessions.open(model="gradient", seed=7) as session:
        await session.steer("forward 1s")
        capture = await session.capture(tmp_path / "walk")
        assert session.capabilities.first_chunk_frames == 13
    end = capture.c2ws[-1][2, 3]
    assert end > 0
    for given in (capture, tmp_path / "walk", str(tmp_path / "walk"), Clip(grey(90, 2, 16, 24), capture.c2ws[-2:])):
        async with client.sessions.open(model="gradient", seed=7, clip=given) as session:
            assert session.capabilities.first_chunk_frames == 16
            chunks = await walked(session, "forward 1s")
            receipt = await session.event("rain", at=48 / 24)
        assert [len(chunk.frames) for chunk in chunks] == [16, 16]
        assert [frame.number for chunk in chunks for frame in chunk.frames] == list(range(32))
        assert chunks[0].frames[0].camera.c2w[2, 3] == pytest.approx(end + 1)
        assert receipt.applies_to_chunk == 3


async def test_a_camera_that_is_not_told_stands_still(client: AsyncClient) -> None:
    assert await red_added(client, clip=grey(90, 2, 16, 24)) == 90


async def test_what_the_server_refuses_of_a_clip_is_told_with_its_field(client: AsyncClient) -> None:
    with pytest.raises(InvalidRequestError, match="1024") as refused:
        await client.sessions.open(model="gradient", clip=grey(1, 1025, 8, 8))
    assert refused.value.field == "header.frames"
    assert await red_added(client, clip=grey(9, 1, 8, 8)) == 9


async def test_a_capture_with_a_file_missing_says_which_and_the_client_goes_on(
    client: AsyncClient, letter_capture: Capture, tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(letter_capture.folder, tmp_path / "copy")
    last = letter_capture.frames[-1].number
    (tmp_path / f"copy/frames/{last:06d}.png").unlink()
    with pytest.raises(FileNotFoundError, match=f"{last:06d}"):
        await client.sessions.open(model="gradient", clip=tmp_path / "copy")
    assert await red_added(client, clip=grey(9, 1, 8, 8)) == 9


async def test_only_one_beginning_is_taken_and_only_by_who_takes_it(client: AsyncClient) -> None:
    snapshot = Snapshot(id="x", chunks=0, frames=0, model="gradient", prompt="", seed=0, size=(64, 48), mode="fly")
    for given in (
        {"image": grey(1), "clip": grey(1, 1, 16, 24)},
        {"image": grey(1), "snapshot": snapshot},
        {"clip": grey(1, 1, 16, 24), "snapshot": snapshot},
    ):
        with pytest.raises(ValueError, match="one of"):
            await client.sessions.open(model="gradient", **given)


async def test_an_unknown_model_says_how_to_get_it(client: AsyncClient) -> None:
    with pytest.raises(ValueError, match="keepworld serve --family worldplay-8b"):
        await client.sessions.open("a lake", model="worldplay-8b")


async def test_another_program_goes_on_from_a_snapshot(client: AsyncClient, tmp_path: Path) -> None:
    async with client.sessions.open("slow=0", model="gradient", seed=7) as session:
        await session.steer("forward 1s")
        snapshot = await session.snapshot()
        rest = [await walked(session), await walked(session)]
    assert (snapshot.chunks, snapshot.frames, snapshot.prompt, snapshot.seed) == (2, 29, "slow=0", 7)
    copied = pickle.loads(pickle.dumps(snapshot))
    async with AsyncClient(client.address) as other, other.sessions.open(snapshot=copied) as session:
        assert (session.model, session.seed, session.size, session.mode) == ("gradient", 7, (64, 48), "fly")
        again = await walked(session)
        walk = await session.steer("forward 0.5s")
        capture = await session.capture(tmp_path / "walk")
    (there,), (here,) = rest[0], again
    assert [frame.number for frame in here.frames] == list(range(29, 45))
    for ours, theirs in zip(here.frames, there.frames, strict=True):
        assert np.array_equal(ours.image, theirs.image)
        assert np.array_equal(ours.camera.c2w, theirs.camera.c2w)
    assert walk.first_frame == 45
    assert capture.provenance.prompt == "slow=0"
    assert [frame.number for frame in capture.frames] == list(range(walk.first_frame, walk.last_frame + 1))


async def test_a_snapshot_that_is_gone_is_not_found(client: AsyncClient) -> None:
    snapshot = Snapshot(
        id="0" * 32, chunks=1, frames=13, model="gradient", prompt="", seed=0, size=(64, 48), mode="fly"
    )
    with pytest.raises(NotFoundError, match="snapshot"):
        await client.sessions.open(snapshot=snapshot)


async def test_a_snapshot_is_of_its_world_alone(client: AsyncClient) -> None:
    async with client.sessions.open(model="gradient", seed=7) as session:
        snapshot = await session.snapshot()
    with pytest.raises(InvalidRequestError, match="seed"):
        await client.sessions.open(snapshot=snapshot, seed=8)


async def test_a_broken_chunk_is_an_error_of_its_own_after_what_was_made(client: AsyncClient) -> None:
    async with client.sessions.open("break=2 at=5", model="gradient") as session:
        chunks = []
        with pytest.raises(BrokenChunkError, match="chunk 2") as broken:
            async for chunk in session.stream(pace="fast"):
                chunks += [chunk]
    assert [chunk.index for chunk in chunks] == [0, 1]
    assert (broken.value.code, broken.value.retryable) == ("CHUNK_BROKEN", False)
