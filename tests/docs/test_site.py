"""The documentation as a site: what is made from the code is up to date, it builds without a warning, it fetches nothing."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools/docs.py"


def tool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, TOOL, *arguments], capture_output=True, text=True, check=False)


def test_what_is_made_from_the_code_is_what_the_code_gives() -> None:
    done = tool("--check")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("site")
    for name in ("docs", "sdk"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "zensical.toml", copy)
    done = subprocess.run(
        [Path(sys.executable).parent / "zensical", "build", "--strict"],
        cwd=copy,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return copy / "build/site"


class Fetches(HTMLParser):
    """What a browser asks for by itself when it opens a page."""

    def __init__(self) -> None:
        super().__init__()
        self.wanted: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        name = "href" if tag == "link" and values.get("rel") not in ("canonical", "next", "prev") else "src"
        if tag in ("script", "img", "iframe", "link", "source", "video") and values.get(name):
            self.wanted.append(str(values[name]))


def test_its_pages_ask_for_nothing_elsewhere_and_for_nothing_that_is_not_there(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 10
    for page in pages:
        fetches = Fetches()
        fetches.feed(page.read_text())
        assert fetches.wanted
        for wanted in fetches.wanted:
            if wanted.startswith("data:"):
                continue
            assert not re.match(r"(https?:)?//", wanted), f"{page.name} asks for {wanted}"
            if page.name != "404.html":
                assert (page.parent / wanted.partition("?")[0].partition("#")[0]).exists(), f"{page.name}: no {wanted}"
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?https?:|@import [\"']https?:", sheet.read_text()), sheet.name


def test_the_reference_has_what_a_user_calls(site: Path) -> None:
    reference = (site / "api.html").read_text()
    for name in ("AsyncClient", "AsyncSession.stream", "AsyncSession.undo", "Camera.to", "Gamepad", "Capture.export"):
        assert re.search(rf'id="[\w.]*{re.escape(name)}"', reference), name
