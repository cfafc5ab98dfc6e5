"""What was kept is there, whole, and nothing else is."""

import shutil
import sqlite3

import numpy as np
import pytest
from keepworld_runtime.families.family import Clip, WorldSpec
from keepworld_runtime.journal import record
from keepworld_runtime.journal.blobs import MemoryBlobs, StoredBlobs, name_of
from keepworld_runtime.journal.journal import Journal, LineGoneError, PointGoneError
from keepworld_runtime.journal.record import Parts
from keepworld_runtime.journal.specs import Origin
from keepworld_runtime.journal.tree import Waiting

from tests.runtime.journal.chunks import SPEC, begun, made, opened, steps, walked


def parts(number: int, way: float = 0.5) -> dict[str, bytes]:
    """The parts of the state after a chunk, all walked one way."""
    return {f"part {n}": f"{n} {way}".encode() for n in range(max(0, number - 2), number + 1)}


def test_what_is_closed_and_opened_again_is_as_it_was(tmp_path):
    journal = opened(tmp_path)
    digests = walked(journal, 5)
    journal.save_waiting("s", [Waiting(chunk=7, asked=steps(0).events[0])])
    journal.save_begun("s", steps(5))
    journal.close()
    journal = opened(tmp_path)
    (kept,) = journal.sessions()
    point = kept.line.point
    assert (kept.id, kept.token_digest, kept.line.number, point.chunks) == ("s", b"t", 1, 5)
    assert kept.waiting == (Waiting(chunk=7, asked=steps(0).events[0]),)
    assert record.encode_begun(kept.begun) == record.encode_begun(steps(5))
    assert journal.origin(point) == Origin(family="gradient", version="1", spec=SPEC)
    assert journal.digests(point) == digests
    for number, found in enumerate(journal.records(point)):
        expected = made(number)
        assert found.begun.controls == expected.begun.controls
        assert found.begun.events == expected.begun.events
        assert found.begun.poses[0] is None
        np.testing.assert_array_equal(found.begun.poses[1], expected.begun.poses[1])
        np.testing.assert_array_equal(found.cameras, [frame.c2w for frame in expected.frames])
        assert found.frames == tuple(map(record.checksum, expected.frames))
    for chunks in range(1, 6):
        state = journal.state(journal.at(point, chunks))
        assert (state.head, dict(state.parts)) == (made(chunks - 1).change.head, parts(chunks - 1))
        assert list(state.parts) == list(parts(chunks - 1))
    assert journal.state(journal.at(point, 0)) is None


def test_a_chunk_that_was_made_is_not_made_again(tmp_path):
    journal = opened(tmp_path)
    begun(journal)
    journal.save_begun("s", steps(0))
    journal.commit("s", 1, made(0))
    assert journal.sessions()[0].begun is None


def test_events_wait_only_for_chunks_that_have_not_been_begun(tmp_path):
    journal, asked = opened(tmp_path), steps(0).events[0]
    walked(journal, 2)
    journal.save_waiting("s", [Waiting(chunk=chunk, asked=asked) for chunk in (1, 2, 3)])
    assert [each.chunk for each in journal.sessions()[0].waiting] == [2, 3]
    journal.save_begun("s", steps(2))
    assert [each.chunk for each in journal.sessions()[0].waiting] == [3]


def test_a_tail_torn_at_any_byte_is_cut_back_to_the_last_whole_chunk(tmp_path):
    journal = opened(tmp_path)
    walked(journal, 3)
    log = tmp_path / "journal.sqlite-wal"
    before = log.stat().st_size
    digest = journal.digest(journal.line("s", 1).point)
    journal.commit("s", 1, made(3))
    after = log.stat().st_size
    last = journal.digest(journal.line("s", 1).point)
    torn = tmp_path / "torn"
    torn.mkdir()
    whole = log.read_bytes()
    shutil.copy(tmp_path / "journal.sqlite", torn)  # as a kill leaves it: neither closed nor checkpointed
    main = (torn / "journal.sqlite").read_bytes()
    journal.close()
    outcomes = set()
    sizes = [*range(before, after, 97), *range(after - 40, after + 1)]
    for size in sizes:
        (torn / "journal.sqlite").write_bytes(main)
        (torn / "journal.sqlite-wal").write_bytes(whole[:size])
        shutil.copytree(tmp_path / "blobs", torn / "blobs", dirs_exist_ok=True)
        found = opened(torn)
        point = found.line("s", 1).point
        assert (point.chunks, found.digest(point)) == ((4, last) if size == after else (3, digest))
        outcomes.add(point.chunks)
        found.close()
    assert outcomes == {3, 4}


