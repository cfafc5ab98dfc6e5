"""What a server's metrics port says, read and compared with what it said before."""

from __future__ import annotations

import math
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from keepworld.errors import UnavailableError

_MAX_BYTES = 4 * 2**20
_WITHIN_S = 5.0
_SAMPLE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Scrape:
    """The samples of one moment: values by name and labels."""

    samples: Mapping[tuple[str, Labels], float]

    def total(self, name: str) -> float:
        """The sum over all labels; 0 if there is none."""
        return sum(value for _, value in self._of(name))

    def by(self, name: str, label: str) -> dict[str, float]:
        """The sums by one label."""
        sums: dict[str, float] = {}
        for labels, value in self._of(name):
            sums[labels.get(label, "")] = sums.get(labels.get(label, ""), 0.0) + value
        return sums

    def since(self, before: Scrape) -> Scrape:
        """How much each sample has grown; what is smaller now is of a server that was started again, and counts whole."""
        grown = {}
        for key, value in self.samples.items():
            was = before.samples.get(key, 0.0)
            grown[key] = value - was if value >= was else value
        return Scrape(grown)

    def quantile(self, histogram: str, part: float, **wanted: str) -> float:
        """An estimate from a histogram's buckets, even within each; nan if nothing was observed."""
        counts: dict[float, float] = {}
        for labels, value in self._of(f"{histogram}_bucket"):
            if wanted.items() <= labels.items():
                bound = float(labels["le"])
                counts[bound] = counts.get(bound, 0.0) + value
        low, below = 0.0, 0.0
        rank = part * counts.get(math.inf, 0.0)
        for bound in sorted(counts):
            if counts[bound] >= rank > 0:
                return low if math.isinf(bound) else low + (bound - low) * (rank - below) / (counts[bound] - below)
            low, below = bound, counts[bound]
        return math.nan

    def _of(self, name: str) -> Iterator[tuple[dict[str, str], float]]:
        return ((dict(labels), value) for (other, labels), value in self.samples.items() if other == name)


def parse(text: str) -> Scrape:
    """Read Prometheus' text format; lines that are not of it are left out."""
    samples = {}
    for line in text.splitlines():
        found = _SAMPLE.match(line)
        if found:
            try:
                samples[found[1], tuple(_LABEL.findall(found[2] or ""))] = float(found[3])
            except ValueError:
                continue
    return Scrape(samples)


def scrape(address: str) -> Scrape:
    """Read a metrics port, host:port.

    Raises:
        UnavailableError: nobody answers there.
    """
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=_WITHIN_S) as reply:
            return parse(reply.read(_MAX_BYTES).decode(errors="replace"))
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise UnavailableError(f"no metrics at {address}: {reason}", code="METRICS") from None
