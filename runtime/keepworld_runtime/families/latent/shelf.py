"""Prepared things by name: made once, by whoever asks first, and kept while recent."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class Shelf(Generic[T]):
    """A cache that several threads may ask; one that asks for what another is making waits for it.

    Args:
        make: makes what a name stands for.
        size: how many are kept, the last ones asked for.
    """

    def __init__(self, make: Callable[[str], T], size: int) -> None:
        self._make = make
        self._size = size
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Future[T]] = OrderedDict()

    def get(self, name: str) -> T:
        """What `name` stands for. What making it raises is raised for everyone who waited, and is tried again next time."""
        with self._lock:
            future = self._kept.get(name)
            is_mine = future is None
            if future is None:
                future = self._kept[name] = Future()
            self._kept.move_to_end(name)
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)
        if is_mine:
            self._fill(name, future)
        return future.result()

    def _fill(self, name: str, future: Future[T]) -> None:
        try:
            future.set_result(self._make(name))
        except BaseException as error:
            with self._lock:
                if self._kept.get(name) is future:
                    del self._kept[name]
            future.set_exception(error)
