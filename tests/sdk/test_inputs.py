"""Scripts from files, and keys from a terminal."""

from __future__ import annotations

import json
import os
import pty
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from keepworld.inputs import Keyboard, Script, reader
from keepworld.motion import Control, Rates, Segment

RATES = Rates(move=2.0, turn=1.0)


def segments(content: object, folder: Path) -> list[Segment]:
    file = folder / "walk.json"
    file.write_text(json.dumps(content))
    return Script(str(file)).segments(rates=RATES, fps=24)


def test_words_and_a_file_of_words_are_the_same_walk(tmp_path: Path) -> None:
    text = "forward 2s, look left 30deg"
    plain = Script(text).segments(rates=RATES, fps=24)
    assert segments(text, tmp_path) == plain
    assert segments(text.split(", "), tmp_path) == plain


def test_steps_can_be_written_out(tmp_path: Path) -> None:
    steps = [{"frames": 5, "move": [0, 0, 1], "speed": 2}, "wait 1s", {"seconds": 0.5, "turn": [0.5, 0, 0]}]
    assert segments(steps, tmp_path) == [
        Segment(Control(move=(0, 0, 1), speed=2), 5),
        Segment(Control(), 24),
        Segment(Control(turn=(0.5, 0, 0)), 12),
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (5, "string of motion words or a list"),
        ([5], "step 1"),
        (["forward 1s", {"move": [0, 0, 1]}], "step 2.*frames or seconds"),
        ([{"frames": 1, "jump": 2}], "jump"),
        ([{"frames": 1, "move": [0, 0]}], "three numbers"),
        ([{"frames": 1, "move": [0, 0, "1"]}], "must be a number"),
        ([{"frames": 1, "move": [0, 0, 2]}], "step 1: move"),
        ([{"frames": 0}], "step 1"),
        ([{"frames": 10**9}], "step 1"),
        ([], "1 to"),
    ],
)
def test_a_file_that_is_no_script_is_refused(tmp_path: Path, content: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        segments(content, tmp_path)


def test_a_function_is_an_input() -> None:
    assert reader(lambda: Control(speed=2))() == Control(speed=2)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Standard input is a terminal; gives the end to type at."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "r") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield ours
    os.close(ours)


def test_keys_are_held_for_a_while_and_add_up(terminal: int) -> None:
    now = [0.0]
    with Keyboard(hold_s=0.5, clock=lambda: now[0]) as keys:
        assert keys.read() == Control()
        os.write(terminal, b"wd\x1b[D")
        assert keys.read() == Control(move=(1, 0, 1), turn=(-1, 0, 0))
        now[0] = 0.4
        os.write(terminal, b"a")
        assert keys.read() == Control(move=(0, 0, 1), turn=(-1, 0, 0))  # left and right cancel out
        now[0] = 0.6
        assert keys.read() == Control(move=(-1, 0, 0))
        now[0] = 1.0
        assert keys.read() == Control()


def test_shift_runs_and_other_keys_do_nothing(terminal: int) -> None:
    with Keyboard(run_speed=3, clock=lambda: 0.0) as keys:
        os.write(terminal, b"W?\x1bOA\xff")
        assert keys.read() == Control(move=(0, 0, 1), turn=(0, 1, 0), speed=3)


def test_the_terminal_is_given_back_as_it_was(terminal: int) -> None:
    before = termios.tcgetattr(sys.stdin.fileno())
    keys = Keyboard()
    keys.read()
    assert not termios.tcgetattr(sys.stdin.fileno())[3] & termios.ECHO
    keys.close()
    assert termios.tcgetattr(sys.stdin.fileno()) == before


def test_without_a_terminal_there_is_no_keyboard(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with (tmp_path / "empty").open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        with pytest.raises(OSError, match="terminal"):
            Keyboard().read()
