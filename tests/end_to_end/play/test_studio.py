"""The studio as a person uses it: a browser, the bridge, a server that is killed on the way."""

from __future__ import annotations

import itertools
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.end_to_end.play.browser import (
    Watched,
    chromium,
    command,
    eventually,
    needs_chromium,
    open_world,
    picture,
    server,
)

pytestmark = needs_chromium

# Words that are no markup to anybody.
PROMPT = 'meadow village with a windmill <img src=x onerror="window.pwned=1"></script><script>window.pwned=1</script>'
RECORD = """() => {
  const { stage } = keepworld, before = stage.painted;
  window.seen = [];
  stage.painted = (frame, now) => {
    before(frame, now);
    const { width, height } = stage.canvas;
    const { data } = stage.context.getImageData(0, height / 3, width, height / 3);
    const grey = [];
    for (let x = 0; x < width; x += 1) {
      let sum = 0;
      for (let y = 0; y < height / 3 - 1; y += 1) sum += data[4 * (y * width + x) + 1];
      grey.push(sum);
    }
    seen.push({ number: frame.number, yaw: frame.yaw, place: frame.place, grey });
  };
}"""
MOVED = "places.some((place) => place.some((x, at) => Math.abs(x - places[0][at]) > 0.05))"


def hold(watched: Watched, key: str, chunks: int) -> None:
    """Hold a key until so many chunks have been moved by it, however long it takes to get there."""
    page = watched.page
    start = page.evaluate("() => keepworld.timeline.notes.length")
    moved = f"keepworld.timeline.notes.slice({start}).filter(({{ places }}) => {MOVED}).length >= {chunks}"
    page.keyboard.down(key)
    watched.until(moved)
    page.keyboard.up(key)
    end = page.evaluate("() => keepworld.timeline.notes.length")
    watched.until(f"keepworld.timeline.notes.length > {end + 2}")


def shift(one: list[float], other: list[float]) -> int:
    """By how many columns the second profile lies further right, where both overlap."""
    reach = len(one) // 5
    first, second = (np.asarray(profile) - np.mean(profile) for profile in (one, other))

    def likeness(by: int) -> float:
        a, b = (first[: len(first) - by], second[by:]) if by >= 0 else (first[-by:], second[:by])
        return float(np.corrcoef(a, b)[0, 1])

    return max(range(-reach, reach + 1), key=likeness)


def test_a_walk_in_the_browser(tmp_path: Path) -> None:
    with chromium() as browser, command("play") as (_, link):
        watched = Watched(browser)
        page = watched.page
        open_world(watched, link, PROMPT)
        assert page.evaluate("() => keepworld.stage.decoder.video") is None  # JPEG, within one machine
        assert "biome: meadow" in page.locator("#reading .word").all_inner_texts()

        # Walking and looking go the right way, in the pictures too.
        page.evaluate(RECORD)
        page.focus("#stage")
        hold(watched, "d", 1)
        hold(watched, "ArrowRight", 1)
        hold(watched, "w", 2)
        check_pictures(page.evaluate("() => seen"))
        assert page.evaluate("() => keepworld.latency.samples.length") >= 2

        # An event says with which chunk it begins, and begins with it; one that is none says so.
        page.keyboard.press("Enter")
        page.keyboard.type("night falls")
        page.keyboard.press("Enter")
        said = page.locator("#toasts p.event")
        said.wait_for()
        chunk = int(said.inner_text().split("chunk ")[1].split(" ")[0])
        watched.until(f"keepworld.timeline.notes.length > {chunk}")
        assert page.evaluate(f"() => keepworld.timeline.notes[{chunk}].events") == ["night falls"]
        page.keyboard.press("Enter")
        page.keyboard.type("<b onclick=pwned()>purple</b>")
        page.keyboard.press("Enter")
        page.locator("#toasts p.wrong").wait_for()

        # What is undone never happened; a reload comes back to the same world, and goes on.
        page.keyboard.press("p")
        watched.until("keepworld.world.paused")
        walked = page.evaluate("() => keepworld.timeline.notes.length")
        page.evaluate(f"() => keepworld.talk.send({{ do: 'undo', chunks: {walked - 4} }})")
        watched.until("!keepworld.world.paused && keepworld.timeline.notes.length >= 5")
        assert page.evaluate("() => keepworld.timeline.notes.every(({ events }) => !events.length)")
        page.screenshot(path=tmp_path / "walk.png")
        before = page.evaluate("() => keepworld.timeline.notes.length")
        page.reload()
        watched.until(f"window.keepworld && keepworld.timeline.notes.length > {before} && keepworld.stage.shown > 5")
        assert PROMPT in page.inner_text("#title")
        watched.check(link)
        assert link.partition("token=")[2] not in page.content()


