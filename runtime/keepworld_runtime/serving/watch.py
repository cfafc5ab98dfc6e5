"""What is seen of every call from outside: who asked, what was asked and answered, how it ended.

Metrics and traces are made of this alone, so that nothing that serves a call has to know of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Protocol

import grpc
from google.protobuf.message import Message

from keepworld_runtime.engine.errors import RequestError
from keepworld_runtime.serving.interceptors import Behaviour, with_behaviour

OK, CANCELLED = "OK", "CANCELLED"  # outcomes beside the reasons of errors
_OURS = "/keepworld."

Metadata = Sequence[tuple[str, str | bytes]]


class CallWatcher(Protocol):
    """Sees one call."""

    def asked(self, message: Message) -> None:
        """A request has come in."""
        ...

    def answered(self, message: Message) -> None:
        """An answer has left."""
        ...

    def ended(self, outcome: str) -> None:
        """The call is over: `OK`, `CANCELLED` or the reason of its error."""
        ...


class Watcher(Protocol):
    """Sees every call."""

    def begin(self, method: str, metadata: Metadata) -> CallWatcher:
        """A call of a method that exists has begun."""
        ...


class WatchInterceptor(grpc.aio.ServerInterceptor):
    """Shows the calls of our services to watchers; stands behind what turns errors into statuses."""

    def __init__(self, watchers: Sequence[Watcher]) -> None:
        self._watchers = watchers

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wrap the handler of a call."""
        handler = await continuation(handler_call_details)
        method, metadata = handler_call_details.method, handler_call_details.invocation_metadata
        if handler is None or not self._watchers or not method.startswith(_OURS):
            return handler
        name = method.rpartition("/")[2]
        return with_behaviour(
            handler, lambda behaviour: _watched(behaviour, [each.begin(name, metadata) for each in self._watchers])
        )


def _watched(behaviour: Behaviour, watchers: Sequence[CallWatcher]) -> Behaviour:
    async def answer(request: Any, context: Any) -> Any:
        outcome = RequestError.reason
        try:
            if hasattr(request, "__aiter__"):
                request = _passing(request, watchers)
            else:
                _ask(watchers, request)
            reply = await behaviour(request, _WatchedContext(context, watchers))
            if isinstance(reply, Message):
                _answer(watchers, reply)
            outcome = OK
            return reply
        except RequestError as error:
            outcome = error.reason
            raise
        except asyncio.CancelledError:
            outcome = CANCELLED
            raise
        finally:
            for watcher in watchers:
                watcher.ended(outcome)

    return answer


async def _passing(requests: AsyncIterator[Any], watchers: Sequence[CallWatcher]) -> AsyncIterator[Any]:
    async for request in requests:
        _ask(watchers, request)
        yield request


class _WatchedContext:
    """A call's context, of which one thing is seen: what is written."""

    def __init__(self, context: grpc.aio.ServicerContext[Any, Any], watchers: Sequence[CallWatcher]) -> None:
        self._context = context
        self._watchers = watchers

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    async def write(self, message: Message) -> None:
        """Write, and show what was written."""
        await self._context.write(message)
        _answer(self._watchers, message)


def _ask(watchers: Sequence[CallWatcher], message: Any) -> None:
    for watcher in watchers if isinstance(message, Message) else ():  # what cannot be read is refused further in
        watcher.asked(message)


def _answer(watchers: Sequence[CallWatcher], message: Message) -> None:
    for watcher in watchers:
        watcher.answered(message)
