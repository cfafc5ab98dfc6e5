"""Hands of every kind on the studio's page, and what is dropped on it: one server, one browser, one page for all."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser

from tests.end_to_end.play.browser import PHONE, Watched, chromium, command, needs_chromium, open_world, server

pytestmark = needs_chromium

SIDE = 40  # of the image, red as the video's last frame
RED = 200
RADIANS_A_PIXEL = 0.0032  # that a mouse moves
PAD = """() => {
  window.pad = { connected: true, axes: [0, 0, 0, 0], buttons: Array.from({ length: 17 }, () => ({ value: 0 })) };
  navigator.getGamepads = () => [null, window.pad];
}"""
DROP = """({ data, name, type }) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], name, { type }));
  document.querySelector("main").dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
}"""
# Which frame is shown, and the red of its first pixels: what a world of gradients began with is added to all of it.
SHOWN = """() => {
  const { stage } = keepworld, before = stage.painted;
  window.seen = [];
  stage.painted = (frame, now) => {
    before(frame, now);
    seen.push([frame.number, stage.context.getImageData(0, 0, 1, 1).data[0]]);
  };
}"""


# When frames are due, in milliseconds after the first of the last chunk; chunks are of four, and come so long after each other.
DUE = """(came) => {
  const stage = new keepworld.stage.constructor(document.createElement("canvas"), { painted() {}, fail() {} });
  let now = 1000;
  const real = performance.now;
  performance.now = () => now;
  try {
    stage.wake = () => {};
    for (const [chunk, later] of came.entries()) {
      now += later;
      stage.ready = [];
      for (let index = 0; index < 4; index++) stage.queue({ close() {} }, { index, time: 5 + 0.04 * (4 * chunk + index) });
    }
    return stage.ready.map(({ due }) => due - now);
  } finally {
    performance.now = real;
  }
}"""


@dataclass(frozen=True)
class Studio:
    """A studio with two families, of which one takes images and videos, and a page that walks in the other."""

    browser: Browser
    link: str
    watched: Watched


@pytest.fixture(scope="module")
def studio() -> Iterator[Studio]:
    families = ("--family", "diorama", "--family", "gradient=tests.families")
    with (
        chromium() as browser,
        server("--port", "0", *families) as (_, address),
        command("play", "--url", address, "--pictures", "h264") as (
            _,
            link,
        ),
    ):
        watched = Watched(browser)
        open_world(watched, link, "meadow")
        assert watched.page.evaluate("() => keepworld.stage.decoder.video?.state") == "configured"
        yield Studio(browser, link, watched)


def camera(watched: Watched) -> np.ndarray:
    """Where the newest frame was seen from: x and z, and its yaw and pitch."""
    x, z, yaw, pitch = watched.page.evaluate(
        "() => [keepworld.map.here.x, keepworld.map.here.z, ...keepworld.hands.lastAngles]"
    )
    return np.array([x, z, yaw, pitch])


def way(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """How far a camera went to its right, and ahead."""
    (dx, dz), yaw = after[:2] - before[:2], before[2]
    return dx * math.cos(yaw) - dz * math.sin(yaw), dx * math.sin(yaw) + dz * math.cos(yaw)


def stand(watched: Watched) -> np.ndarray:
    """Wait until the camera stands still, and give where."""
    chunks = watched.page.evaluate("() => keepworld.timeline.notes.length")
    watched.until(f"keepworld.timeline.notes.length > {chunks + 2}")
    return camera(watched)


@pytest.mark.parametrize(
    ("came", "due"),
    [
        ([0], [0, 40, 80, 120]),
        ([0, 160, 160], [0, 40, 80, 120]),
        ([0, 300, 160, 5000], [0, 40, 80, 120]),  # one that was late, or a pause, slows nothing down
        ([0, 160, 144, 160], [0, 36, 72, 108]),  # the next may be as early
        ([0, 144, 160, 160, 160, 160], [0, 40, 80, 120]),  # for a while
        ([0, 20], [0, 30, 60, 90]),  # but never much faster than the world
    ],
)
def test_frames_are_spread_over_the_time_until_the_next_chunk(studio: Studio, came: list[float], due: list[float]):
    assert studio.watched.page.evaluate(DUE, came) == pytest.approx(due, abs=0.01)


def test_a_gamepads_sticks_walk_and_look(studio: Studio) -> None:
    watched, page = studio.watched, studio.watched.page
    page.evaluate(PAD)
    try:
        before = stand(watched)
        page.evaluate("() => (pad.axes = [0.1, -0.1, 0.1, 0.1])")  # no thumb rests quite still
        assert stand(watched) == pytest.approx(before, abs=0.002)
        page.evaluate("() => (pad.axes = [0, -1, 0, 0])")
        watched.until(f"Math.hypot(keepworld.map.here.x - {before[0]}, keepworld.map.here.z - {before[1]}) > 0.6")
        page.evaluate("() => (pad.axes = [0, 0, 1, 0])")
        watched.until(f"keepworld.hands.lastAngles[0] > {before[2] + 0.2}")
        page.evaluate("() => (pad.axes = [0, 0, 0, 0])")
        after = stand(watched)
    finally:
        page.evaluate("() => (pad.connected = false)")
    right, ahead = way(before, after)
    assert ahead > 0.6
    assert abs(right) < 0.05


def test_the_camera_turns_as_far_as_the_mouse_asked(studio: Studio) -> None:
    watched, page = studio.watched, studio.watched.page
    before = stand(watched)
    x, y = 400, 300
    page.mouse.click(x, y)
    watched.until("document.pointerLockElement === document.querySelector('#stage')")
    try:
        page.mouse.move(x + 120, y - 50, steps=8)
        assert page.is_visible("#reticle")
        watched.until("!keepworld.hands.owed[0] && !keepworld.hands.owed[1]")
        turned = (stand(watched) - before)[2:]
    finally:
        page.evaluate("() => document.exitPointerLock()")
    assert turned == pytest.approx([120 * RADIANS_A_PIXEL, 50 * RADIANS_A_PIXEL], abs=0.06)  # to the right, and up
    watched.until("document.querySelector('#reticle').checkVisibility() === false")


@pytest.mark.slow
def test_two_thumbs_walk_and_look_at_once_on_a_phone(studio: Studio, tmp_path: Path) -> None:
    watched = Watched(studio.browser, phone=True)
    open_world(watched, studio.link, "meadow")
    page = watched.page
    assert page.evaluate("() => document.documentElement.scrollWidth") <= PHONE["width"]
    before = stand(watched)
    page.locator("#pads").scroll_into_view_if_needed()
    fingers = []
    for identity, (pad, dx, dy) in enumerate([("#pad-move", 0, -50), ("#pad-turn", 50, 0)]):
        box = page.locator(pad).bounding_box()
        assert box is not None
        fingers.append((identity, box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, dx, dy))
    devtools = watched.context.new_cdp_session(page)

    def touch(kind: str, *, share: float) -> None:
        points = [{"id": i, "x": x + share * dx, "y": y + share * dy} for i, x, y, dx, dy in fingers]
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points if kind != "touchEnd" else []})

    touch("touchStart", share=0)
    touch("touchMove", share=1)
    watched.until(f"keepworld.map.here.z > {before[1]} + 0.5 && keepworld.hands.lastAngles[0] > {before[2]} + 0.2")
    page.screenshot(path=tmp_path / "phone.png", full_page=True)
    touch("touchEnd", share=1)
    rests = stand(watched)
    assert stand(watched) == pytest.approx(rests, abs=0.002)
    watched.check(studio.link)
    watched.context.close()


def drop(watched: Watched, name: str, kind: str, data: bytes) -> None:
    watched.page.evaluate(DROP, {"data": base64.b64encode(data).decode(), "name": name, "type": kind})


def image_file() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE), (RED, 40, 40)).save(file, "PNG")
    return file.getvalue()


def video_file() -> bytes:
    """A second of green, and in its last frames red."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.time_base = Fraction(1, 24)
        for number in range(24):
            colour = (RED, 40, 40) if number > 20 else (40, 120, 40)
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), colour, np.uint8), format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


