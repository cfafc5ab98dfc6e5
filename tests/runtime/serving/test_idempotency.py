"""One answer for one request id, for a day, and not for more ids than there is room for."""

import asyncio

import pytest
from keepworld_runtime.engine.errors import RequestIdReusedError
from keepworld_runtime.serving import idempotency
from keepworld_runtime.serving.idempotency import KEPT_S, AnswerStore


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


async def _count(store: AnswerStore[int], counter: list[int], request_id: str = "a", body: bytes = b"x") -> int:
    async def make() -> int:
        counter.append(len(counter))
        await asyncio.sleep(0)
        return counter[-1]

    return await store.once(request_id, body, make)


async def test_an_answer_is_kept_for_a_day():
    clock, counter = Clock(), []
    store: AnswerStore[int] = AnswerStore(clock)
    assert await asyncio.gather(*(_count(store, counter) for _ in range(3))) == [0, 0, 0]
    clock.now_s = KEPT_S
    assert await _count(store, counter) == 0
    clock.now_s = KEPT_S + 1
    assert await _count(store, counter) == 1


async def test_another_body_is_refused():
    store: AnswerStore[int] = AnswerStore(Clock())
    await _count(store, [])
    with pytest.raises(RequestIdReusedError):
        await _count(store, [], body=b"y")


async def test_the_oldest_make_room(monkeypatch):
    monkeypatch.setattr(idempotency, "MAX_KEPT", 3)
    store, counter = AnswerStore[int](Clock()), []
    for request_id in "abcd":
        await _count(store, counter, request_id)
    assert await _count(store, counter, "d") == 3
    assert await _count(store, counter, "a") == 4


async def test_a_failure_is_told_to_all_who_wait_and_not_kept():
    store: AnswerStore[int] = AnswerStore(Clock())

    async def fail() -> int:
        await asyncio.sleep(0)
        raise OSError("once")

    answers = await asyncio.gather(*(store.once("a", b"x", fail) for _ in range(2)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [OSError, OSError]
    assert await _count(store, []) == 0


async def test_what_a_caller_who_went_had_asked_for_is_made_and_answers_the_next():
    store, counter, go = AnswerStore[int](Clock()), [], asyncio.Event()

    async def make() -> int:
        await go.wait()
        counter.append(1)
        return 7

    first = asyncio.create_task(store.once("a", b"x", make))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    go.set()
    assert await store.once("a", b"x", make) == 7
    assert counter == [1]
