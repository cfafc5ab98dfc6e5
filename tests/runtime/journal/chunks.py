"""Chunks to keep, made up from their number."""

from pathlib import Path

import numpy as np
from keepworld.motion import Control
from keepworld_runtime.families.family import Event, FrameData, WorldSpec
from keepworld_runtime.journal.blobs import Blobs, StoredBlobs
from keepworld_runtime.journal.journal import Journal
from keepworld_runtime.journal.record import Asked, Begun
from keepworld_runtime.journal.specs import Origin
from keepworld_runtime.journal.state import StateChange
from keepworld_runtime.journal.tree import KeptSession, Line, Made

PARTS_KEPT = 3
SPEC = WorldSpec(prompt="a hill", seed=2**63, width=16, height=8, mode="fly")


def opened(folder: Path, blobs: Blobs | None = None) -> Journal:
    return Journal(folder / "journal.sqlite", blobs or StoredBlobs((folder / "blobs").as_uri()))


def begun(journal: Journal, session: str = "s") -> None:
    point = journal.begin(Origin(family="gradient", version="1", spec=SPEC))
    journal.add_session(
        KeptSession(id=session, token_digest=b"t", line=Line(number=1, point=point, parent=0, shared=0))
    )


def steps(number: int, way: float = 0.5) -> Begun:
    pose = np.linalg.inv(np.eye(4) + number / 7 * np.eye(4, k=3))
    return Begun(
        number=number,
        controls=(Control(move=(0.1, 0.0, way)), Control(turn=(1 / 3, 0.0, 0.0), speed=2.0, buttons=5)),
        poses=(None, pose),
        events=(Asked(request_id="e", event=Event(text="rain", ramp_s=0.1, duration_s=None), seconds=1 / 3),),
    )


def made(number: int, way: float = 0.5) -> Made:
    """Chunk `number`; its state has a part for each of the last chunks."""
    image = np.full((8, 16, 3), number % 256, np.uint8)
    frames = tuple(
        FrameData(index=i, c2w=np.eye(4) * way, K=np.eye(3), image=image + i, depth=None, labels=None, confidence=None)
        for i in range(2)
    )
    names = tuple(f"part {n}" for n in range(max(0, number + 1 - PARTS_KEPT), number + 1))
    change = StateChange(f"head {number} {way}".encode(), names, {f"part {number}": f"{number} {way}".encode()})
    return Made(begun=steps(number, way), frames=frames, change=change)


def walked(journal: Journal, num_chunks: int, session: str = "s") -> list[bytes]:
    begun(journal, session)
    return [journal.commit(session, 1, made(number)) for number in range(num_chunks)]