@pytest.mark.parametrize("damage", ["record", "blob"])
def test_a_damaged_chunk_is_cut_off_with_all_that_follow(tmp_path, damage):
    journal = opened(tmp_path)
    digests = walked(journal, 4)
    journal.close()
    if damage == "blob":
        lost = name_of(b"2 0.5")
        (tmp_path / "blobs" / lost[:2] / lost).unlink()
    else:
        with sqlite3.connect(tmp_path / "journal.sqlite") as db:
            (body,) = db.execute("SELECT body FROM chunks WHERE number = 2").fetchone()
            db.execute("UPDATE chunks SET body = ? WHERE number = 2", (body.replace(b"rain", b"snow"),))
        db.close()
    journal = opened(tmp_path)
    point = journal.line("s", 1).point
    assert (point.chunks, journal.digest(point)) == (2, digests[1])
    assert dict(journal.state(point).parts) == parts(1)
    assert journal.commit("s", 1, made(2)) == digests[2]


def test_going_back_shares_what_came_before_and_keeps_what_is_undone(tmp_path):
    journal = opened(tmp_path)
    digests = walked(journal, 4)
    num_blobs = len(list(journal.blobs.names()))
    line = journal.rewind("s", 1, journal.at(journal.line("s", 1).point, 2), (), max_lines=9)
    assert (line.number, line.point.chunks, line.parent, line.shared) == (2, 2, 1, 2)
    assert len(list(journal.blobs.names())) == num_blobs
    assert journal.commit("s", 2, made(2)) == digests[2]  # the same again is the same
    other = journal.rewind("s", 2, journal.at(journal.line("s", 2).point, 2), (), max_lines=9)
    assert journal.commit("s", other.number, made(2, way=0.25)) != digests[2]
    assert [(each.number, each.point.chunks) for each in journal.lines("s")] == [(1, 4), (2, 3), (3, 3)]
    assert journal.digest(journal.line("s", 1).point) == digests[3]
    back = journal.rewind("s", 3, journal.line("s", 1).point, (), max_lines=9)
    assert (back.number, journal.sessions()[0].line.number) == (1, 1)  # that line is there: no other is needed


def test_what_nothing_reaches_is_gone_and_what_something_reaches_is_not(tmp_path):
    journal = opened(tmp_path)
    walked(journal, 4)
    snapshot = journal.add_snapshot(journal.at(journal.line("s", 1).point, 2), "two", max_snapshots=9)
    journal.remove_session("s")
    assert sorted(journal.blobs.names()) == sorted(name_of(part) for part in parts(1).values())
    assert dict(journal.state(snapshot.point).parts) == parts(1)
    with pytest.raises(LineGoneError):
        journal.line("s", 1)
    journal.remove_snapshot(snapshot.id)
    assert list(journal.blobs.names()) == []
    assert journal.snapshots() == []


def test_the_oldest_lines_and_snapshots_go_first(tmp_path):
    journal = opened(tmp_path)
    walked(journal, 5)
    line = 1
    for chunks in (4, 3, 2, 1):
        line = journal.rewind("s", line, journal.at(journal.line("s", line).point, chunks), (), max_lines=3).number
    assert [each.number for each in journal.lines("s")] == [3, 4, 5]
    kept = [journal.add_snapshot(journal.line("s", 5).point, str(i), max_snapshots=2).name for i in range(4)]
    assert [each.name for each in journal.snapshots()] == kept[:1:-1]


def test_a_chunk_that_does_not_follow_is_refused(tmp_path):
    journal = opened(tmp_path)
    walked(journal, 1)
    with pytest.raises(OSError, match="chunk 2 cannot follow 1 chunks"):
        journal.commit("s", 1, made(2))


