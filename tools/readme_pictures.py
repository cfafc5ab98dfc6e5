"""Makes the README's two pictures: a walk and what is kept of it, and the studio in a headless Chromium.

python tools/readme_pictures.py             both; --walk or --studio makes one
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import keepworld as kw
import numpy as np
from keepworld.capture import Capture
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

DOCS = Path(__file__).resolve().parents[1] / "docs"
SIZE = (512, 288)
SEEN_FROM = 8  # frame of the demo's walk that is shown beside what was kept
WORLDS = {
    "snowy pine forest with a cabin, dusk": 5,
    "desert with standing stones, golden hour": 2,
    "autumn forest, river, stone bridge, noon": 4,
}
Picture = NDArray[np.uint8]


def walk() -> Image.Image:
    """A frame of the demo beside its splats and its mesh from the same camera; below, where three prompts begin."""
    with tempfile.TemporaryDirectory() as folder:
        demo = Path(folder) / "demo"
        keepworld("demo", str(demo))
        seen = [Capture(demo / "capture").frames[SEEN_FROM].image()]
        for name in ("scene.splat.ply", "scene.glb"):
            out = Path(folder) / f"{name}.png"
            camera = ["--camera", str(SEEN_FROM), "--size", f"{SIZE[0]}x{SIZE[1]}"]
            keepworld("view", str(demo / name), str(demo / "capture"), "--png", str(out), *camera)
            seen.append(np.asarray(Image.open(out).convert("RGB")))
    with kw.Client(progress=True) as client:
        for prompt, seed in WORLDS.items():
            with client.sessions.open(prompt, seed=seed, size=SIZE) as session:
                seen.append(next(iter(session.stream("forward 1s", pace="fast"))).frames[-1].image)
    titles = ["a frame of the walk", "the splats kept of it, same camera", "the mesh kept of it, same camera"]
    return sheet(seen, [*titles, *(f"“{prompt}”" for prompt in WORLDS)])


def sheet(pictures: Sequence[Picture], titles: Sequence[str]) -> Image.Image:
    """Pictures in rows of three, each with its title."""
    width, height = SIZE
    image = Image.new("RGB", (3 * width, height * (len(pictures) // 3)))
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(17)
    for number, (picture, title) in enumerate(zip(pictures, titles, strict=True)):
        x, y = number % 3 * width, number // 3 * height
        image.paste(Image.fromarray(picture), (x, y))
        length = draw.textlength(title, font)
        draw.rectangle((x, y + height - 27, x + length + 17, y + height), fill="#14171c")
        draw.text((x + 9, y + height - 24), title, "white", font)
    return image


def studio() -> None:
    """A walk in the studio with an event, a snapshot and a branch."""
    from playwright.sync_api import sync_playwright

    command = [sys.executable, "-m", "keepworld.cli", "play", "--no-open", "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as bridge, sync_playwright() as playwright:
        try:
            assert bridge.stdout is not None
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.goto(json.loads(bridge.stdout.readline())["url"])
            page.wait_for_selector("#family option", state="attached")
            page.fill("#prompt", "meadow village with a windmill by a lake, summer morning")
            page.fill("#seed", "1")
            page.select_option("#size", "384x216")  # which a browser beside it leaves two cores time for
            page.click("#open")
            while not page.evaluate("() => keepworld.stage.shown > 30"):
                time.sleep(0.2)
            page.focus("#stage")

            def hold(key: str, seconds: float) -> None:
                page.keyboard.down(key)
                time.sleep(seconds)
                page.keyboard.up(key)
                time.sleep(0.4)

            hold("ArrowLeft", 1.4)
            hold("d", 2.0)
            page.fill("#event", "a hot-air balloon rises over the hills")
            page.keyboard.press("Enter")
            hold("w", 1.5)
            hold("ArrowRight", 1.4)
            page.keyboard.press("n")
            hold("a", 2.0)
            page.keyboard.press("b")
            time.sleep(2.0)
            hold("w", 1.2)
            hold("d", 2.0)
            time.sleep(2.5)
            page.screenshot(path=DOCS / "studio.png")
            browser.close()
        finally:
            bridge.send_signal(2)


def keepworld(*words: str) -> None:
    """Run the command."""
    subprocess.run([sys.executable, "-m", "keepworld.cli", *words], check=True)


def main() -> None:
    """Make both, or one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--walk", action="store_true")
    parser.add_argument("--studio", action="store_true")
    options = parser.parse_args()
    if options.walk or not options.studio:
        walk().save(DOCS / "walk.png", optimize=True)
    if options.studio or not options.walk:
        studio()


if __name__ == "__main__":
    main()
