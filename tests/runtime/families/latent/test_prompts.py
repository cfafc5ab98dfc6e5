import pytest
from keepworld_runtime.families.family import Event
from keepworld_runtime.families.latent.prompts import PromptTimeline

OPENING = PromptTimeline("a valley in spring")


def event(text, *, ramp_s=0.0, duration_s=None):
    return Event(text=text, ramp_s=ramp_s, duration_s=duration_s)


def test_without_events_the_opening_text_counts_for_everything():
    assert OPENING.texts_at(100.0) == (("a valley in spring", 1.0),)


def test_an_event_without_a_ramp_switches_the_text():
    timeline = OPENING.with_event(event("it snows"), 2.0)
    assert timeline.texts_at(1.99) == (("a valley in spring", 1.0),)
    assert timeline.texts_at(2.0) == (("a valley in spring. it snows", 1.0),)


def test_an_event_comes_in_linearly_over_its_ramp():
    timeline = OPENING.with_event(event("it snows", ramp_s=4.0), 2.0)
    assert dict(timeline.texts_at(3.0)) == {"a valley in spring": 0.75, "a valley in spring. it snows": 0.25}
    assert timeline.texts_at(5.0)[0] == ("a valley in spring. it snows", 0.75)
    assert timeline.texts_at(6.0) == (("a valley in spring. it snows", 1.0),)


def test_an_event_goes_again_after_its_duration_over_another_ramp():
    timeline = OPENING.with_event(event("it snows", ramp_s=2.0, duration_s=10.0), 0.0)
    assert timeline.texts_at(9.0) == (("a valley in spring. it snows", 1.0),)
    assert dict(timeline.texts_at(11.0)) == {"a valley in spring": 0.5, "a valley in spring. it snows": 0.5}
    assert timeline.texts_at(12.0) == (("a valley in spring", 1.0),)


def test_events_add_up_and_each_goes_by_itself():
    timeline = OPENING.with_event(event("it snows.", duration_s=10.0), 0.0).with_event(event("a fox appears"), 5.0)
    assert timeline.texts_at(6.0) == (("a valley in spring. it snows. a fox appears", 1.0),)
    assert timeline.texts_at(11.0) == (("a valley in spring. a fox appears", 1.0),)


def test_weights_always_add_up_to_one_and_two_texts_are_the_most():
    timeline = OPENING
    for number in range(5):
        timeline = timeline.with_event(event(f"thing {number}", ramp_s=3.0, duration_s=4.0), float(number))
    for tenths in range(150):
        texts = timeline.texts_at(tenths / 10)
        assert len(texts) <= 2
        assert sum(weight for _, weight in texts) == pytest.approx(1.0)


def test_what_is_over_can_be_forgotten_without_a_difference():
    timeline = OPENING.with_event(event("it snows", ramp_s=1.0, duration_s=2.0), 0.0).with_event(
        event("a fox appears"), 1.0
    )
    shorter = timeline.forgetting(3.5)
    assert len(shorter.entries) == 1
    assert [shorter.texts_at(t) for t in (3.5, 9.0)] == [timeline.texts_at(t) for t in (3.5, 9.0)]


def test_events_come_in_the_order_of_time():
    with pytest.raises(ValueError, match="start_s must be at least 5"):
        OPENING.with_event(event("a"), 5.0).with_event(event("b"), 4.0)


def test_the_newest_text_is_what_an_event_leads_to():
    timeline = OPENING.with_event(event("it snows", ramp_s=4.0), 2.0)
    assert timeline.newest_text() == timeline.texts_at(6.0)[0][0]
