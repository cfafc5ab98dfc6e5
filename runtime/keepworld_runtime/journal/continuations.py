"""What a chunk goes on from in place of the chunk before it: named by hashes where it is asked for, its bytes in blobs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from keepworld.camera import check_rigid
from numpy.typing import NDArray

from keepworld_runtime.families.family import Clip, Continuation, Event, Recording
from keepworld_runtime.journal import controls, pictures
from keepworld_runtime.journal.blobs import Blobs

MAX_RECORDED = 4096  # frames of a recording


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """A continuation as it was asked for.

    Attributes:
        request_id: what it was asked for under.
        asked: hash of the request, in hex: the same id with another one is another request.
        told: where it lies, as JSON.
    """

    request_id: str
    asked: str
    told: Mapping[str, Any]

    @property
    def blobs(self) -> tuple[str, ...]:
        """The names of its blobs."""
        return tuple(str(self.told[kind]["blob"]) for kind in ("clip", "cameras", "recording") if kind in self.told)


def keep(request_id: str, asked: str, continuation: Continuation, blobs: Blobs) -> Given:
    """Put a continuation into `blobs`."""
    told: dict[str, Any] = {}
    if isinstance(continuation, Clip):
        told["clip"] = pictures.put(continuation.frames, blobs)
        told["from_here"] = continuation.is_from_here
        if continuation.c2ws is not None:
            told["cameras"] = {"blob": blobs.put(_bytes(continuation.c2ws))}
    else:
        events = [[chunk, each.text, each.ramp_s, each.duration_s] for chunk, each in continuation.events]
        walk = {"mode": continuation.mode, "controls": controls.encode(continuation.controls), "events": events}
        told["recording"] = {"blob": blobs.put(json.dumps(walk, separators=(",", ":")).encode())}
        told["cameras"] = {"blob": blobs.put(_bytes(continuation.c2ws))}
    return Given(request_id=request_id, asked=asked, told=told)


def fetch(given: Given, blobs: Blobs) -> Continuation:
    """A continuation out of `blobs`.

    Raises:
        ValueError: what is there is none.
        FileNotFoundError: it is not there.
    """
    told = given.told
    try:
        c2ws = _cameras(blobs.get(str(told["cameras"]["blob"]))) if "cameras" in told else None
        if "clip" in told:
            frames = pictures.get(told["clip"], 4, blobs)
            if c2ws is not None and len(c2ws) != len(frames):
                raise ValueError(f"a clip of {len(frames)} frames must have as many cameras, got {len(c2ws)}")
            return Clip(frames=frames, c2ws=c2ws, is_from_here=bool(told["from_here"]))
        walk = json.loads(blobs.get(str(told["recording"]["blob"])))
        steered = controls.decode(walk["controls"], MAX_RECORDED)
        if c2ws is None or len(c2ws) != len(steered):
            raise ValueError(f"a recording of {len(steered)} frames must have as many cameras")
        events = tuple(
            (
                int(chunk),
                Event(text=str(text), ramp_s=float(ramp_s), duration_s=None if stays is None else float(stays)),
            )
            for chunk, text, ramp_s, stays in walk["events"]
        )
        return Recording(mode=str(walk["mode"]), controls=steered, c2ws=c2ws, events=events)
    except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"nothing to go on from: {type(error).__name__} {error}") from None


def encode(given: Given) -> dict[str, Any]:
    """As JSON has it."""
    return {"request_id": given.request_id, "asked": given.asked, **given.told}


def decode(told: Mapping[str, Any]) -> Given:
    """From what JSON has.

    Raises:
        ValueError: it names something else than hashes.
    """
    rest = {name: value for name, value in told.items() if name not in ("request_id", "asked")}
    given = Given(request_id=str(told["request_id"]), asked=str(told["asked"]), told=rest)
    for name in given.blobs:
        if len(name) != 64 or bytes.fromhex(name).hex() != name:
            raise ValueError("what is gone on from must be named by 64 hexadecimal digits")
    return given


def _bytes(c2ws: NDArray[np.float64]) -> bytes:
    return np.ascontiguousarray(c2ws, "<f8").tobytes()


def _cameras(data: bytes) -> NDArray[np.float64]:
    """Cameras [N, 4, 4].

    Raises:
        ValueError: one is not rigid.
    """
    c2ws = np.frombuffer(data, "<f8").reshape(-1, 4, 4).astype(np.float64)
    for number, c2w in enumerate(c2ws):
        check_rigid(f"camera {number}", c2w)
    return c2ws
