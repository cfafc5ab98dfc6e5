"""The worker is killed again and again, wherever it happens to be: the walk is that of a worker that never was."""

import os
import signal

import numpy as np
import psutil
import pytest

from tests.faults.harness import Held, check_frame, until_back_at
from tests.runtime.serving.client import Walk, create, script, serving

STEP = 0.25


@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.slow)])
async def test_no_frame_is_lost_doubled_or_different(caplog, kills):
    rng = np.random.default_rng(kills)
    process = psutil.Process()
    async with serving() as (server, stub):
        walk = Walk(stub, await create(stub, "slow=0.001"))
        await walk.attach(only_scripted=True)
        done = 0
        total = 13 + 16 * (1 + 6 * kills)
        await walk.send(script=script((STEP, total - 1)))

        async def read(num_frames: int) -> int:
            """Read and check frames as they come; gives the chunk of the last."""
            nonlocal done
            for _ in range(num_frames):
                frame = await walk.until("frame")
                check_frame(frame, done, step=STEP)
                done += 1
            return frame.chunk

        await read(13 + 16)
        before = Held.by(process)
        for _ in range(kills):
            await read(int(rng.integers(1, 33)))
            os.kill(server.group.pids[0], signal.SIGKILL)
            # A chunk whose worker dies three times ends its session: let the one in the making come to its end.
            (session,) = server.engine.sessions()
            in_the_making = session.begun
            while await read(1) < in_the_making:
                pass
            caplog.clear()  # errors that were logged refer to what each worker had drawn
        starts = server.group.generation
        await read(total - done)
        held = await until_back_at(process, before)
    assert starts == kills + 1
    assert held.rss < before.rss + (20 << 20) + kills * (
        256 << 10
    )  # measured: 0.15 MiB a kill, of which a part is the test's
