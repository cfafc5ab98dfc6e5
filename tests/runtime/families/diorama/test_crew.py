"""Threads that share work in the order of its steps."""

import gc
import threading
import time
from functools import partial

import pytest
from keepworld_runtime.families.diorama.crew import Crew


@pytest.mark.parametrize("num_threads", [1, 3])
def test_a_step_begins_when_all_of_the_one_before_are_done(num_threads):
    done: list[tuple[int, int]] = []
    started: list[tuple[int, int, int]] = []

    def part(job: int, step: int) -> None:
        started.append((job, step, sum(each == (job, step - 1) for each in done)))
        time.sleep(0.001)
        done.append((job, step))

    crew = Crew(num_threads)
    waits = [crew.begin([[partial(part, job, step)] * 7 for step in range(4)]) for job in range(5)]
    for wait in reversed(waits):
        wait()
    assert len(done) == 5 * 4 * 7
    assert all(before == 7 for _, step, before in started if step > 0)


def test_what_was_asked_for_first_is_done_first_and_nobody_waits_for_the_rest_of_a_step():
    """One thread is held within the first job's first step: another begins the second job, and leaves it for the second step."""
    crew, held, order = Crew(2), threading.Event(), []
    is_begun, goes_on = threading.Event(), threading.Event()

    def later() -> None:
        order.append("later")
        is_begun.set()
        goes_on.wait(10)

    first = crew.begin([[partial(held.wait, 10)], [partial(order.append, "second step")] * 2])
    second = crew.begin([[later, *[partial(order.append, "rest")] * 2]])
    assert is_begun.wait(10)
    held.set()
    first()
    assert order[:3] == ["later", "second step", "second step"]
    goes_on.set()
    second()
    assert sorted(order[3:]) == ["rest", "rest"]


def test_what_a_part_raises_is_raised_where_it_is_waited_for_and_ends_its_own_job_alone():
    def fail() -> None:
        raise ZeroDivisionError("by a part")

    crew, done = Crew(2), []
    bad = crew.begin([[fail, partial(done.append, 1)], [partial(done.append, 2)]])
    good = crew.begin([[partial(done.append, 3)]])
    with pytest.raises(ZeroDivisionError, match="by a part"):
        bad()
    good()
    assert sorted(done) == [1, 3]


def test_its_threads_end_with_it():
    others = set(threading.enumerate())
    crew = Crew(4)
    its = set(threading.enumerate()) - others
    crew.begin([[time.monotonic]])()
    assert len(its) == 4 and all(thread.is_alive() for thread in its)
    del crew
    gc.collect()
    for thread in its:
        thread.join(10)
    assert not any(thread.is_alive() for thread in its)
