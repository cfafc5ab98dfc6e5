"""What a server sends is measured before it is believed."""

from __future__ import annotations

import math
import zlib

import numpy as np
import pytest
from keepworld import wire, wire_world
from keepworld.camera import Units, intrinsics
from keepworld.errors import ProtocolError
from keepworld.frames import Frame
from keepworld.motion import Control
from keepworld.paths import orbit
from keepworld.v1 import frame_pb2, world_service_pb2
from keepworld.video import Video

from tests.sdk.scripted_server import SIZE, chunk_end, frame, packed

WIDTH, HEIGHT = SIZE


def read(message: frame_pb2.Frame) -> Frame:
    return wire.frame(message, size=SIZE, units=Units.METRES, video=Video(SIZE))


def test_depth_and_masks_come_back_to_the_bit(rng: np.random.Generator) -> None:
    depth = rng.uniform(0, 500, (HEIGHT, WIDTH)).astype(np.float32)
    labels = rng.integers(0, 4, (HEIGHT, WIDTH), np.uint8)
    message = frame(0, 0, 0)
    message.pixels.depth, message.pixels.labels = packed(depth), packed(labels)
    got = read(message)
    assert (got.depth == depth).all()
    assert (got.labels == labels).all()
    assert got.confidence is None


def test_what_was_not_sent_is_not_there() -> None:
    assert read(frame(0, 0, 0)).depth is None


def _camera(**values: float) -> frame_pb2.Frame:
    message = frame(0, 0, 0)
    for path, value in values.items():
        target, *names, last = [message.camera, *path.split("__")]
        for name in names:
            target = getattr(target, name)
        setattr(target, last, value)
    return message


def _pixels(**values: bytes) -> frame_pb2.Frame:
    message = frame(0, 0, 0)
    for name, value in values.items():
        setattr(message.pixels, name, value)
    return message


def _plane(value: float) -> bytes:
    return packed(np.full((HEIGHT, WIDTH), value, np.float32))


@pytest.mark.parametrize(
    "message",
    [
        _camera(intrinsics__width=10**6),
        _camera(intrinsics__fx=0),
        _camera(intrinsics__cx=math.nan),
        _camera(world_from_camera__rotation__w=0),
        _camera(world_from_camera__rotation__w=math.nan),
        _camera(world_from_camera__translation__x=math.inf),
        _camera(units=2),
        _camera(units=77),
        _camera(pose_source=0),
        _pixels(depth=b"not zlib"),
        _pixels(depth=zlib.compress(b"short")),
        _pixels(depth=packed(np.zeros((HEIGHT + 1, WIDTH), np.float32))),
        _pixels(labels=zlib.compress(bytes(WIDTH * HEIGHT)) + b"more"),
        _pixels(labels=zlib.compress(bytes(WIDTH * HEIGHT))[:-3]),
        _pixels(depth=_plane(math.nan)),
        _pixels(depth=_plane(-1)),
        _pixels(confidence=zlib.compress(bytes(100_000_000))),
    ],
    ids=str,
)
def test_a_frame_that_cannot_be_is_refused(message: frame_pb2.Frame) -> None:
    with pytest.raises(ProtocolError):
        read(message)


def test_a_bomb_is_not_unpacked() -> None:
    import tracemalloc

    message = _pixels(depth=zlib.compress(bytes(200_000_000)))
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError):
            read(message)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_a_control_survives_the_wire() -> None:
    control = Control(move=(0.1, -0.2, 1), turn=(-1, 0.5, 0.25), speed=0.0, buttons=5)
    message = chunk_end(0)
    message.controls[3].CopyFrom(wire.control_message(control))
    assert wire.chunk_end(message).controls[3] == control
    assert wire.chunk_end(message).controls[0] == Control()


def test_a_path_survives_the_wire() -> None:
    path = orbit([1, 2, 3], radius=2, frames=10, height=1)
    request = wire.camera_path("r", path)
    for c2w, sent in zip(path, request.path.world_from_camera, strict=True):
        message = frame(0, 0, 0)
        message.camera.world_from_camera.CopyFrom(sent)
        np.testing.assert_allclose(read(message).camera.c2w, c2w, atol=1e-12)


def test_intrinsics_are_taken_as_they_are() -> None:
    message = frame(0, 0, 0)
    K = intrinsics(WIDTH, HEIGHT, 1.0)
    message.camera.intrinsics.fx = message.camera.intrinsics.fy = K[0, 0]
    np.testing.assert_allclose(read(message).camera.K, K)


@pytest.mark.parametrize("values", [{"frames": 0}, {"frames": 5}, {"frames": 10**6}])
def test_a_chunk_end_that_cannot_be_is_refused(values: dict[str, int]) -> None:
    message = chunk_end(0)
    message.frames = values["frames"]
    with pytest.raises(ProtocolError):
        wire.chunk_end(message)


def test_capabilities_that_cannot_be_are_refused() -> None:
    message = world_service_pb2.GetCapabilitiesResponse(
        families=[world_service_pb2.FamilyCapabilities(name="x", units=1, pose_source=1, fps=math.nan)],
        limits=world_service_pb2.Limits(max_steps=1, max_queued_frames=1),
    )
    with pytest.raises(ProtocolError):
        wire_world.capabilities(message)


def test_a_first_chunk_that_cannot_be_is_refused() -> None:
    family = wire_world.capabilities(
        world_service_pb2.GetCapabilitiesResponse(
            families=[
                world_service_pb2.FamilyCapabilities(
                    name="x", units=1, pose_source=1, fps=24, fov_x=1, move_rate=1, turn_rate=1, first_chunk_frames=13,
                    chunk_frames=16,
                )
            ],
            limits=world_service_pb2.Limits(max_steps=1, max_queued_frames=1),
        )
    ).families[0]  # fmt: skip
    session = world_service_pb2.Session(first_chunk_frames=16)
    assert wire_world.own_capabilities(session, family).first_frame_of(2) == 32
    assert wire_world.own_capabilities(world_service_pb2.Session(), family) == family
    with pytest.raises(ProtocolError):
        wire_world.own_capabilities(world_service_pb2.Session(first_chunk_frames=2**31), family)
