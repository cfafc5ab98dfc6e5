"""What hands on a page come to: masked, let go when the page falls silent, and told which frame they steered."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from keepworld.camera import Camera, intrinsics
from keepworld.frames import Chunk, Encoding, Frame, Latency, Timing
from keepworld.motion import NEUTRAL, Control
from keepworld.play import packing
from keepworld.play.hands import SILENCE_S, Hands

AXES = ("move_forward", "turn_yaw")


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def chunk(first: int, controls: list[Control], *, drawn_s: float, sent_s: float) -> Chunk:
    camera = Camera(c2w=np.eye(4), K=intrinsics(16, 8, 1.0), width=16, height=8)
    frames = [
        Frame(
            number=first + index, chunk=1, index=index, time_s=0.0, camera=camera, encoding=Encoding.RAW, data=b"",
            timing=Timing(drawn_s=drawn_s + index, sent_s=sent_s + index),
        )
        for index in range(len(controls))
    ]  # fmt: skip
    return Chunk(
        index=1, frames=frames, controls=controls, events=(), latency=Latency(control_ms=None, draw_ms=0, chunk_ms=0)
    )


def test_axes_that_the_way_of_moving_lacks_are_left_out() -> None:
    hands = Hands(AXES, Clock())
    hands.hold(Control(move=(1, 1, 1), turn=(0.5, 1, 1), speed=2), 1)
    assert hands.read() == Control(move=(0, 0, 1), turn=(0.5, 0, 0))


def test_a_page_that_falls_silent_holds_nothing() -> None:
    clock = Clock()
    hands = Hands(AXES, clock)
    hands.hold(Control(move=(0, 0, 1)), 1)
    clock.now_s += SILENCE_S
    assert hands.read() != NEUTRAL
    clock.now_s += 0.1
    assert hands.read() == NEUTRAL


def test_it_is_told_once_which_frame_a_control_steered_and_how_long_that_took() -> None:
    clock, forward = Clock(), Control(move=(0, 0, 1))
    hands = Hands(AXES, clock)
    hands.read()
    hands.hold(forward, 5)
    clock.now_s = 101.0
    hands.read()
    # The first frame of a world stands still; the control steers from the second on.
    seen = chunk(0, [NEUTRAL, forward, forward], drawn_s=101.5, sent_s=102.25)
    steered = hands.steered(seen)
    assert steered is not None
    assert (steered.serial, steered.frame) == (5, 1)
    assert steered.drawn_s - steered.handed_s == pytest.approx(102.5 - 101.0)
    assert hands.steered(seen) is None


async def test_whoever_waits_for_hands_hears_at_once_and_once() -> None:
    hands = Hands(AXES, Clock())
    waiting = asyncio.create_task(hands.changed())
    await asyncio.sleep(0)
    assert not waiting.done()
    hands.hold(Control(move=(0, 0, 1)), 1)
    await waiting
    assert hands.read().move == (0, 0, 1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await hands.changed()


def test_a_chunk_drawn_before_the_control_came_was_not_steered_by_it() -> None:
    clock, forward = Clock(), Control(move=(0, 0, 1))
    hands = Hands(AXES, clock)
    hands.hold(forward, 5)
    hands.read()
    assert hands.steered(chunk(0, [forward], drawn_s=99.0, sent_s=99.5)) is None


@pytest.mark.parametrize("angles", [(0.4, 0.0, 0.0), (-2.5, 0.3, 0.0), (1.0, -0.5, 0.2)])
def test_angles_are_those_that_a_camera_was_turned_by(angles: tuple[float, float, float]) -> None:
    yaw, pitch, roll = angles

    def about(axis: int, angle: float) -> np.ndarray:
        i, j = (axis + 1) % 3, (axis + 2) % 3
        rotation = np.eye(3)
        rotation[[i, j], [i, j]] = np.cos(angle)
        rotation[i, j], rotation[j, i] = -np.sin(angle), np.sin(angle)
        return rotation

    c2w = np.eye(4)
    c2w[:3, :3] = about(1, yaw) @ about(0, pitch) @ about(2, roll)  # the order of `keepworld.motion.turned`
    assert packing.angles(c2w) == pytest.approx(angles)


def test_a_frame_travels_with_its_picture_as_it_came() -> None:
    made = chunk(7, [NEUTRAL], drawn_s=1, sent_s=2).frames[0]
    data = packing.frame(
        Frame(
            **{
                **{name: getattr(made, name) for name in ("number", "chunk", "index", "time_s", "camera")},
                "encoding": Encoding.JPEG,
                "data": b"\xff\xd8picture",
            }
        )
    )
    number, of_chunk, index, code, is_key, time_s, _, *place_and_angles = packing.HEADER.unpack_from(data)
    assert (number, of_chunk, index, code, is_key, time_s) == (7, 1, 0, 2, 1, 0.0)
    assert place_and_angles == [0.0] * 6
    assert data[packing.HEADER.size :] == b"\xff\xd8picture"
    assert packing.HEADER.size == 52  # frames.js reads it so
    assert packing.CODES[Encoding.H264] == 3
