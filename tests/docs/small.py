"""Runs the Python of a page, all its blocks one after the other, with frames that are small unless the page says their size."""

from __future__ import annotations

import runpy
import sys
from typing import Any

from keepworld.sessions import AsyncSessions, Opening

SIZE = (128, 72)
_open = AsyncSessions.open


def _open_small(self: AsyncSessions, *words: Any, **options: Any) -> Opening:
    if options.get("snapshot") is None and options.get("size") is None:
        options["size"] = SIZE
    return _open(self, *words, **options)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        SIZE = tuple(map(int, sys.argv[2].split("x")))
    AsyncSessions.open = _open_small  # type: ignore[method-assign]
    runpy.run_path(sys.argv[1], run_name="__main__")
