"""What the prompt is at any time: the opening text and the events since, each coming in over its ramp.

Published: the text a chunk is denoised with may differ from the chunk before's ("promptable events", HY-World 1.5). How a
new text is made and how it comes in is our choice: an event's words are added to what is being said, and taken away again
after its duration; while it ramps, the texts before and after both condition the chunk, with weights that add up to 1.
"""

from __future__ import annotations

from dataclasses import dataclass

from keepworld_runtime.families.family import Event

MAX_AT_ONCE = 2  # texts that condition one chunk; a third would be the remainder of a ramp that another interrupted
_NEGLIGIBLE = 1e-3


@dataclass(frozen=True, slots=True)
class Entry:
    """An event that has begun: at `start_s` of the world's time."""

    start_s: float
    event: Event


@dataclass(frozen=True, slots=True)
class _Change:
    """From `start_s` on the text becomes `text`, fully after `ramp_s`."""

    start_s: float
    ramp_s: float
    text: str


@dataclass(frozen=True, slots=True)
class PromptTimeline:
    """The opening text and the events so far, oldest first."""

    opening: str
    entries: tuple[Entry, ...] = ()

    def with_event(self, event: Event, start_s: float) -> PromptTimeline:
        """The same with an event that begins at `start_s`, not before any other.

        Raises:
            ValueError: it begins before the newest.
        """
        if self.entries and start_s < self.entries[-1].start_s:
            raise ValueError(f"start_s must be at least {self.entries[-1].start_s}, got {start_s}")
        return PromptTimeline(self.opening, (*self.entries, Entry(start_s, event)))

    def texts_at(self, time_s: float) -> tuple[tuple[str, float], ...]:
        """The texts that count at a time, with weights that add up to 1, the heaviest first."""
        weights = {self.opening: 1.0}
        for change in self._changes():
            if change.start_s > time_s:
                break
            new = min(1.0, (time_s - change.start_s) / change.ramp_s) if change.ramp_s else 1.0
            weights = {text: weight * (1 - new) for text, weight in weights.items()}
            weights[change.text] = weights.get(change.text, 0.0) + new
        heaviest = sorted(weights.items(), key=lambda each: -each[1])[:MAX_AT_ONCE]
        heaviest = [(text, weight) for text, weight in heaviest if weight > _NEGLIGIBLE]
        total = sum(weight for _, weight in heaviest)
        return tuple((text, weight / total) for text, weight in heaviest)

    def newest_text(self) -> str:
        """The text that the newest event leads to."""
        return self._text_at(self.entries[-1].start_s) if self.entries else self.opening

    def forgetting(self, time_s: float) -> PromptTimeline:
        """The same from `time_s` on, without events that are wholly over by then."""
        kept = tuple(entry for entry in self.entries if _end_s(entry) + entry.event.ramp_s > time_s)
        return PromptTimeline(self.opening, kept)

    def _changes(self) -> list[_Change]:
        times = [(entry.start_s, entry.event.ramp_s) for entry in self.entries]
        times += [(_end_s(entry), entry.event.ramp_s) for entry in self.entries if entry.event.duration_s is not None]
        return [_Change(start_s, ramp_s, self._text_at(start_s)) for start_s, ramp_s in sorted(times)]

    def _text_at(self, time_s: float) -> str:
        said = [entry.event.text for entry in self.entries if entry.start_s <= time_s < _end_s(entry)]
        return ". ".join(text.strip().rstrip(".") for text in (self.opening, *said) if text.strip())


def _end_s(entry: Entry) -> float:
    return float("inf") if entry.event.duration_s is None else entry.start_s + entry.event.duration_s
