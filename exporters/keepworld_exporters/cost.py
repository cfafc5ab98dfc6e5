"""What work costs: seconds of a processor and bytes, stage by stage, and what that comes to on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from keepworld_exporters.progress import Clock, told_s

MB = 1e6


class Cost(NamedTuple):
    """Of a stage.

    Attributes:
        work_s: seconds of a processor.
        bytes: held at most while it goes on, beside what was held before.
        kept: of these, held on to by what comes after.
        shared: of its work, the share that threads divide among them.
    """

    work_s: float
    bytes: float = 0.0
    kept: float = 0.0
    shared: float = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """What work will take.

    Attributes:
        processor_s: stage -> seconds of one processor, in the order they come.
        seconds: from start to end on this machine, if nothing else runs.
        stage_bytes: stage -> the most memory held while it goes on.
    """

    processor_s: dict[str, float]
    seconds: float
    stage_bytes: dict[str, int]

    @property
    def peak_bytes(self) -> int:
        """The most memory held at one time."""
        return max(self.stage_bytes.values(), default=0)

    def asdict(self) -> dict[str, object]:
        """As a report has it."""
        return {
            "processor_s": {name: round(seconds, 2) for name, seconds in self.processor_s.items()},
            "seconds": round(self.seconds, 1),
            "peak_bytes": self.peak_bytes,
            "stage_bytes": self.stage_bytes,
        }

    def told(self) -> str:
        """One line."""
        return f"about {told_s(self.seconds)} and {self.peak_bytes / 1e9:.1f} GB of memory"

    def after(self, before: Estimate) -> Estimate:
        """What both take, one after the other."""
        return Estimate(
            processor_s={**before.processor_s, **self.processor_s},
            seconds=before.seconds + self.seconds,
            stage_bytes={**before.stage_bytes, **self.stage_bytes},
        )


class Before(NamedTuple):
    """What was done to a source before its export, as it was expected and as it was."""

    expected: Estimate
    clock: Clock


def priced(costs: Mapping[str, Cost], *, pace: float, held: float) -> Estimate:
    """What stages come to, in the order they come, on a machine of a pace, if so many bytes are held before."""
    work = {name: pace * cost.work_s for name, cost in costs.items()}
    peaks = {}
    for name, cost in costs.items():
        peaks[name] = round(held + cost.bytes)
        held += cost.kept
    seconds = sum(work[name] * share_of_time(cost.shared) for name, cost in costs.items())
    return Estimate(processor_s=work, seconds=seconds, stage_bytes=peaks)


def share_of_time(shared: float) -> float:
    """How much of its processor time work lasts, of which threads divide a share among them."""
    return 1 - shared * (1 - 1 / (os.cpu_count() or 1))
