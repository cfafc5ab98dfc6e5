"""One line of a walk: a session, and what the page's timeline and map show of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from keepworld.frames import Chunk, Frame
from keepworld.play import packing
from keepworld.play.coverage import Coverage
from keepworld.session import AsyncSession

_SAMPLES = 2  # cameras a chunk that the map shows
_REACH_S = 6.0  # how far a camera is taken to see: so long a walk
_CELLS_A_SECOND = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """What is remembered of a chunk: some of its cameras, what began with it, and what it cost."""

    index: int
    frames: Sequence[Frame]
    events: Sequence[str]
    chunk_ms: float

    def told(self) -> dict[str, object]:
        """For the page."""
        places = [
            [round(float(value), 3) for value in (c2w[0, 3], c2w[2, 3], packing.angles(c2w)[0])]
            for c2w in (frame.camera.c2w for frame in self.frames)
        ]
        return {"index": self.index, "places": places, "events": list(self.events), "ms": round(self.chunk_ms)}


@dataclass(kw_only=True, slots=True)
class Line:
    """A session on the page.

    Attributes:
        id: the page's number of it.
        session: the session.
        prompt: what it was opened with.
        parent: the line it branched from; None for a world of its own.
        start: how many chunks it shares with that.
        notes: of every chunk, those before it branched included.
        takes: recorded stretches, (first chunk, chunk behind the last); the last may be open: (first, None).
        is_stale: the server may have made chunks ahead that nobody has seen: they are dropped before it goes on.
    """

    id: int
    session: AsyncSession
    prompt: str
    parent: int | None = None
    start: int = 0
    notes: list[Note] = field(default_factory=list)
    takes: list[tuple[int, int | None]] = field(default_factory=list)
    is_stale: bool = False
    coverage: Coverage = field(init=False)

    def __post_init__(self) -> None:
        self.go_back(len(self.notes))

    def add(self, chunk: Chunk) -> tuple[Note, dict[tuple[int, int], int]]:
        """Remember a chunk; gives its note and the cells of the map that it changed."""
        step = max(1, len(chunk.frames) // _SAMPLES)
        frames = [_without_picture(frame) for frame in chunk.frames[step - 1 :: step][:_SAMPLES]]
        note = Note(
            index=chunk.index,
            frames=frames,
            events=[event.text for event in chunk.events],
            chunk_ms=chunk.latency.chunk_ms,
        )
        del self.notes[chunk.index :]
        self.notes.append(note)
        return note, self._see(note)

    def go_back(self, chunks: int) -> None:
        """Be `chunks` long."""
        del self.notes[chunks:]
        self.takes = [
            (first, last if last is None else min(last, chunks)) for first, last in self.takes if first < chunks
        ]
        can = self.session.capabilities
        self.coverage = Coverage(fov_x=can.fov_x, cell=can.move_rate / _CELLS_A_SECOND, reach=can.move_rate * _REACH_S)
        for note in self.notes:
            self._see(note)

    def record(self, *, on: bool) -> None:
        """Begin or end a take; one of no chunk is none."""
        if on and not self.is_recording:
            self.takes.append((len(self.notes), None))
        elif not on and self.is_recording:
            first, _ = self.takes.pop()
            if len(self.notes) > first:
                self.takes.append((first, len(self.notes)))

    @property
    def is_recording(self) -> bool:
        """Whether a take is open."""
        return bool(self.takes) and self.takes[-1][1] is None

    def told(self) -> dict[str, object]:
        """For the page: in a list of lines."""
        return {
            "id": self.id,
            "prompt": self.prompt,
            "seed": str(self.session.seed),  # 64 bits are more than a number holds there
            "parent": self.parent,
            "start": self.start,
            "chunks": len(self.notes),
        }

    def told_whole(self) -> dict[str, object]:
        """For the page that walks on it."""
        session, can = self.session, self.session.capabilities
        return self.told() | {
            "model": session.model,
            "size": list(session.size),
            "mode": session.mode,
            "axes": list(can.modes.get(session.mode, ())),
            "fps": can.fps,
            "chunk_frames": can.chunk_frames,
            "turn_rate": can.turn_rate,
            "has_depth": can.has_depth,
            "cell": self.coverage.cell,
            "used": list(session.reading.used),
            "ignored": list(session.reading.ignored),
            "notes": [note.told() for note in self.notes],
            "cells": cells_told(self.coverage.cells),
            "share": self.coverage.share,
            "takes": self.takes,
        }

    def _see(self, note: Note) -> dict[tuple[int, int], int]:
        changed: dict[tuple[int, int], int] = {}
        for frame in note.frames:
            changed |= self.coverage.see(frame.camera.c2w)
        return changed


def cells_told(cells: Mapping[tuple[int, int], int]) -> list[list[int]]:
    """Cells of the map for the page: column, row, and a bit for each direction."""
    return [[column, row, bits] for (column, row), bits in cells.items()]


def _without_picture(frame: Frame) -> Frame:
    return Frame(
        number=frame.number,
        chunk=frame.chunk,
        index=frame.index,
        time_s=frame.time_s,
        camera=frame.camera,
        encoding=frame.encoding,
        data=b"",
    )
