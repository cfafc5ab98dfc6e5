"""What a page may say, and what becomes of anything else."""

from __future__ import annotations

import json

import pytest
from keepworld.motion import Control
from keepworld.play.keeping import Wish, slug
from keepworld.play.messages import MAX_BYTES, Message

KEEP = {"do": "keep", "kinds": ["mesh", "splats"], "quality": "quick", "target": "unity"}


def said(**content: object) -> Message:
    return Message(json.dumps({"do": "x", **content}))


@pytest.mark.parametrize(
    "text", ["", "[]", "7", "{", "[" * 100_000, '{"do": 3}', "{}", '{"do": "' + "x" * MAX_BYTES + '"}']
)
def test_what_is_no_message_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be"):
        Message(text)


def test_a_control_is_read() -> None:
    control, serial = said(move=[0, 0, 1], turn=[-0.5, 0, 0], speed=2, serial=7).control()
    assert control == Control(move=(0, 0, 1), turn=(-0.5, 0, 0), speed=2)
    assert serial == 7


@pytest.mark.parametrize(
    "wrong",
    [
        {"move": [0, 0]},
        {"move": [0, 0, 2]},
        {"move": [0, 0, True]},
        {"move": "forward"},
        {"turn": [0, 0, None]},
        {"speed": 9},
        {"serial": -1},
        {"serial": 0.5},
    ],
)
def test_a_control_out_of_range_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        said(**{"move": [0, 0, 0], "turn": [0, 0, 0], "serial": 0, **wrong}).control()
    with pytest.raises(ValueError, match="move"):
        Message('{"do": "x", "move": [NaN, 0, 0], "turn": [0, 0, 0], "serial": 0}').control()


def test_wishes_name_what_there_is() -> None:
    wish = Wish.of(Message(json.dumps(KEEP)), first=0, last=4)
    assert wish.kinds == ("splats", "mesh")
    with pytest.raises(ValueError, match="nothing to keep"):
        Wish.of(Message(json.dumps(KEEP)), first=4, last=4)
    for name, value in (("kinds", ["../../etc"]), ("kinds", []), ("quality", "--preset"), ("target", None)):
        with pytest.raises(ValueError, match=name):
            Wish.of(Message(json.dumps({**KEEP, name: value})), first=0, last=4)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Village by the Sea, sunset", "village-by-the-sea-sunset"),
        ("../../etc/passwd\0", "etc-passwd"),
        ('"><script>', "script"),
        ("Café au lait", "cafe-au-lait"),
        ("日本", "world"),
        ("", "world"),
        ("x" * 300, "x" * 40),
    ],
)
def test_a_name_of_a_file_is_plain(text: str, name: str) -> None:
    assert slug(text) == name
