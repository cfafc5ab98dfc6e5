"""The studio in a headless Chromium: input to pixel, frames shown and dropped, the page's memory.

    python benchmarks/studio.py                      a minute at 512x288
    python benchmarks/studio.py --minutes 10         memory over ten, of its heap and of its process

A key is pressed and let go at random times. Of each press that steered a chunk, "all" is from the key's event to the first
frame that shows it being on the screen, and "ours" is that less the time from the bridge's hands to the frame's being drawn:
what chunks take, whoever shows them. Chromium draws on the same processors as the server.
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
            browser.close()
        finally:
            bridge.send_signal(2)
    print(f"{machine()}; load {os.getloadavg()[0]:.1f}; {options.size} {after['encoding']}, {took_s:.0f} s")
    shown, dropped = (after[name] - before[name] for name in ("shown", "dropped"))
    print(
        f"shown {shown} frames, {shown / took_s:.1f} a second; dropped {dropped}{'; not in real time' if slow else ''}"
    )
    for title, name in (("all", "total"), ("ours", "rest")):
        values = sorted(sample[name] for sample in after["samples"])
        if values:
            p50, p95 = (values[min(len(values) - 1, int(part * len(values)))] for part in (0.5, 0.95))
            print(f"input to pixel, {title}: p50 {p50:.0f} ms, p95 {p95:.0f} ms, of {len(values)}")
    print("heap of the page after collection, MB, each minute: " + ", ".join(f"{each:.1f}" for each in memory))
    print("memory of its process, MB: " + ", ".join(f"{each:.0f}" for each in held))


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
