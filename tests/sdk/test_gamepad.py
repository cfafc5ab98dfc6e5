"""A gamepad, played by a named pipe that says what a device of the kernel would."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from keepworld import gamepad
from keepworld.inputs import Gamepad, reader
from keepworld.motion import Control

LEFT_X, LEFT_Y, LEFT_TRIGGER, RIGHT_X, RIGHT_Y, RIGHT_TRIGGER = range(6)
RUN, START = 5, 7  # numbers of an Xbox pad's buttons


class Hands:
    """The other end: what hands do to the pad."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._fileno = os.open(path, os.O_RDWR)

    def axis(self, number: int, share: float, kind: int = 2) -> None:
        os.write(self._fileno, struct.pack("IhBB", 0, round(share * 32767), kind, number))

    def button(self, number: int, *, held: bool) -> None:
        os.write(self._fileno, struct.pack("IhBB", 0, held, 1, number))


@pytest.fixture
def hands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hands]:
    monkeypatch.setattr(gamepad, "DEVICES", tmp_path)
    yield Hands(tmp_path / "js0")


def test_the_left_stick_walks_and_the_right_one_looks(hands: Hands) -> None:
    pad = Gamepad(deadzone=0)
    hands.axis(LEFT_Y, -1)  # away from the player: forward
    assert pad.read() == Control(move=(0, 0, 1))
    hands.axis(LEFT_Y, 0)
    hands.axis(LEFT_X, 1)
    assert pad.read() == Control(move=(1, 0, 0))
    hands.axis(LEFT_X, 0)
    hands.axis(RIGHT_X, 1)
    assert pad.read() == Control(turn=(1, 0, 0))  # to the right
    hands.axis(RIGHT_X, 0)
    hands.axis(RIGHT_Y, -1)
    assert pad.read() == Control(turn=(0, 1, 0))  # up


def test_a_stick_within_its_dead_zone_is_let_go_and_beyond_it_grows_from_nothing(hands: Hands) -> None:
    pad = Gamepad(deadzone=0.2)
    hands.axis(LEFT_X, 0.14)
    hands.axis(LEFT_Y, 0.14)  # 0.198 from the middle
    assert pad.read() == Control()
    hands.axis(LEFT_X, 0)
    hands.axis(LEFT_Y, -0.6)
    control = pad.read()
    assert control is not None and control.move[2] == pytest.approx((0.6 - 0.2) / (1 - 0.2), abs=1e-4)


def test_a_corner_is_no_faster_than_straight_on(hands: Hands) -> None:
    pad = Gamepad()
    hands.axis(LEFT_X, 1)
    hands.axis(LEFT_Y, -1)
    control = pad.read()
    assert control is not None and control.move == pytest.approx((0.5**0.5, 0, 0.5**0.5))


def test_what_was_held_when_it_was_opened_counts(hands: Hands) -> None:
    pad = Gamepad()
    hands.axis(LEFT_Y, -1, kind=2 | 0x80)  # the kernel tells the state first
    control = pad.read()
    assert control is not None and control.move == (0, 0, 1)


def test_the_shoulder_button_runs_and_the_triggers_rise_and_sink_only_where_that_is_wanted(hands: Hands) -> None:
    pad = Gamepad()
    hands.button(RUN, held=True)
    assert pad.read() == Control()  # nobody runs on the spot
    hands.axis(LEFT_Y, -1)
    hands.axis(RIGHT_TRIGGER, 1)
    assert pad.read() == Control(move=(0, 0, 1), speed=2)
    flying = Gamepad(flies=True)
    hands.axis(RIGHT_TRIGGER, 1)
    assert flying.read() == Control(move=(0, -1, 0))  # y points down
    hands.axis(RIGHT_TRIGGER, -1)
    hands.axis(LEFT_TRIGGER, 0)
    control = flying.read()
    assert control is not None and control.move == pytest.approx((0, 0.5, 0), abs=1e-4)


def test_start_ends_the_walk_for_good(hands: Hands) -> None:
    pad = Gamepad()
    hands.button(START, held=True)
    hands.button(START, held=False)
    hands.button(START, held=True)
    assert reader(pad)() is None
    hands.button(START, held=False)
    assert pad.read() is None


def test_a_pad_that_is_unplugged_is_let_go_and_found_again(hands: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    pad = Gamepad()
    hands.axis(LEFT_Y, -1)
    assert pad.read() != Control()
    read = os.read

    def gone(*_: int) -> bytes:
        raise OSError(19, "No such device")

    monkeypatch.setattr(os, "read", gone)
    assert pad.read() == Control()
    monkeypatch.setattr(os, "read", read)
    assert pad.read() == Control()  # opened again
    hands.axis(LEFT_X, 1)
    assert pad.read() == Control(move=(1, 0, 0))
    pad.close()
    pad.close()


def test_without_a_pad_it_is_said_what_else_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gamepad, "DEVICES", tmp_path)
    with pytest.raises(OSError, match="Keyboard"):
        Gamepad()
    with pytest.raises(ValueError, match="deadzone"):
        Gamepad(deadzone=1)
