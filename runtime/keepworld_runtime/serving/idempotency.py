"""The same request twice has the same answer: answers by request id, kept for a day."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Generic, Protocol, TypeVar

from keepworld_runtime.engine.errors import RequestIdReusedError
from keepworld_runtime.serving import validate

Answer = TypeVar("Answer")

KEPT_S = 24 * 3600.0
MAX_KEPT = 10_000


class AnswerStore(Generic[Answer]):
    """Answers of one method. A failed call is not kept: it may be tried again with the same id."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._answers: OrderedDict[str, tuple[bytes, float, asyncio.Future[Answer]]] = OrderedDict()

    async def once(self, request_id: str, body: bytes, make: Callable[[], Awaitable[Answer]]) -> Answer:
        """Give the answer that this id had, or make it.

        Raises:
            RequestIdReusedError: the id came with another body before.
        """
        self._forget_old()
        digest = hashlib.sha256(body).digest()
        if request_id in self._answers:
            known, _, answer = self._answers[request_id]
            if known != digest:
                raise RequestIdReusedError("this request id came with another request before", field="request_id")
        else:
            # Made to its end even if nobody waits for it any more: who lost the connection asks again for the same.
            answer = asyncio.ensure_future(make())
            self._answers[request_id] = (digest, self._clock(), answer)
            answer.add_done_callback(partial(self._forget_failed, request_id))
        return await asyncio.shield(answer)

    def _forget_failed(self, request_id: str, answer: asyncio.Future[Answer]) -> None:
        if answer.cancelled() or answer.exception():
            self._answers.pop(request_id, None)

    def _forget_old(self) -> None:
        oldest_s = self._clock() - KEPT_S
        while self._answers:
            _, made_s, _ = next(iter(self._answers.values()))
            if made_s >= oldest_s and len(self._answers) < MAX_KEPT:
                return
            self._answers.popitem(last=False)


class Mutation(Protocol):
    """A request that changes something."""

    request_id: str

    def SerializeToString(self, *, deterministic: bool = ...) -> bytes:  # noqa: N802 - protobuf's name
        """Its bytes."""
        ...


class Once(Generic[Answer]):
    """One method's answers: the same for the same request."""

    def __init__(self) -> None:
        self._answers: AnswerStore[Answer] = AnswerStore(time.monotonic)

    async def once(self, request: Mutation, make: Callable[[], Awaitable[Answer]]) -> Answer:
        """Do what a request asks, unless it has been done; a request without an id is new every time."""
        if not validate.request_id(request.request_id):
            return await make()
        return await self._answers.once(request.request_id, request.SerializeToString(deterministic=True), make)
