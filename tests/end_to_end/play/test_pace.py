"""Where the server cannot keep to the clock the studio says so, and is back in real time once it can."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping

import pytest
from keepworld import AsyncClient
from keepworld.play import walk
from keepworld.play.line import Line

from tests.end_to_end.play.browser import server

TOO_SLOW = "slow=0.25"  # seconds a frame; costs are averaged, and so much is felt after one chunk
SLOW = "slow=0.06"  # more than a 24th of one
STEADY = "slow=0.024"  # more than half of that


class Page:
    """Takes everything, and remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[Mapping[str, object]] = []
        self.changed = asyncio.Event()

    async def tell(self, content: Mapping[str, object]) -> None:
        self.told.append(content)
        self.changed.set()

    async def show(self, frame: bytes) -> None:
        pass

    def heard(self, what: str) -> list[Mapping[str, object]]:
        return [content for content in self.told if content["is"] == what]

    async def until(self, *, slow: bool, chunks: int = 1) -> None:
        """Wait for so many chunks that were walked slowly, or in real time."""
        async with asyncio.timeout(60):
            while sum(content["slow"] is slow for content in self.heard("chunk")) < chunks:
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with server("--port", "0", "--family", "gradient=tests.families") as (_, address):
        yield address


async def test_a_walk_that_was_refused_the_clock_gets_it_when_it_can_be_kept(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk, "_AGAIN_S", 0.2)
    page = Page()
    async with AsyncClient(address) as client:
        async with client.sessions.open(TOO_SLOW, record=False) as session:
            await anext(session.stream(pace="fast"))  # from now on the server knows what chunks take
        async with client.sessions.open("", record=False) as session:
            walking = walk.Walk(Line(id=1, session=session, prompt=""), page, "jpeg")
            await page.until(slow=True)
            await page.until(slow=False)
            await walking.end()
    chunks = page.heard("chunk")
    assert [content["index"] for content in chunks] == list(range(len(chunks)))
    slow = [content["slow"] for content in chunks]
    assert slow == sorted(slow, reverse=True)
    (said,) = page.heard("slow")
    assert str(said["text"]).startswith("Not in real time")


async def test_one_that_is_refused_again_goes_on_as_it_did(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "_AGAIN_S", 0.0)
    page = Page()
    async with AsyncClient(address) as client, client.sessions.open(SLOW, record=False) as session:
        await anext(session.stream(pace="fast"))
        walking = walk.Walk(Line(id=1, session=session, prompt=""), page, "jpeg")
        await page.until(slow=True, chunks=4)
        await walking.end()
    assert not page.heard("stopped")
    assert len(page.heard("slow")) == 1
    assert all(content["slow"] for content in page.heard("chunk"))


async def test_a_walk_that_has_ended_takes_no_time_from_the_next(address: str) -> None:
    async with (
        AsyncClient(address) as client,
        client.sessions.open(STEADY, record=False) as first,
        client.sessions.open(STEADY, record=False) as other,
    ):
        await anext(first.stream(pace="fast"))
        for number, session in enumerate((first, other)):  # two at once are more than the server can promise
            page = Page()
            walking = walk.Walk(Line(id=number, session=session, prompt=""), page, "jpeg")
            await page.until(slow=False, chunks=2)
            await walking.end()
            await session.event("rain")  # what is answered after the walk's end: the server has heard of that, too
            assert not page.heard("slow")
