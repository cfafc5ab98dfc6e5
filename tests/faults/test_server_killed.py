"""The server itself is killed, wherever it happens to be, and started again on its journal: the walk goes on."""

import numpy as np
import pytest

from tests.faults.harness import check_walk, server_process
from tests.faults.test_network_cut import STEP, attached
from tests.runtime.serving.client import connect, create, script


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
async def test_no_frame_is_lost_doubled_or_different(tmp_path, kills):
    rng = np.random.default_rng(kills)
    created, frames = None, []
    for life in range(kills + 1):
        async with server_process("--journal", str(tmp_path / "journal")) as (port, process), connect(port) as stub:
            created = created or await create(stub, "slow=0.001")
            walk = await attached(stub, created, frames[-1].seq if frames else None)
            await walk.send(script=script((STEP, 16 * 10), request_id=f"life {life}"))  # more than is made in it
            frames += [await walk.until("frame") for _ in range(int(rng.integers(1, 16 * 6)))]
            process.kill()
    check_walk(frames, len(frames), step=STEP)
