"""States told by what has changed come out whole at the other end."""

import pytest
from keepworld_runtime.families.family import WorldState
from keepworld_runtime.journal.state import StateChange


def states(num_chunks: int, kept: int) -> list[WorldState]:
    """A world that keeps a part for each of its last chunks, and one for good."""
    return [
        WorldState(
            head=b"head %d" % chunk,
            parts={"first": b"1"} | {f"{i}": b"part %d" % i for i in range(max(0, chunk - kept + 1), chunk + 1)},
        )
        for chunk in range(num_chunks)
    ]


def test_every_state_arrives_whole_and_no_part_travels_twice():
    known, here, travelled = frozenset(), None, []
    for there in states(10, kept=3):
        change = StateChange.of(there, known)
        known, here = frozenset(change.names), change.onto(here)
        travelled += change.new
        assert (here.head, here.parts) == (there.head, there.parts)
        assert list(here.parts) == list(there.parts)
    assert sorted(travelled) == sorted(["first", *map(str, range(10))])


def test_a_part_that_was_dropped_travels_again_when_it_is_back():
    with_part, without = WorldState(head=b"", parts={"a": b"1"}), WorldState(head=b"", parts={})
    here = StateChange.of(with_part, frozenset()).onto(None)
    here = StateChange.of(without, frozenset({"a"})).onto(here)
    assert not here.parts
    assert StateChange.of(with_part, frozenset(here.parts)).onto(here).parts == {"a": b"1"}


def test_a_part_that_was_never_told_is_a_fault_not_a_guess():
    with pytest.raises(KeyError):
        StateChange(b"", ("a",), {}).onto(None)
