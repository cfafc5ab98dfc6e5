"""A browser, and the programs that serve its pages, for tests of what people see."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parents[3]
CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium")
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
WITHIN_S = 120.0  # on a busy machine
_ARGUMENTS = [
    "--no-sandbox",
    "--enable-unsafe-swiftshader",
]  # root has no sandbox, a machine without a GPU draws by hand


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        yield browser
        browser.close()


class Watched:
    """A page, and what it did that it should not."""

    def __init__(self, browser: Browser, *, phone: bool = False) -> None:
        self.wrongs: list[str] = []
        self.requests: list[str] = []
        self.context = browser.new_context(viewport=PHONE if phone else DESKTOP, has_touch=phone, is_mobile=phone)
        self.context.set_default_timeout(1000 * WITHIN_S)
        self.page: Page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.wrongs.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: self.wrongs.append(f"dialog: {dialog.message}"))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", self._hear)

    def _hear(self, message: object) -> None:
        text = message.text  # type: ignore[attr-defined]
        # The line breaks in some of these tests, and the browser says so.
        if message.type == "error" and "WebSocket connection" not in text and "ERR_CONNECTION" not in text:  # type: ignore[attr-defined]
            self.wrongs.append(f"console: {text}")

    def until(self, expression: str, within_s: float = WITHIN_S) -> object:
        """Wait until an expression of the page holds, and give it; the page's policy forbids waiting in it by `eval`."""
        try:
            return eventually(lambda: self.page.evaluate(f"() => {expression}"), expression, within_s)
        except AssertionError as error:
            raise AssertionError(
                f"{error}; {self.wrongs}; the page says: {self.page.inner_text('body')[:1500]}"
            ) from None

    def check(self, link: str) -> None:
        """Nothing went wrong, and nothing was asked of anybody else."""
        own = link.partition("/enter")[0]
        assert not self.wrongs
        others = [
            url for url in self.requests if not url.startswith((own, f"blob:{own}", own.replace("http", "ws", 1)))
        ]
        assert not others
        assert self.page.evaluate("() => window.pwned === undefined")


def open_world(watched: Watched, link: str, prompt: str) -> None:
    """Enter a studio, and open a small diorama there."""
    page = watched.page
    page.goto(link)
    page.wait_for_selector("#family option", state="attached")
    page.fill("#prompt", prompt)
    page.fill("#seed", "1")
    page.select_option("#size", "256x144")
    page.click("#open")
    watched.until("keepworld.stage.shown > 12")


def eventually(claim: Callable[[], object], what: str, within_s: float = WITHIN_S) -> object:
    """Wait until a claim holds, and give what it gave."""
    end_s = time.monotonic() + within_s
    while (value := claim()) is None or value is False:
        assert time.monotonic() < end_s, f"not within {within_s:g} s: {what}"
        time.sleep(0.05)
    return value


@contextlib.contextmanager
def command(*words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """``keepworld WORDS --json``, a page's server; gives it and its link. Ctrl-C ends it."""
    arguments = [sys.executable, "-m", "keepworld.cli", *words, "--no-open", "--port", "0", "--json"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())["url"]
        finally:
            process.send_signal(2)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


@contextlib.contextmanager
def server(*options: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server of dioramas; gives it and its address. It is killed in the end."""
    arguments = [sys.executable, "-m", "keepworld_runtime", "--exit-with-stdin", "--log-level", "ERROR", *options]
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(), cwd=ROOT
    ) as process:
        try:
            assert process.stdout is not None
            listening, ready = [json.loads(process.stdout.readline()) for _ in range(2)]
            assert ready["ready"]
            yield process, listening["listening"]
        finally:
            process.kill()


def environment() -> dict[str, str]:
    """Ours, for programs that find the same sources."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in (str(ROOT), *sys.path) if path)}


def picture(data: bytes) -> np.ndarray:
    """A PNG file as [H, W, 3] uint8."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))