@pytest.mark.slow
def test_a_server_that_dies_on_the_way_to_the_files(tmp_path: Path) -> None:
    journal = ("--journal", str(tmp_path / "journal"))
    with (
        chromium() as browser,
        server("--port", "0", *journal) as (killed, address),
        command("play", "--url", address) as (_, link),
    ):
        watched = Watched(browser)
        open_world(watched, link, PROMPT)
        watched.page.focus("#stage")
        hold(watched, "d", 2)
        before = watched.page.evaluate("() => keepworld.timeline.notes.length")
        killed.kill()
        killed.wait()
        with server("--port", address.rpartition(":")[2], *journal):
            watched.until(f"keepworld.timeline.notes.length > {before + 2}")
            assert watched.page.evaluate("() => keepworld.timeline.notes.every(Boolean)")
            keep(watched, tmp_path)
        watched.check(link)


def check_pictures(seen: list[dict]) -> None:
    """Where the camera turned right the picture went left; where it went on, its sides went apart."""
    pairs = [(a, b) for a, b in itertools.pairwise(seen) if b["number"] == a["number"] + 1]
    turned = [shift(a["grey"], b["grey"]) for a, b in pairs if b["yaw"] - a["yaw"] > 0.02]
    assert len(turned) > 5
    assert np.median(turned) < 0
    aside = [b["place"][0] - a["place"][0] for a, b in pairs if b["yaw"] == a["yaw"] == 0]
    assert max(aside) > 0.05
    assert min(aside) >= 0
    ways = [np.subtract(b["place"], a["place"]) @ [np.sin(b["yaw"]), 0, np.cos(b["yaw"])] for a, b in pairs]
    assert max(ways) > 0.05
    by_number = {each["number"]: each for each in seen}
    apart = []
    for number, now in by_number.items():
        then = by_number.get(number - 8)
        if then is None or then["yaw"] != now["yaw"]:
            continue
        ahead = np.subtract(now["place"], then["place"]) @ [np.sin(now["yaw"]), 0, np.cos(now["yaw"])]
        if ahead > 0.4:
            half = len(now["grey"]) // 2
            left, right = (shift(then["grey"][part], now["grey"][part]) for part in (slice(half), slice(half, None)))
            apart.append(right - left)
    assert len(apart) > 5
    assert np.mean(apart) > 0


def keep(watched: Watched, folder: Path) -> None:
    """Keep splats and a mesh, see both, and take them home."""
    page = watched.page
    page.keyboard.press("k")
    page.locator("#keep-dialog[open]").wait_for()
    page.locator("#kinds").screenshot()
    page.select_option("#target", "unity")
    page.evaluate("() => { document.querySelector('#stretch').options[0].value = '0 5'; }")
    page.click("#keep-begin")
    page.locator("#keep-done").wait_for(timeout=180_000)
    assert page.is_visible("#result-look"), page.inner_text("#keep-done")
    with page.expect_download() as download:
        page.click("#downloads a:first-child")
    archive = folder / "kept.zip"
    download.value.save_as(archive)
    assert download.value.suggested_filename.endswith("-unity.zip")
    with zipfile.ZipFile(archive) as file:
        assert {"scene.splat.ply", "scene.glb"} <= set(file.namelist())
    page.click("#result-look")
    page.locator("#view[data-ready='3']").wait_for(timeout=60_000)
    shots = {}
    for name, places in (("splats", ()), ("mesh", (1, 2))):
        for place in places:
            page.click(f"#switches label:nth-child({place})")
        shots[name] = eventually(lambda: shown(watched), f"{name} are drawn")
        page.screenshot(path=folder / f"{name}.png")
    assert not np.array_equal(shots["splats"], shots["mesh"])


def shown(watched: Watched) -> np.ndarray | None:
    """What the viewer shows, once it is not of one colour."""
    image = picture(watched.page.locator("#view").screenshot())
    return image if np.ptp(image[60:-80].reshape(-1, 3), axis=0).max() > 60 else None


@pytest.mark.slow
def test_a_branch_and_a_jump_back(tmp_path: Path) -> None:
    with chromium() as browser, command("play") as (_, link):
        watched = Watched(browser)
        open_world(watched, link, PROMPT)
        page = watched.page
        page.keyboard.press("n")
        page.locator("#lines", has_text="snapshot 1").wait_for()
        at = page.evaluate("() => keepworld.world.snapshots[0].chunks")
        hold(watched, "w", 2)
        page.keyboard.press("b")
        watched.until("keepworld.world.line.parent === 1 && keepworld.stage.shown > 5")
        walked = page.evaluate("() => keepworld.world.line.start")
        assert walked > at
        page.click("#lines button:has-text('snapshot 1')")
        watched.until(f"keepworld.world.line.start === {at} && keepworld.world.lines.length === 3")
        watched.until(f"keepworld.timeline.notes.length > {at}")
        page.screenshot(path=tmp_path / "lines.png")
        page.click("#lines li:first-child .name")
        watched.until("keepworld.world.line.id === 1")
        watched.check(link)
