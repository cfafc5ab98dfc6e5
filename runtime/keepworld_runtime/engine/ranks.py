"""Processes that are told the same, in the same order, and answer as one: frames and states come from the first."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from keepworld_runtime.engine.messages import Broken, Command, Failed
from keepworld_runtime.engine.process import FrameDrawn, GroupLostError, Heard, Process
from keepworld_runtime.engine.worker import WorkerSetup
from keepworld_runtime.families.family import Place

STRAGGLER_S = 5.0  # when one rank has failed, the others fail too within this, or wait for it in vain

Last = asyncio.Task[Heard]  # of a rank that gives no frames: its one answer to a call


class RanksDisagreeError(GroupLostError):
    """One rank failed and another did not: they cannot go on together."""


class Ranks:
    """The processes of a group; started at once, ended by `end`.

    Args:
        setup: what they are started with.
        silence_s: after so long without a sign of life one of them counts as lost.
    """

    def __init__(self, setup: WorkerSetup, silence_s: float) -> None:
        self._meeting = Path(tempfile.mkdtemp(prefix="keepworld-ranks-")) if setup.num_ranks > 1 else None
        self._processes = [
            Process(
                setup,
                Place(
                    rank=rank,
                    num_ranks=setup.num_ranks,
                    rendezvous=(self._meeting / "meet").as_uri() if self._meeting else "",
                    num_threads=max(1, setup.num_threads // setup.num_ranks),
                ),
                silence_s,
            )
            for rank in range(setup.num_ranks)
        ]

    @property
    def pids(self) -> list[int | None]:
        """Their process ids, by rank."""
        return [process.pid for process in self._processes]

    def tell(self, command: Command) -> None:
        """Send a command to each, without waiting."""
        for process in self._processes:
            process.tell(command)

    async def answers(self, call: int, until_s: float) -> AsyncIterator[Heard]:
        """The first rank's answers to a call: its frames, then, when all have given it, its last one.

        Broken says that it is broken on one of them, Failed that all have failed.

        Raises:
            RanksDisagreeError: one failed and another did not.
            GroupLostError: one has died, has fallen silent, or it is past `until_s`.
        """
        first, *others = self._processes
        chorus = [asyncio.create_task(process.answer(call, until_s)) for process in others]
        try:
            while isinstance(answer := await _next(first, call, until_s, chorus), FrameDrawn):
                yield answer
            yield await _agreed(answer, chorus)
        finally:
            for task in chorus:
                task.cancel()
            await asyncio.gather(*chorus, return_exceptions=True)

    async def end(self) -> None:
        """End them all at once."""
        await asyncio.gather(*(asyncio.to_thread(process.end) for process in self._processes))
        if self._meeting:
            shutil.rmtree(self._meeting, ignore_errors=True)


async def _next(first: Process, call: int, until_s: float, chorus: Sequence[Last]) -> Heard:
    """The first rank's next answer, which must come soon when another rank has failed."""
    if not chorus:
        return await first.answer(call, until_s)
    leading = asyncio.create_task(first.answer(call, until_s))
    try:
        while not leading.done():
            failure = next((failure for task in chorus if (failure := _failure(task))), None)
            done, _ = await asyncio.wait(
                {leading, *(task for task in chorus if not task.done())},
                timeout=STRAGGLER_S if failure else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if failure and not done:
                raise RanksDisagreeError(f"a rank failed and the first waits for it: {failure.error}")
        return leading.result()
    finally:
        leading.cancel()


async def _agreed(answer: Heard, chorus: Sequence[Last]) -> Heard:
    """The last answer of all, given that of the first."""
    has_failed = isinstance(answer, Failed | Broken)
    if chorus:
        await asyncio.wait(chorus, timeout=STRAGGLER_S if has_failed else None)
    others = [failure for task in chorus if (failure := _failure(task))]
    failures = [answer, *others] if isinstance(answer, Failed | Broken) else others
    broken = next((failure for failure in failures if isinstance(failure, Broken)), None)
    if not failures or broken or len(failures) == 1 + len(chorus):
        return broken or answer
    raise RanksDisagreeError(f"{len(failures)} of {1 + len(chorus)} ranks failed: {failures[0].error}")


def _failure(task: Last) -> Failed | Broken | None:
    """That a rank has failed; a lost one raises."""
    answer = task.result() if task.done() else None
    return answer if isinstance(answer, Failed | Broken) else None
