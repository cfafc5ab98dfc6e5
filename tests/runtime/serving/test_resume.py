"""Readers that lose frames get them again: none lost, none doubled, each as it was."""

import pytest

from tests.runtime.serving.client import Walk, eventually, script, serving
from tests.runtime.serving.walks import (
    DIORAMA,
    GRADIENT,
    NO_FRAME,
    attached,
    chunk,
    first_chunk,
    named,
    opened,
    plain,
)

FRAMES = 13 + 16 * 3


async def walked(stub, world, steps=((0.5, 12), (0.25, 32), (0.0, 16)), **fields):
    """A walk of four chunks, made without a break: its frames and its ends."""
    created = await opened(stub, **world, **fields)
    walk = await attached(stub, created)
    await walk.send(script=script(*steps))
    chunks = [await chunk(walk) for _ in range(4)]
    return created, walk, [frame for each in chunks for frame in each[:-1]], [each[-1] for each in chunks]


async def rest(walk: Walk, last_seq: int) -> tuple[list, list]:
    """What comes up to the end of chunk 3."""
    frames, ends = [], []
    while not ends or ends[-1].chunk < 3:
        got, end = await walk.chunk()
        end.ClearField("timing")
        end.ClearField("line")
        frames, ends = [*frames, *plain(got)], [*ends, end]
    return frames, ends


@pytest.mark.parametrize(
    ("world", "module"), [(GRADIENT, "gradient=tests.families"), (DIORAMA, "diorama")], ids=["gradient", "diorama"]
)
async def test_whatever_the_last_frame_was_all_after_it_come_again(world, module):
    async with serving(families=(module,)) as (_, stub):
        created, walk, frames, ends = await walked(stub, world)
        for last_seq in (NO_FRAME, 0, 11, 12, 13, 30, 44, 59, 60):
            walk = await attached(stub, created, last_seq=last_seq, line=1)
            next_seq = 0 if last_seq == NO_FRAME else last_seq + 1
            assert walk.attached.next_seq == next_seq
            got, got_ends = await rest(walk, last_seq)
            assert got == frames[next_seq:]
            num_had = [12, 28, 44, 60].index(last_seq) if last_seq in (12, 28, 44, 60) else None
            first_end = num_had if num_had is not None else 0 if next_seq < 13 else 1 + (next_seq - 13) // 16
            assert got_ends == ends[first_end:]
        uninterrupted, *_ = await walked(stub, world)
        other = await attached(stub, uninterrupted)
        assert await chunk(walk, 0.75, event="snow") == await chunk(other, 0.75, event="snow")


async def test_a_stream_that_is_cut_in_the_middle_of_a_chunk_goes_on_with_its_next_frame():
    async with serving() as (server, stub):
        _, _, frames, ends = await walked(stub, GRADIENT, prompt="slow=0.001")
        created = await opened(stub, **GRADIENT, prompt="slow=0.001")
        walk = await attached(stub, created)
        await walk.send(script=script((0.5, 12), (0.25, 32), (0.0, 16)))
        got, last_seq = [], NO_FRAME
        for num_read in (1, 5, 20, 9, 3):
            while len(got) < sum((1, 5, 20, 9, 3)[: (1, 5, 20, 9, 3).index(num_read) + 1]):
                got.append(await walk.until("frame"))
            last_seq = got[-1].seq
            walk.call.cancel()
            walk = await attached(stub, created, last_seq=last_seq)
            assert walk.attached.next_seq == last_seq + 1
        more, got_ends = await rest(walk, last_seq)
        assert plain([*got, *more]) == frames
        assert got_ends[-1] == ends[-1]
        await eventually(lambda: server.engine.sessions()[-1].num_queued == 0)


async def test_scripts_that_wait_are_counted_and_go_on():
    async with serving() as (_, stub):
        created = await opened(stub, **GRADIENT, prompt="slow=0.01")
        walk = await attached(stub, created)
        await walk.send(script=script((0.5, 12 + 16 * 9)))
        await walk.until("frame")
        walk.call.cancel()
        walk = await attached(stub, created, last_seq=0)
        assert walk.attached.queued_frames > 0
        frames = [frame for _ in range(10) for frame in (await walk.chunk())[0]]
        assert [frame.seq for frame in frames] == list(range(1, 13 + 16 * 9))


async def test_frames_that_were_never_made_and_lines_that_were_left_are_refused():
    async with serving() as (_, stub):
        created, walk, *_ = await walked(stub, GRADIENT)
        for fields, reason in (
            ({"last_seq": FRAMES}, "CHUNK_NOT_MADE"),
            ({"last_seq": 2**63}, "CHUNK_NOT_MADE"),
            ({"last_seq": 5, "line": 2}, "SESSION_REWOUND"),
        ):
            other = Walk(stub, created)
            await other.send(
                attach={
                    **named(created),
                    "config": {"encoding": 1},
                    "pace": {"mode": 2, "only_scripted": True},
                    **fields,
                }
            )
            assert (await other.status())[1].reason == reason
        assert (await chunk(walk, 0.5))[-1].chunk == 4  # the walk has gone on meanwhile


async def test_a_chunk_is_told_only_when_it_is_kept():
    async with serving() as (server, stub):
        created = await opened(stub, **GRADIENT)
        walk = await attached(stub, created)
        await first_chunk(walk, 0.5)

        def full(*_: object) -> None:
            raise OSError("no space left on device")

        server.engine._keeper.journal.commit = full
        await walk.send(script=script((0.5, 16)))
        _, info = await walk.status()
        assert info.reason == "JOURNAL_FAILED"
        assert [message for message in walk.others if message.WhichOneof("message") == "chunk_end"] == []
