"""Events start with exactly the chunk that was named, or are refused."""

import pytest
from keepworld_runtime.engine.errors import EventPastError, QueueFullError
from keepworld_runtime.engine.events import EventTimeline
from keepworld_runtime.families.family import Event
from keepworld_runtime.journal.record import Asked

from tests.families import GradientFamily

CAPABILITIES = GradientFamily.capabilities


def asked(**when) -> Asked:
    return Asked(request_id="r", event=Event(text="rain", ramp_s=0.0), **when)


def test_seconds_mean_the_first_chunk_that_starts_then_or_later():
    timeline = EventTimeline(CAPABILITIES, max_pending=1000)
    starts_s = [CAPABILITIES.first_frame_of(chunk) / CAPABILITIES.fps for chunk in range(200)]
    for tenth in range(0, 1200):
        seconds = tenth / 10
        slow = next(chunk for chunk, start_s in enumerate(starts_s) if start_s >= seconds - 1e-9)
        assert EventTimeline(CAPABILITIES, max_pending=1).add(asked(seconds=seconds), next_chunk=0) == slow
    for chunk, start_s in enumerate(starts_s):
        assert timeline.add(asked(seconds=start_s), next_chunk=0) == chunk


def test_without_a_time_it_is_the_next_chunk():
    assert EventTimeline(CAPABILITIES, max_pending=1).add(asked(), next_chunk=5) == 5


@pytest.mark.parametrize("when", [{"chunk": 4}, {"seconds": 1.0}])
def test_what_is_past_is_refused(when):
    with pytest.raises(EventPastError, match="the next chunk is 5"):
        EventTimeline(CAPABILITIES, max_pending=1).add(asked(**when), next_chunk=5)


def test_events_are_handed_over_once_in_the_order_they_came():
    timeline = EventTimeline(CAPABILITIES, max_pending=3)
    first, second, third = asked(chunk=2), asked(), asked(chunk=2)
    for each in (first, second, third):
        timeline.add(each, next_chunk=1)
    with pytest.raises(QueueFullError):
        timeline.add(asked(), next_chunk=1)
    assert [timeline.take(chunk) for chunk in range(4)] == [(), (second,), (first, third), ()]
    assert timeline.take(2) == ()
