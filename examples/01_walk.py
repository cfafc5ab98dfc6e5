"""Embed a live walk: controls in, frames with their cameras out, something happening on the way.

    python examples/01_walk.py                 a small round, by itself
    python examples/01_walk.py --keys          with W A S D and the arrows

Shows `AsyncClient`, `stream`, `event` with its receipt, poses in Unity's axes, and what a key press costs in time.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import time

import keepworld as kw


def round_trip() -> kw.Control:
    """Walk forward, looking left and right; stands in for a gamepad: any function that gives a `Control` is an input."""
    return kw.Control(move=(0, 0, 1), turn=(0.3 * math.sin(time.monotonic()), 0, 0))


async def main() -> None:
    options = arguments()
    controls = kw.inputs.Keyboard() if options.keys else round_trip
    async with (
        kw.AsyncClient(progress=True) as client,  # KEEPWORLD_URL, or a server of its own
        client.sessions.open("a village with a windmill by a lake, summer", seed=7, size=options.size) as session,
    ):
        print(f"{session.reading.used} were understood, {session.reading.ignored} were not")
        async for chunk in session.stream(controls=controls):
            show(chunk)
            if chunk.index == 2:
                receipt = await session.event("a thunderstorm rolls in", ramp=2.0)
                print(f"the storm comes with chunk {receipt.applies_to_chunk}")
            if chunk.frames[-1].time_s >= options.seconds:
                break
    if isinstance(controls, kw.inputs.Keyboard):
        controls.close()


def show(chunk: kw.Chunk) -> None:
    """Where a game engine would put the pictures on its screen."""
    unity = chunk.poses.to("unity")  # [N, 4, 4], left-handed, Y up, metres
    x, y, z = unity[-1, :3, 3]
    waited = chunk.latency.round_trip_ms
    took = "" if waited is None else f", {waited:.0f} ms from control to picture"
    print(f"chunk {chunk.index}: {len(chunk.frames)} frames, camera at ({x:.2f}, {y:.2f}, {z:.2f}){took}")


def arguments() -> argparse.Namespace:
    def size(text: str) -> tuple[int, int]:
        width, height = text.split("x")
        return int(width), int(height)

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0, help="how long to walk")
    parser.add_argument("--size", type=size, default=(512, 288), help="of the frames, such as 256x144")
    parser.add_argument("--keys", action="store_true", help="steer with the keyboard")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main())
