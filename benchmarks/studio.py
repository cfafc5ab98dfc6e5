"""The studio in a headless Chromium: input to pixel, frames shown and dropped, the page's memory.

    python benchmarks/studio.py                      a minute at 512x288
    python benchmarks/studio.py --minutes 10         memory over ten, of its heap and of its process

A key is pressed and let go at random times. Of each press that steered a chunk, "all" is from the key's event to the first
frame that shows it being on the screen, and "ours" is that less the time from the bridge's hands to the frame's being drawn:
what chunks take, whoever shows them. Below it, hop by hop, where the time goes, and how it was for the eight slowest.

Two of the hops are the screen's: a picture waits for the next refresh to be put on the canvas, and is on the screen with the
one after that, 25 ms on average and 33 at most where it refreshes 60 times a second. They count as ours; "without the screen"
is what is left. Where the server does not keep the time (which is said), the bridge spaces the frames of a chunk, and its
waiting counts as ours too. Chromium draws on the same processors as the server.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

from keepworld.cli.bench import machine
from playwright.sync_api import sync_playwright

PROMPT = "meadow village with a windmill by a lake, summer morning"
LOOK = """() => ({
  shown: keepworld.stage.shown, dropped: keepworld.stage.dropped, chunks: keepworld.timeline.notes.length,
  samples: keepworld.latency.samples, encoding: keepworld.stage.decoder.video ? "h264" : "jpeg",
})"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="512x288", help="one that the family offers (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    options = parser.parse_args()
    command = [sys.executable, "-m", "keepworld.cli", "play", "--no-open", "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as bridge, sync_playwright() as playwright:
        try:
            assert bridge.stdout is not None
            link = json.loads(bridge.stdout.readline())["url"]
            browser = playwright.chromium.launch(executable_path=options.chromium, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.goto(link)
            page.wait_for_selector("#family option", state="attached")
            page.fill("#prompt", PROMPT)
            page.fill("#seed", "1")
            page.select_option("#size", options.size)
            page.click("#open")
            while not page.evaluate("() => keepworld.stage.shown > 30"):
                time.sleep(0.2)
            page.focus("#stage")
            devtools = page.context.new_cdp_session(page)
            processes = browser.new_browser_cdp_session()
            before, began_s, memory, held = (
                page.evaluate(LOOK),
                time.monotonic(),
                [heap(devtools)],
                [anonymous(processes)],
            )
            dice = random.Random(1)
            while time.monotonic() - began_s < 60 * options.minutes:
                key = dice.choice(["w", "a", "s", "d", "ArrowLeft", "ArrowRight"])
                page.keyboard.down(key)
                time.sleep(dice.uniform(0.75, 1.5))
                page.keyboard.up(key)
                time.sleep(dice.uniform(0.75, 1.5))
                if time.monotonic() - began_s > 60 * len(memory):
                    memory.append(heap(devtools))
                    held.append(anonymous(processes))
            after, took_s = page.evaluate(LOOK), time.monotonic() - began_s
            memory.append(heap(devtools))
            held.append(anonymous(processes))
            slow = page.evaluate("() => keepworld.slow")
            ahead_ms = clocks(page)
            browser.close()
        finally:
            bridge.send_signal(2)
    print(f"{machine()}; load {os.getloadavg()[0]:.1f}; {options.size} {after['encoding']}, {took_s:.0f} s")
    shown, dropped = (after[name] - before[name] for name in ("shown", "dropped"))
    print(
        f"shown {shown} frames, {shown / took_s:.1f} a second; dropped {dropped}{'; not in real time' if slow else ''}"
    )
    samples = after["samples"]
    for sample in samples:
        sample["unscreened"] = sample["rest"] - (sample["at"]["shown"] - sample["at"]["decoded"])
    for title, name in (("all", "total"), ("ours", "rest"), ("ours without the screen", "unscreened")):
        if samples:
            p50, p95 = quantiles([sample[name] for sample in samples])
            print(f"input to pixel, {title}: p50 {p50:.0f} ms, p95 {p95:.0f} ms, of {len(samples)}")
    print_hops([sample["at"] for sample in samples], ahead_ms)
    print("heap of the page after collection, MB, each minute: " + ", ".join(f"{each:.1f}" for each in memory))
    print("memory of its process, MB: " + ", ".join(f"{each:.0f}" for each in held))


HOPS = (
    ("input", "said", "page: key to sent"),
    ("said", "handed", "bridge: to the SDK's hands"),
    ("handed", "drawn", "(the chunk)"),
    ("drawn", "sent", "server: encoded, sent"),
    ("sent", "had", "gRPC, bridge"),
    ("had", "arrived", "WebSocket"),
    ("arrived", "decoded", "page: decoded"),
    ("decoded", "painted", "its turn on the canvas"),
    ("painted", "shown", "the next refresh"),
)
THEIRS = ("handed", "drawn", "sent", "had")


def print_hops(samples: list[dict[str, float]], ahead_ms: float) -> None:
    """Where the time goes; `ahead_ms` is how far the bridge's clock is ahead of the page's."""
    for each in samples:
        for name in THEIRS:
            each[name] -= ahead_ms
    slowest = sorted(samples, key=lambda each: each["shown"] - each["input"] - each["drawn"] + each["handed"])
    for first, second, title in HOPS if samples else ():
        p50, p95 = quantiles([each[second] - each[first] for each in samples])
        slow = " ".join(f"{each[second] - each[first]:6.1f}" for each in slowest[-8:])
        print(f"  {title:28} p50 {p50:6.1f}, p95 {p95:6.1f} ms; of the slowest: {slow}")


def quantiles(values: list[float]) -> tuple[float, float]:
    """The median and the 95th percentile."""
    ordered = sorted(values)
    return ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]


def clocks(page: object) -> float:
    """Milliseconds that this machine's monotonic clock, which the bridge uses too, is ahead of the page's."""
    best = (float("inf"), 0.0)
    for _ in range(200):
        before_s = time.monotonic()
        there_ms = page.evaluate("() => performance.now()")  # type: ignore[attr-defined]
        after_s = time.monotonic()
        best = min(best, (after_s - before_s, (before_s + after_s) / 2 * 1e3 - there_ms))
    return best[1]


def heap(devtools: object) -> float:
    """Megabytes that the page's scripts hold after a collection."""
    devtools.send("HeapProfiler.collectGarbage")  # type: ignore[attr-defined]
    return float(devtools.send("Runtime.getHeapUsage")["usedSize"]) / 1e6  # type: ignore[attr-defined]


def anonymous(processes: object) -> float:
    """Megabytes that the page's process holds, pictures included; the browser keeps a spare one, which holds little."""
    told = processes.send("SystemInfo.getProcessInfo")["processInfo"]  # type: ignore[attr-defined]
    states = [Path(f"/proc/{each['id']}/status").read_text() for each in told if each["type"] == "renderer"]
    return max(float(state.partition("RssAnon:")[2].split()[0]) for state in states) / 1e3


if __name__ == "__main__":
    main()
