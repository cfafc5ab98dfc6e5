"""The viewer, in the browser and without a screen: the letter F stands upright, whatever kind of file it is in."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from keepworld.capture import Capture
from keepworld.cli import OK, USAGE, main
from keepworld_exporters.export import export
from keepworld_exporters.plan import Plan
from keepworld_exporters.view import main as draw

from tests import scenes
from tests.end_to_end.play.browser import Watched, chromium, command, eventually, needs_chromium, picture

HOSTILE = '"><img src=x onerror=window.pwned=1>.points.ply'


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory, letter_capture: Capture) -> Path:
    """The wall with the letter as splats, a mesh and points."""
    folder = tmp_path_factory.mktemp("letter-files")
    names = ("scene.splat.ply", "scene.glb", "scene.points.ply")
    export(letter_capture, Plan(files=tuple(folder / name for name in names), holdout=0, voxel=0.03))
    return folder


def is_letter(image: np.ndarray, capture: Capture) -> bool:
    """Whether a picture, seen as the capture's first camera saw it, is dark and light where an upright F is."""
    camera, (height, width) = capture.frames[0].camera, image.shape[:2]
    zoom = height / camera.height

    def lightness(place: tuple[float, float, float]) -> float:
        (u, v) = camera.project(np.array([place]))[0][:2]
        x, y = round((u - camera.width / 2) * zoom + width / 2), round(v * zoom)
        around = height // 60  # between points there is nothing
        return float(image[y - around : y + around + 1, x - around : x + around + 1].mean(-1).max())

    dark, light = ([lightness(place) for place in places] for places in (scenes.F_DARK_PLACES, scenes.F_LIGHT_PLACES))
    return max(dark) + 60 < min(light)


@pytest.mark.parametrize("name", ["scene.splat.ply", "scene.glb", "scene.points.ply"])
def test_a_picture_is_drawn_without_a_screen(files: Path, letter_capture: Capture, tmp_path: Path, name: str) -> None:
    words = [str(files / name), str(letter_capture.folder), "--png", str(tmp_path / "f.png")]
    assert draw([*words, "--camera", "0", "--size", "512x384"]) == OK
    # The capture's own points are drawn beside it.
    image = picture((tmp_path / "f.png").read_bytes())
    assert image.shape == (384, 1024, 3)
    assert is_letter(image[:, :512], letter_capture)


def test_a_walk_from_above_shows_its_path(files: Path, letter_capture: Capture, tmp_path: Path) -> None:
    assert draw([str(letter_capture.folder), "--png", str(tmp_path / "walk.png")]) == OK
    image = picture((tmp_path / "walk.png").read_bytes()).astype(int)
    amber = (np.abs(image - (255, 176, 64)).sum(-1) < 30).sum()
    assert amber > 100


def test_what_cannot_be_shown_is_said(
    tmp_path: Path, letter_capture: Capture, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.splat.ply"
    broken.write_bytes(b"ply\nformat binary_little_endian 1.0\nelement vertex 9\n")
    out = tmp_path / "out.png"
    for file, words in ((broken, "broken.splat.ply"), (tmp_path / "none.glb", "there is no"), (tmp_path, "cameras")):
        assert draw([str(file), "--png", str(out)]) == 1
        assert words in capsys.readouterr().err
    assert draw([str(letter_capture.folder), "--png", str(out), "--camera", "99"]) == 1
    assert "99" in capsys.readouterr().err
    assert not out.exists()
    with pytest.raises(SystemExit) as misused:
        main(["view"])
    assert misused.value.code == USAGE


@needs_chromium
def test_the_letter_stands_upright_in_the_browser(files: Path, letter_capture: Capture, tmp_path: Path) -> None:
    hostile = tmp_path / HOSTILE
    shutil.copy(files / "scene.points.ply", hostile)
    shown = [str(files / "scene.splat.ply"), str(files / "scene.glb"), str(hostile), str(letter_capture.folder)]
    with chromium() as browser, command("view", *shown) as (_, link):
        watched = Watched(browser)
        page = watched.page
        page.goto(link)
        page.locator("#view[data-ready='4']").wait_for(timeout=60_000)
        assert HOSTILE in page.inner_text("#switches")

        def upright() -> bool:
            return is_letter(picture(page.locator("#view").screenshot()), letter_capture)

        def only(number: int) -> Callable[[], bool]:
            boxes = page.locator("#switches input")
            for place in range(boxes.count()):
                boxes.nth(place).set_checked(place == number)
            return upright

        for number, name in enumerate(("splats", "mesh", "points")):
            try:
                eventually(only(number), f"the letter as {name}")
            finally:
                page.screenshot(path=tmp_path / f"{name}.png")
        watched.check(link)
