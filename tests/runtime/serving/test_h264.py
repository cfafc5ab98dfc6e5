"""Streams as H.264: what comes is what was drawn, chunks stand alone, and streams do not mix. Read by hand and by FFmpeg."""

import asyncio

import numpy as np
import pytest
from keepworld.v1 import frame_pb2, session_pb2, world_service_pb2
from keepworld_runtime.engine.errors import EncodingNotSupportedError
from keepworld_runtime.serving import h264, validate

from tests.annexb import IDR, PPS, SEI, SLICE, SPS, Decoder, nal_types, psnr, slice_types
from tests.runtime.serving.client import RAW, Walk, create, pixels, script, serving, spec
from tests.runtime.serving.walks import DIORAMA, GRADIENT, attached, opened, refused

H264 = frame_pb2.IMAGE_ENCODING_H264
LEAST_DB = 33.0  # of the diorama and of the gradient; both have hard edges of colour, which 4:2:0 halves
STRANGERS_DB = 27.0  # more than any two worlds here have in common


async def walked(stub, chunks: int, *, encoding: int = H264, **world) -> list[list[frame_pb2.Frame]]:
    """The frames of a world's first chunks, walking."""
    walk = Walk(stub, await opened(stub, **world))
    await walk.attach(only_scripted=True, encoding=encoding)
    await walk.send(script=script((0.5, 12 + 16 * (chunks - 1))))
    return [(await walk.chunk())[0] for _ in range(chunks)]


async def test_decoded_is_drawn_and_every_chunk_decodes_alone():
    async with serving(families=("diorama",)) as (_, stub):
        coded = await walked(stub, 2, **DIORAMA)
        drawn = await walked(stub, 2, encoding=RAW, **DIORAMA)
    for chunk, wanted in zip(coded, drawn, strict=True):
        decoder = Decoder()
        errors = []
        for frame, raw in zip(chunk, wanted, strict=True):
            picture = decoder.picture(frame.image.data)
            assert psnr(picture, pixels(raw)) > LEAST_DB
            errors.append(np.mean(picture - pixels(raw), (0, 1)))
        assert np.abs(np.mean(errors, 0)).max() < 0.5  # of 255: no matrix or range but the stated one
    sizes = [sum(len(frame.image.data) for chunk in walk for frame in chunk) for walk in (coded, drawn)]
    assert sizes[0] * 8 < sizes[1]


async def test_chunks_begin_with_parameters_and_an_idr_picture_and_have_no_b_slices():
    async with serving() as (_, stub):
        chunks = await walked(stub, 3, **GRADIENT)
    for first, *others in chunks:
        assert [kind for kind in nal_types(first.image.data) if kind != SEI] == [SPS, PPS, IDR]
        for frame in others:
            assert nal_types(frame.image.data) == [SLICE]
    assert set().union(*(slice_types(frame.image.data) for chunk in chunks for frame in chunk)) == {0, 2}


async def test_a_resumed_stream_begins_with_an_idr_picture_wherever_it_is():
    async with serving() as (_, stub):
        created = await create(stub)
        walk = Walk(stub, created)
        await walk.attach(only_scripted=True, encoding=H264)
        await walk.send(script=script((0.25, 44)))
        frames = [await walk.until("frame") for _ in range(20)]
        walk.call.cancel()
        again = Walk(stub, created)
        config = session_pb2.StreamConfig(encoding=H264)
        pace = session_pb2.Pace(mode=session_pb2.PACE_MODE_AS_FAST_AS_POSSIBLE, only_scripted=True)
        names = {"session_id": created.session.session_id, "token": created.token}
        await again.send(attach=session_pb2.Attach(**names, config=config, pace=pace, last_seq=frames[17].seq))
        resumed = [await again.until("frame") for _ in range(27)]
        whole = await walked_raw(stub, 45)
    assert [frame.seq for frame in resumed] == list(range(18, 45))
    assert IDR in nal_types(resumed[0].image.data)
    decoder = Decoder()
    for frame in resumed:
        assert psnr(decoder.picture(frame.image.data), whole[frame.seq]) > LEAST_DB


async def walked_raw(stub, frames: int, **fields) -> list[np.ndarray]:
    walk = await attached(stub, await create(stub, **fields))
    await walk.send(script=script((0.25, frames - 1)))
    return [pixels(await walk.until("frame")) for _ in range(frames)]


async def test_eight_sessions_at_once_do_not_mix():
    seeds = [1 + 23 * i for i in range(8)]
    async with serving(max_sessions=16) as (_, stub):
        walks = await asyncio.gather(*(walked(stub, 3, **GRADIENT | {"seed": seed}) for seed in seeds))
        drawn = [(await walked(stub, 1, encoding=RAW, **GRADIENT | {"seed": seed}))[0][5] for seed in seeds]
    for i, chunks in enumerate(walks):
        decoder = Decoder()
        pictures = [[decoder.picture(frame.image.data) for frame in chunk] for chunk in chunks]
        likeness = [psnr(pictures[0][5], pixels(frame)) for frame in drawn]
        assert likeness[i] > LEAST_DB
        assert max(each for j, each in enumerate(likeness) if j != i) < STRANGERS_DB
        assert [frame.seq for chunk in chunks for frame in chunk] == list(range(45))


async def test_a_stream_that_changes_to_h264_begins_it_with_an_idr_picture():
    async with serving() as (_, stub):
        walk = Walk(stub, await create(stub))
        await walk.attach(only_scripted=True)
        await walk.send(script=script((0.25, 12)))
        await walk.chunk()
        await walk.send(config=session_pb2.StreamConfig(encoding=H264, quality=30))
        await walk.send(script=script((0.25, 16)))
        frames, _ = await walk.chunk()
    assert [frame.image.encoding for frame in frames] == [H264] * 16
    decoder = Decoder()
    assert IDR in nal_types(frames[0].image.data)
    assert len([decoder.picture(frame.image.data) for frame in frames]) == 16


def test_quality_is_bytes():
    rng = np.random.default_rng(0)
    picture = np.kron(rng.integers(0, 256, (12, 16, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    coded = [h264.H264Encoder(64, 48, fps=24, quality=q).encode(picture, alone=True) for q in (1, 50, 100)]
    assert len(coded[0]) < len(coded[1]) < len(coded[2])
    likeness = [psnr(Decoder().picture(each), picture) for each in coded]
    assert likeness[0] < likeness[1] < likeness[2]


async def test_a_server_without_pyav_says_what_it_lacks(monkeypatch):
    monkeypatch.setattr(h264, "is_available", lambda: False)
    async with serving() as (_, stub):
        told = await stub.GetCapabilities(world_service_pb2.GetCapabilitiesRequest())
        walk = Walk(stub, await create(stub))
        refusal = await refused(walk.attach(encoding=H264))
    assert list(told.encodings) == [RAW, frame_pb2.IMAGE_ENCODING_PNG, frame_pb2.IMAGE_ENCODING_JPEG]
    assert refusal == "ENCODING_NOT_SUPPORTED"
    with pytest.raises(EncodingNotSupportedError, match=r"keepworld\[video\]"):
        validate.picture_format(session_pb2.StreamConfig(encoding=H264), spec(), "config")


@pytest.mark.parametrize(("width", "height"), [(63, 48), (64, 47)])
def test_odd_sides_are_refused_by_name(width, height):
    with pytest.raises(EncodingNotSupportedError, match=f"{width}x{height}") as refusal:
        validate.picture_format(session_pb2.StreamConfig(encoding=H264), spec(width=width, height=height), "config")
    assert refusal.value.field == "config.encoding"
