"""A capture of what has been walked: every chunk drawn again from the journal, and written as it comes.

Nothing is kept of the frames of a walk beside their checksums, so that walks that nobody exports cost no disk and no time;
and what led to a snapshot, or was walked before the server was last started, can be captured just as well. It is drawn by
the same workers, behind whoever walks now: a chunk waits for its turn like any session's of this tenant.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from pathlib import Path

from keepworld.camera import Camera
from keepworld.capture_writer import CaptureWriter, Provenance
from keepworld.frames import Chunk, Encoding, EventRecord, Frame, Latency

from keepworld_runtime.engine.engine import Engine
from keepworld_runtime.engine.outbox import Failure, Item, MadeChunk, MadeFrame
from keepworld_runtime.engine.remake import Remade, Walked
from keepworld_runtime.families.family import Capabilities
from keepworld_runtime.journal import record

BYTES_PER_PIXEL = 11  # on disk: a picture that does not compress, depth, labels, masks, confidence


def room_bytes(walked: Walked) -> int:
    """What a capture takes at most."""
    return walked.num_frames * walked.spec.width * walked.spec.height * BYTES_PER_PIXEL


async def recapture(
    engine: Engine,
    remade: Remade,
    folder: Path,
    threads: Executor,
    *,
    on_chunk: Callable[[int, float], None],
) -> int:
    """Write a capture; gives how many frames came out otherwise than when they were first drawn.

    Args:
        remade: what is drawn again.
        folder: made here.
        threads: they write.
        on_chunk: told how many frames there are, and how many seconds the last chunk was drawn.

    Raises:
        RequestError: it could not be drawn again, or is not to be.
        OSError: it could not be written.
    """
    session = remade.session
    writer = CaptureWriter(folder, _provenance(remade))
    frames: list[MadeFrame] = []
    written = different = 0
    async for item in _items(engine, remade):
        if isinstance(item, MadeFrame):
            frames.append(item)
        elif isinstance(item, MadeChunk):
            sums = remade.walked.checksums[item.begun.number]
            different += sum(record.checksum(each.data) != was for each, was in zip(frames, sums, strict=True))
            chunk = _chunk(session.capabilities, frames, item)
            await _written(asyncio.get_running_loop().run_in_executor(threads, writer.append, chunk))
            written += len(frames)
            frames = []
            on_chunk(written, item.draw_s)
        session.mark_sent()
        if written == remade.walked.num_frames:
            break
    return different


async def _written(writing: asyncio.Future[None]) -> None:
    """Wait until something has been written, even if nobody wants it any more: who cleans up must find it whole."""
    try:
        await asyncio.shield(writing)
    except asyncio.CancelledError:
        await asyncio.wait((writing,))
        raise


async def _items(engine: Engine, remade: Remade) -> AsyncIterator[Item]:
    """What the session gives, until it is taken away."""
    over = asyncio.create_task(remade.attachment.over.wait())
    items = remade.session.outbox.follow()
    try:
        while True:
            arrived = asyncio.ensure_future(anext(items))
            await asyncio.wait((arrived, over), return_when=asyncio.FIRST_COMPLETED)
            if not arrived.done():
                arrived.cancel()
                assert remade.attachment.reason
                raise remade.attachment.reason.with_traceback(None)
            item = arrived.result()
            if isinstance(item, Failure):
                raise item.reason.with_traceback(None)
            yield item
    finally:
        over.cancel()
        engine.close(remade.session)


def _provenance(remade: Remade) -> Provenance:
    session, told = remade.session, remade.session.family.capabilities
    reading = session.family.read_prompt(session.spec.prompt)
    return Provenance(
        family=told.name,
        version=told.version,
        licence=told.licence,
        prompt=session.spec.prompt,
        seed=session.spec.seed,
        mode=session.spec.mode,
        width=session.spec.width,
        height=session.spec.height,
        fps=told.fps,
        units=told.units,
        pose_source=told.pose_source,
        used=reading.used,
        ignored=reading.ignored,
    )


def _chunk(told: Capabilities, frames: list[MadeFrame], end: MadeChunk) -> Chunk:
    return Chunk(
        index=end.begun.number,
        frames=[_frame(told, made) for made in frames],
        controls=end.begun.controls,
        events=[
            EventRecord(text=asked.event.text, ramp_s=asked.event.ramp_s, duration_s=asked.event.duration_s)
            for asked in end.begun.events
        ],
        latency=Latency(control_ms=None, draw_ms=end.draw_s * 1e3, chunk_ms=end.draw_s * 1e3),
        extended=end.begun.given is not None,
    )


def _frame(told: Capabilities, made: MadeFrame) -> Frame:
    data = made.data
    height, width = data.image.shape[:2]
    camera = Camera(c2w=data.c2w, K=data.K, width=width, height=height, units=told.units, source=told.pose_source)
    return Frame(
        number=made.seq,
        chunk=made.chunk,
        index=data.index,
        time_s=made.time_s,
        camera=camera,
        encoding=Encoding.RAW,
        data=data.image.tobytes(),
        depth=data.depth,
        labels=data.labels,
        confidence=data.confidence,
    )
