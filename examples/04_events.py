"""Plan what happens in a world: a timeline kept in a file, changed while the walk goes on, told by the chunks that it came with.

    python examples/04_events.py                      a day passes
    python examples/04_events.py my-timeline.json     yours: [{"text": "it starts to rain", "at": 2, "ramp": 1}, ...]

Shows `Timeline`, `open(events=...)`, `waiting_events`, `cancel_event`, `event(at=...)`, and what a world does not understand.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keepworld as kw

DAY = kw.Timeline(
    [
        kw.PlannedEvent("fog rolls in", at=1.0, ramp=1.0, duration=1.5),  # and goes again
        kw.PlannedEvent("a hot-air balloon rises over the hills", at=1.5),
        kw.PlannedEvent("sunset", at=2.5, ramp=1.5),
        (60.0, "fireworks"),
    ]
)


def main() -> None:
    options = arguments()
    timeline = kw.Timeline.load(options.timeline) if options.timeline else DAY
    with kw.Client(progress=True) as client:  # KEEPWORLD_URL, or a server of its own
        session = client.sessions.open("a village by a lake, noon", seed=3, size=options.size, events=timeline)
        for waiting in session.waiting_events():
            print(f"with chunk {waiting.chunk}: {waiting.text}")
        session.cancel_event(session.waiting_events()[-1])  # the last one shall not happen after all

        try:
            session.event("the mayor resigns")
        except kw.InvalidRequestError as error:
            print(f"not understood, and nothing is lost: {error}"[:100])
        receipt = session.event("a flock of birds", at=2.0)
        print(f"birds with chunk {receipt.applies_to_chunk}, because of {', '.join(receipt.used)}")

        for chunk in session.stream(f"forward {options.seconds}s", pace="fast"):
            brightness = chunk.frames[-1].image.mean()
            began = ", ".join(event.text for event in chunk.events) or "-"
            print(f"chunk {chunk.index}, {chunk.frames[-1].time_s:.1f} s, brightness {brightness:.0f}: {began}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("timeline", type=Path, nargs="?", help="a file of events, JSON or YAML")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long to walk")
    parser.add_argument("--size", type=lambda text: tuple(map(int, text.split("x"))), default=(512, 288))
    return parser.parse_args()


if __name__ == "__main__":
    main()