def test_what_a_family_cannot_take_is_greyed_out_and_refused_with_the_reason(studio: Studio) -> None:
    watched, page = studio.watched, studio.watched.page
    drop(watched, "view.png", "image/png", image_file())  # on the walk: another world is asked for
    page.locator("#toasts p.wrong", has_text="diorama takes no image to begin with; gradient would").wait_for()
    assert page.is_visible("#opening")
    assert "takes no image and no video" in page.inner_text("#drop.cannot")
    assert page.is_disabled("#given")
    assert page.is_hidden("#given-row")
    page.select_option("#family", "gradient")
    assert page.locator("#drop.cannot").count() == 0
    drop(watched, "<b>notes.txt", "text/plain", b"words")
    page.locator("#toasts p.wrong", has_text="<b>notes.txt is neither an image nor a video").wait_for()
    drop(watched, "broken.mp4", "video/mp4", b"no video")
    page.locator("#toasts p.wrong", has_text="broken.mp4: this browser cannot read that video").wait_for()
    page.click("#open-cancel")
    watched.until("!keepworld.world.paused")  # and the walk goes on


@pytest.mark.parametrize(
    ("name", "kind", "make"),
    [
        ("view.png", "image/png", image_file),
        pytest.param("walk.mp4", "video/mp4", video_file, marks=pytest.mark.slow),
    ],
)
def test_a_world_begins_with_what_was_dropped(studio: Studio, name: str, kind: str, make) -> None:
    watched, page = studio.watched, studio.watched.page
    page.click("#new")
    page.select_option("#family", "gradient")
    drop(watched, name, kind, make())
    watched.until(f"document.querySelector('#given-name').textContent === '{name}'")
    page.fill("#prompt", "slow=0.02")
    page.fill("#seed", "0")
    page.evaluate(SHOWN)
    line = page.evaluate("() => keepworld.world.line.id")
    page.click("#open")
    watched.until(f"keepworld.world.line.id !== {line}")
    watched.until("seen.filter(([number]) => number < 12).length > 4")
    reds = [(number, red) for number, red in page.evaluate("() => seen") if number < 12]
    assert all(abs(red - (RED + number)) < 16 for number, red in reds), reds
    watched.check(studio.link)
