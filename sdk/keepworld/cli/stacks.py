"""Where a running Python process spends its time, from samples that py-spy takes of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass

_SHOWN = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """A function, and its part of the process's time on a processor."""

    name: str
    part: float


async def hottest(pid: int, seconds: float) -> list[Share]:
    """The functions that a process is in most, by their own time; [] if it may not be looked at."""
    process = await asyncio.create_subprocess_exec(
        "py-spy", "record", "--format", "raw", "--output", "/dev/stdout", "--duration", str(max(1, round(seconds))),
        "--nonblocking", "--pid", str(pid),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    text, _ = await process.communicate()
    return shares(text.decode(errors="replace"))


def shares(stacks: str) -> list[Share]:
    """Sum up lines of ``outer;inner;innermost COUNT``; the largest first."""
    tally = Counter[str]()
    for line in stacks.splitlines():
        stack, _, number = line.rpartition(" ")
        if stack and number.isdecimal():
            tally[stack.rpartition(";")[2]] += int(number)
    total = tally.total()
    return [Share(name=name, part=number / total) for name, number in tally.most_common(_SHOWN)]
