"""What a process of this machine uses, from /proc."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_USER, _SYSTEM = 11, 12  # fields of /proc/PID/stat behind the name, see proc(5)
_RESIDENT = 1  # field of /proc/PID/statm


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """What a process has used so far.

    Attributes:
        own_s: processor time of its own.
        children_s: of the processes it has started, as far as they live.
        rss: resident bytes of its own now.
    """

    own_s: float
    children_s: float
    rss: int

    def since(self, earlier: Usage) -> Usage:
        """The processor time since then."""
        return Usage(own_s=self.own_s - earlier.own_s, children_s=self.children_s - earlier.children_s, rss=self.rss)


def usage(pid: int) -> Usage:
    """Read what a process and its children have used.

    Raises:
        OSError: there is no such process.
    """
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[_RESIDENT])
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for task in Path(f"/proc/{pid}/task").iterdir():
        if task.name != str(pid):
            children += (task / "children").read_text().split()
    return Usage(
        own_s=_processor_s(pid),
        children_s=sum(_processor_s(int(child)) for child in children),
        rss=pages * os.sysconf("SC_PAGE_SIZE"),
    )


def _processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[_USER]) + int(fields[_SYSTEM])) / _TICKS
