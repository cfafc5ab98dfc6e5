"""Whose turn it is: checked in closed form, and by playing whole afternoons against a clock that is only a number."""

import math

import pytest
from keepworld_runtime.engine.scheduler import Turn, choose


def turn(key, deadline_s, chunk_s=0.1, *, is_realtime=False):
    return Turn(key=key, deadline_s=deadline_s, chunk_s=chunk_s, is_realtime=is_realtime)


def test_nothing_to_do_waits_for_ever():
    choice = choose([], 5.0)
    assert choice.key is None and choice.wake_s == math.inf


def test_the_earliest_deadline_goes_first():
    assert choose([turn("late", 9.0), turn("early", 8.0)], 5.0).key == "early"


def test_a_realtime_chunk_begins_as_late_as_it_can_and_in_time():
    waiting = [turn("a", 10.0, 0.4, is_realtime=True)]
    choice = choose(waiting, 9.0)
    assert choice.key is None
    assert 9.4 < choice.wake_s < 9.6
    assert choose(waiting, choice.wake_s).key == "a"


def test_two_realtime_chunks_due_together_both_get_there():
    choice = choose([turn("a", 10.0, 0.3, is_realtime=True), turn("b", 10.0, 0.3, is_realtime=True)], 9.0)
    assert choice.key is None
    assert choice.wake_s + 0.6 < 10.0


def test_a_chunk_without_a_clock_waits_if_it_would_make_a_realtime_one_late():
    realtime = turn("realtime", 10.0, 0.2, is_realtime=True)
    assert choose([realtime, turn("batch", 9.9, 0.5)], 9.0).key == "batch"
    assert choose([realtime, turn("batch", 9.9, 0.5)], 9.5).key == "realtime"


def _play(chunks: dict, until_s: float) -> tuple[dict, dict, dict]:
    """Play sessions {name: (chunk_s, is_realtime)} on one worker; chunks drawn, lateness and lead of realtime ones."""
    length_s, now_s = 16 / 24, 0.0
    deadlines = {name: 0.5 if is_realtime else length_s for name, (_, is_realtime) in chunks.items()}
    drawn, late_s, early_s = dict.fromkeys(chunks, 0), dict.fromkeys(chunks, 0.0), dict.fromkeys(chunks, 0.0)
    while now_s < until_s:
        turns = [
            turn(name, deadlines[name], chunk_s, is_realtime=is_realtime)
            for name, (chunk_s, is_realtime) in chunks.items()
        ]
        choice = choose(turns, now_s)
        if choice.key is None:
            now_s = choice.wake_s
            continue
        name = choice.key
        chunk_s, is_realtime = chunks[name]
        early_s[name] = max(early_s[name], deadlines[name] - chunk_s - now_s)
        now_s += chunk_s
        drawn[name] += 1
        late_s[name] = max(late_s[name], now_s - deadlines[name])
        deadlines[name] = max(deadlines[name], now_s) + length_s if is_realtime else now_s + length_s
    return drawn, late_s, early_s


def test_batch_fills_what_realtime_leaves_and_makes_it_no_later():
    drawn, late_s, early_s = _play({"a": (0.2, True), "b": (0.2, True), "batch": (0.3, False)}, 600.0)
    assert late_s["a"] <= 0 and late_s["b"] <= 0
    assert [drawn["a"], drawn["b"]] == pytest.approx([900, 900], abs=2)
    assert drawn["batch"] * 0.3 == pytest.approx(600 - 900 * 0.4, rel=0.02)
    assert max(early_s["a"], early_s["b"]) < 0.3 + 2 * 0.2  # early by the other chunks' time, never more and more


@pytest.mark.parametrize("batch_s", [0.05, 0.5, 2.0])
def test_batch_is_never_starved(batch_s):
    drawn, _, _ = _play({"a": (0.3, True), "b": (0.32, True), "batch": (batch_s, False)}, 600.0)
    assert drawn["batch"] * batch_s > 0.04 * 600
    assert drawn["a"] > 200


def test_busy_sessions_take_turns():
    drawn, _, _ = _play(dict.fromkeys("abcde", (0.1, False)), 100.0)
    assert max(drawn.values()) - min(drawn.values()) <= 1
