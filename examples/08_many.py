"""Several worlds at once from one program, and a walk that another program takes up where this one stopped.

    python examples/08_many.py                        four worlds side by side, then a walk that changes hands

Shows `AsyncClient` with sessions in parallel, errors by kind, `ticket`, and `sessions.resume`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

import keepworld as kw

PROMPTS = [
    "pine forest, morning fog",
    "desert with standing stones, noon",
    "village by the sea, sunset",
    "snowy mountains, night",
]


async def main() -> None:
    options = arguments()
    async with kw.AsyncClient(progress=True) as client:  # KEEPWORLD_URL, or a server of its own
        async with asyncio.TaskGroup() as walks:
            for seed, prompt in enumerate(PROMPTS[: options.worlds]):
                walks.create_task(walk(client, prompt, seed, options))
        await hand_over(client, options)


async def walk(client: kw.AsyncClient, prompt: str, seed: int, options: argparse.Namespace) -> None:
    """Walk a world of one's own; if the server is full, wait until it says to come back."""
    while True:
        try:
            async with client.sessions.open(prompt, seed=seed, size=options.size) as session:
                frames = [frame async for chunk in session.stream("forward 2s", pace="fast") for frame in chunk.frames]
            print(f"{prompt}: {len(frames)} frames, mean colour {frames[-1].image.mean((0, 1)).round().tolist()}")
            return
        except kw.CapacityError as error:
            await asyncio.sleep(error.retry_after_s or 1.0)


async def hand_over(client: kw.AsyncClient, options: argparse.Namespace) -> None:
    """Stop in the middle, and let another client go on with the very next frame."""
    session = await client.sessions.open(PROMPTS[0], seed=1, size=options.size)
    last = -1
    async for chunk in session.stream("forward 2s", pace="fast"):
        last = chunk.frames[-1].number
        break
    ticket = session.ticket  # a secret line of text: keep it as you keep a key
    async with (
        kw.AsyncClient(client.address) as other,  # in truth another program, perhaps on another machine
        other.sessions.resume(ticket, after=last) as resumed,
    ):
        async for chunk in resumed.stream("look left 30deg", pace="fast"):
            print(f"taken over after frame {last}: chunk {chunk.index} begins with frame {chunk.frames[0].number}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=4, choices=range(1, 5), help="how many at once")
    parser.add_argument("--size", type=lambda text: tuple(map(int, text.split("x"))), default=(256, 144))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