def test_a_journal_has_one_server(tmp_path):
    journal = opened(tmp_path)
    with pytest.raises(ValueError, match="does another server use it"):
        opened(tmp_path)
    journal.close()
    opened(tmp_path).close()


def test_what_a_world_began_with_comes_back(tmp_path, rng):
    frames = rng.integers(0, 256, (3, 4, 5, 3), np.uint8)
    c2ws = rng.normal(size=(3, 4, 4))
    journal = opened(tmp_path)
    for clip in (Clip(frames=frames, c2ws=c2ws), Clip(frames=frames, c2ws=None)):
        spec = WorldSpec(prompt="", seed=0, width=8, height=8, mode="fly", clip=clip)
        found = journal.origin(journal.begin(Origin(family="g", version="1", spec=spec))).spec.clip
        np.testing.assert_array_equal(found.frames, frames)
        assert (found.c2ws is None) == (clip.c2ws is None)
        if clip.c2ws is not None:
            np.testing.assert_array_equal(found.c2ws, c2ws)
    spec = WorldSpec(prompt="", seed=0, width=8, height=8, mode="fly", image=frames[0])
    np.testing.assert_array_equal(
        journal.origin(journal.begin(Origin(family="g", version="1", spec=spec))).spec.image, frames[0]
    )


def test_parts_may_change_places(rng):
    names = [f"n{i}" for i in range(8)]
    for _ in range(200):
        before, after = (
            {str(name): name_of(name.encode()) for name in rng.permutation(names)[: rng.integers(0, 8)]}
            for _ in range(2)
        )
        told = Parts.between(before, after).onto(before)
        assert list(told.items()) == list(after.items())


@pytest.mark.parametrize("place", ["memory", "file", "s3"])
def test_blobs_are_kept_once_under_their_hash(tmp_path, request, place):
    urls = {"memory": "memory://walks", "file": tmp_path.as_uri()}
    blobs = StoredBlobs(urls.get(place) or request.getfixturevalue("bucket"))
    assert list(blobs.names()) == []
    name = blobs.put(b"abc")
    assert name == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2
    assert blobs.put(b"abc") == name
    assert (blobs.get(name), list(blobs.names())) == (b"abc", [name])
    blobs.remove([name, name])
    assert list(blobs.names()) == []
    with pytest.raises(FileNotFoundError):
        blobs.get(name)


def test_a_journal_in_memory_has_a_bound():
    blobs = MemoryBlobs(10)
    name = blobs.put(b"12345678")
    with pytest.raises(OSError, match="at most 10 bytes"):
        blobs.put(b"abc")
    blobs.remove([name])
    blobs.put(b"abc")


@pytest.mark.parametrize("chunks", [0, 3])
def test_what_led_to_a_snapshot_that_was_forgotten_is_gone_and_said_so(tmp_path, chunks):
    journal = opened(tmp_path)
    walked(journal, 3)
    kept = journal.add_snapshot(journal.at(journal.line("s", 1).point, chunks), "", 9)
    journal.remove_session("s")
    assert b"".join(journal.written(kept.point))
    journal.remove_snapshot(kept.id)
    for ask in (journal.origin, journal.state, journal.written):
        with pytest.raises(PointGoneError):
            ask(kept.point)


def test_the_5000th_chunk_is_as_much_work_as_the_50th():
    """Counted: instructions of SQLite's machine, and bytes put into the blobs."""
    journal, steps_done = Journal(None, MemoryBlobs(1 << 30)), 0

    def count() -> int:
        nonlocal steps_done
        steps_done += 1
        return 0

    begun(journal)
    work = {50: [], 5000: []}
    for number in range(5010):
        counted = next((found for at, found in work.items() if at - 10 <= number < at + 10), None)
        journal._db.set_progress_handler(None if counted is None else count, 1)
        before, put = steps_done, journal.blobs._num_bytes
        journal.save_begun("s", steps(number))
        journal.commit("s", 1, made(number))
        if counted is not None:
            counted.append((steps_done - before, journal.blobs._num_bytes - put))
    early, late = (np.mean(found, axis=0) for found in work.values())
    assert early.min() > 0
    assert (np.abs(late - early) <= 0.1 * early + 2).all()  # numbers have more digits
