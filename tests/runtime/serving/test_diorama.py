"""The family that everyone gets: what comes over the wire is what it draws."""

import numpy as np
from keepworld.motion import NEUTRAL, Control
from keepworld.v1 import world_service_pb2
from keepworld_runtime.families import load_family
from keepworld_runtime.families.family import ChunkRequest, Place, WorldSpec

from tests.runtime.serving.client import Walk, create, pixels, script, serving


async def test_three_chunks_of_the_diorama_are_its_own_to_the_byte():
    size = world_service_pb2.Size(width=256, height=144)
    async with serving(families=("diorama",)) as (_, stub):
        created = await create(stub, "a foggy forest", family="diorama", size=size)
        walk = Walk(stub, created)
        await walk.attach(only_scripted=True)
        await walk.send(script=script((1.0, 44)))
        received = [frame for _ in range(3) for frame in (await walk.chunk())[0]]
    spec = WorldSpec(prompt="a foggy forest", seed=7, width=256, height=144, mode=created.session.mode)
    world = load_family("diorama").load(Place(num_threads=1)).open(spec)
    drawn = []
    for chunk, frames in enumerate((13, 16, 16)):
        controls = [Control(move=(0.0, 0.0, 1.0))] * frames
        if chunk == 0:
            controls[0] = NEUTRAL  # a walk's first frame shows where it begins
        drawn += world.next_chunk(ChunkRequest(chunk=chunk, controls=tuple(controls), poses=(None,) * frames))
    assert len(received) == len(drawn) == 45
    for there, here in zip(received, drawn, strict=True):
        np.testing.assert_array_equal(pixels(there), here.image)
    assert "forest" in " ".join(created.used)
