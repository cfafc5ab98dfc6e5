import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from keepworld_runtime.families.latent.shelf import Shelf


def test_a_thing_is_made_once_for_all_who_ask_at_the_same_time():
    made, together = [], threading.Barrier(4)

    def make(name):
        made.append(name)
        return object()

    shelf = Shelf(make, 2)

    def ask(_):
        together.wait()
        return shelf.get("a")

    with ThreadPoolExecutor(4) as threads:
        things = set(threads.map(ask, range(4)))
    assert made == ["a"] and len(things) == 1


def test_only_the_last_ones_asked_for_are_kept():
    made = []
    shelf = Shelf(lambda name: made.append(name) or name.upper(), 2)
    assert [shelf.get(name) for name in ("a", "b", "a", "c", "a", "b")] == ["A", "B", "A", "C", "A", "B"]
    assert made == ["a", "b", "c", "b"]


def test_what_could_not_be_made_is_tried_again():
    attempts = []

    def make(name):
        attempts.append(name)
        if len(attempts) == 1:
            raise RuntimeError("no memory")
        return "made"

    shelf = Shelf(make, 2)
    with pytest.raises(RuntimeError, match="no memory"):
        shelf.get("a")
    assert shelf.get("a") == "made"
