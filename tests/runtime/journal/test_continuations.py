"""What a chunk goes on from is kept with it: from the moment it is asked for until nothing reaches it any more."""

import sqlite3
from dataclasses import replace

import numpy as np
import pytest
from keepworld.motion import NEUTRAL, Control
from keepworld_runtime.families.family import Clip, Event, Recording
from keepworld_runtime.journal import continuations, record
from keepworld_runtime.journal.blobs import MemoryBlobs
from keepworld_runtime.journal.journal import LineGoneError

from tests.runtime.journal.chunks import made, opened, steps, walked

FRAMES = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), np.uint8)
CAMERAS = np.repeat(np.eye(4)[None], 3, axis=0) + np.arange(3)[:, None, None] * np.eye(4, k=3)
WALK = Recording(
    mode="walk",
    controls=(NEUTRAL, *[Control(move=(0.1, 0.0, 1 / 3), turn=(0.2, 0.0, 0.0), speed=2.0)] * 2),
    c2ws=CAMERAS,
    events=((0, Event(text="rain", ramp_s=0.5)), (1, Event(text="snow", ramp_s=1.0, duration_s=1 / 3))),
)
CLIP = Clip(frames=FRAMES, c2ws=None)


def extended(chunk, given):
    """Chunk `chunk`, made from what was given."""
    drawn = made(chunk)
    return replace(drawn, begun=replace(drawn.begun, given=given))


@pytest.mark.parametrize("given", [CLIP, Clip(frames=FRAMES, c2ws=CAMERAS, is_from_here=True), WALK], ids=type)
def test_it_comes_back_as_it_was_given(given):
    blobs = MemoryBlobs(1 << 20)
    kept = continuations.keep("id", "asked", given, blobs)
    begun = record.decode_begun(record.encode_begun(replace(steps(4), given=kept)))
    assert begun.given == kept
    found = begun.request(blobs).continuation
    if isinstance(given, Clip):
        np.testing.assert_array_equal(found.frames, given.frames)
        assert found.is_from_here == given.is_from_here
    else:
        assert (found.mode, found.controls, found.events) == (given.mode, given.controls, given.events)
    assert (found.c2ws is None) == (given.c2ws is None)
    if given.c2ws is not None:
        np.testing.assert_array_equal(found.c2ws, given.c2ws)


def test_it_waits_is_begun_and_is_kept_over_every_kill(tmp_path):
    journal = opened(tmp_path)
    walked(journal, 2)
    given = journal.save_continuation("s", "x", "hash", CLIP)
    journal.close()
    journal = opened(tmp_path)  # killed while it waits
    (kept,) = journal.sessions()
    assert (kept.continuation, kept.begun) == (given, None)
    begun = replace(steps(2), given=given)
    journal.save_begun("s", begun)
    other = journal.save_continuation("s", "y", "hash", CLIP)  # the next waits already
    journal.close()
    journal = opened(tmp_path)  # killed while the chunk is made
    (kept,) = journal.sessions()
    assert (kept.begun.given, kept.continuation) == (given, other)
    journal.save_begun("s", begun)  # made again: what waits goes on waiting
    assert journal.sessions()[0].continuation == other
    assert journal.taken("s", 1, "x") is None
    journal.commit("s", 1, extended(2, given))
    assert journal.taken("s", 1, "x") == (2, given)
    assert journal.taken("s", 1, "e") is None  # an event's
    journal.close()
    journal = opened(tmp_path)  # killed behind it
    assert journal.sessions()[0].continuation == other
    point = journal.line("s", 1).point
    np.testing.assert_array_equal(journal.records(point)[2].begun.request(journal.blobs).continuation.frames, FRAMES)
    journal.rewind("s", 1, journal.at(point, 2), (), max_lines=9)
    assert journal.sessions()[0].continuation is None  # what waited is undone, what was made is on the other line
    assert given.blobs[0] in list(journal.blobs.names())
    journal.remove_session("s")
    assert list(journal.blobs.names()) == []
    with pytest.raises(LineGoneError):
        journal.save_continuation("s", "z", "hash", CLIP)
    assert list(journal.blobs.names()) == []


@pytest.mark.parametrize("when", ["waiting", "begun"])
def test_a_session_whose_frames_were_lost_goes_on_without_them(tmp_path, when):
    journal = opened(tmp_path)
    digests = walked(journal, 2)
    given = journal.save_continuation("s", "x", "hash", CLIP)
    if when == "begun":
        journal.save_begun("s", replace(steps(2), given=given))
    (lost,) = given.blobs
    journal.close()
    (tmp_path / "blobs" / lost[:2] / lost).unlink()
    journal = opened(tmp_path)
    (kept,) = journal.sessions()
    assert (kept.begun, kept.continuation, kept.line.point.chunks) == (None, None, 2)
    assert journal.digests(kept.line.point) == digests
    assert journal.commit("s", 1, made(2))


def test_what_is_held_stays_until_it_is_let_go(tmp_path):
    journal = opened(tmp_path)
    walked(journal, 1)
    given = journal.save_continuation("s", "x", "hash", CLIP)
    journal.hold(given.blobs)
    journal.remove_session("s")
    journal.sweep()
    assert list(journal.blobs.names()) == list(given.blobs)
    journal.let_go(given.blobs)
    assert list(journal.blobs.names()) == []


def test_a_journal_of_before_is_taken_over(tmp_path):
    journal = opened(tmp_path)
    digests = walked(journal, 2)
    journal.close()
    with sqlite3.connect(tmp_path / "journal.sqlite") as db:
        db.executescript(
            "ALTER TABLE blobs DROP COLUMN session; ALTER TABLE sessions DROP COLUMN continuation; PRAGMA user_version = 1;"
        )
    db.close()
    journal = opened(tmp_path)
    assert journal.digests(journal.line("s", 1).point) == digests
    given = journal.save_continuation("s", "x", "hash", CLIP)
    journal.commit("s", 1, extended(2, given))
    journal.close()
    journal = opened(tmp_path)
    assert journal.taken("s", 1, "x") == (2, given)
    journal.close()
    with sqlite3.connect(tmp_path / "journal.sqlite") as db:
        db.execute("PRAGMA user_version = 3")
    db.close()
    with pytest.raises(ValueError, match="version 3"):
        opened(tmp_path)


@pytest.mark.parametrize(
    "told",
    [
        {"clip": {"blob": "../../etc/passwd", "shape": [1, 1, 1, 3]}, "from_here": False},
        {"clip": {"blob": "a" * 64, "shape": [1, 1, 1, 3]}},
        {"clip": {"blob": "{short}", "shape": [9, 9, 9, 3]}, "from_here": False},
        {"recording": {"blob": "{short}"}},
        {"recording": {"blob": "{nested}"}},
        {},
    ],
)
def test_what_was_forged_is_refused(told):
    blobs = MemoryBlobs(1 << 20)
    named = {"{short}": blobs.put(b"abc"), "{nested}": blobs.put(b"[" * 100_000)}
    for part in told.values():
        if isinstance(part, dict):
            part["blob"] = named.get(part["blob"], part["blob"])
    with pytest.raises((ValueError, FileNotFoundError)):
        continuations.fetch(continuations.decode({"request_id": "x", "asked": "y", **told}), blobs)
