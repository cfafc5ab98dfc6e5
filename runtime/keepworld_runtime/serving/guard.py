"""Every call's way in: who is calling, whether they may, and what they have left of what they may use."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import Message

from keepworld_runtime.engine.engine import Engine
from keepworld_runtime.engine.errors import RequestError
from keepworld_runtime.serving.caller import CALLER
from keepworld_runtime.serving.interceptors import Behaviour, with_behaviour
from keepworld_runtime.serving.keys import Key, KeyFile, KeyRefusedError, ScopeMissingError
from keepworld_runtime.serving.owners import Owners
from keepworld_runtime.serving.quotas import QuotaError, Quotas
from keepworld_runtime.serving.rules import RULES, Rule
from keepworld_runtime.serving.tenancy import Tenancy

logger = logging.getLogger(__name__)

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

SWEEP_S = 1.0
_REPEATABLE_S = 3600.0
_MAX_REMEMBERED = 10_000


class NoRuleError(RequestError):
    """A method that nobody has decided about."""

    status = "PERMISSION_DENIED"
    reason = "NO_RULE"


class LeaseOverError(RequestError):
    """The session has lasted as long as its key allows."""

    status = "FAILED_PRECONDITION"
    reason = "LEASE_OVER"


class Guard(grpc.aio.ServerInterceptor):
    """Lets calls in by the rules, to what is the caller's tenant's.

    Args:
        keys: who may call; they can change while this serves.
        owners: whose each thing is.
        engine: whose sessions are counted, and ended when their time is over.
        clock: monotonic seconds.
    """

    def __init__(
        self, keys: KeyFile, owners: Owners, engine: Engine, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._keys, self._owners, self._engine, self._clock = keys, owners, engine, clock
        self._tenancy = Tenancy(self._owners)
        self._quotas = Quotas(keys, self._count_sessions)
        self._calls: set[_Call] = set()
        self._since_s: dict[str, float] = {}
        self._asked: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._openings: set[asyncio.Task[Any]] = set()
        self._counted: OrderedDict[tuple[str, bytes], None] = OrderedDict()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Decide about a call before anything of it is read."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        rule = RULES.get(method)
        if handler is None or (rule and rule.is_public):
            return handler
        try:
            if rule is None:
                raise NoRuleError("this method has no rule yet, so nobody may call it")
            key = self._keys.recognise(_shown(handler_call_details))
            if rule.scope and not key.has(rule.scope):
                raise ScopeMissingError(f"this key is not good for {rule.scope}", scope=rule.scope)
        except RequestError as error:
            return _refusing(error)
        return with_behaviour(handler, lambda behaviour: self._guarded(behaviour, method, rule, key))

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            try:
                self.sweep()
            except sqlite3.Error:
                logger.exception("the file of keys cannot be read")
            await asyncio.sleep(SWEEP_S)

    def sweep(self) -> None:
        """End the calls of keys whose time is over, and the sessions that have lasted as long as their keys allow."""
        for call in list(self._calls):
            try:
                key = self._keys.get(call.key_id)
                if key is None:
                    raise KeyRefusedError("this key is none of this server's", cause="unknown")
                key.check_good(self._keys.clock())
            except KeyRefusedError as refusal:
                call.end(refusal)
        now_s, sessions = self._clock(), self._engine.sessions()
        self._since_s = {session.id: self._since_s.get(session.id, now_s) for session in sessions}
        for session in sessions:
            key = self._keys.get(self._owners.key_id(session.id) or "")
            most_s = key.allowance.max_session_s if key else None
            if most_s is not None and now_s - self._since_s[session.id] >= most_s:
                logger.info("lease over session=%s", session.id)
                if session.attachment:
                    session.attachment.end(
                        LeaseOverError(f"this key's sessions last {most_s:g} s", lease_s=f"{most_s:g}")
                    )
                self._engine.close(session)

    def _guarded(self, behaviour: Behaviour, method: str, rule: Rule, key: Key) -> Behaviour:
        async def guarded(request: Any, context: Any) -> Any:
            if rule.streams or rule.draws:
                self._quotas.check_draw(key)
            if not isinstance(request, Message):
                return await self._answer(behaviour, request, context, rule, key)
            self._tenancy.translate(request, key)
            if not (rule.opens or rule.draws or rule.exports):
                return await self._answer(behaviour, request, context, rule, key)
            return await self._to_its_end(self._opened(behaviour, request, context, method, rule, key))

        return guarded

    async def _opened(self, behaviour: Behaviour, request: Any, context: Any, method: str, rule: Rule, key: Key) -> Any:
        with self._opening(request, method, rule, key):
            return await self._answer(behaviour, request, context, rule, key)

    async def _to_its_end(self, opening: Coroutine[Any, Any, Any]) -> Any:
        """Open a session, or begin an operation, and say whose it is even if its caller goes: none is not counted."""
        task = asyncio.create_task(opening)
        self._openings.add(task)
        task.add_done_callback(self._openings.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # there is nobody to tell
            raise

    async def _answer(self, behaviour: Behaviour, request: Any, context: Any, rule: Rule, key: Key) -> Any:
        """What the behaviour answers, unless the key's time is over before."""
        task = asyncio.current_task()
        assert task
        call = _Call(key.id, task)
        self._calls.add(call)
        if not isinstance(request, Message):
            request = self._each(request, rule, key, call)
        if rule.streams:
            context = _Watched(context, lambda message: self._count_chunk(message, key, call))
        CALLER.set(_KnownCaller(key, self._owners, self._quotas))
        try:
            answer = await behaviour(request, context)
        except asyncio.CancelledError:
            if call.reason is None:
                raise
            task.uncancel()
            raise call.reason from None
        finally:
            self._calls.discard(call)
        if isinstance(answer, Message):
            self._tenancy.claim(answer, rule, key)
        return answer

    async def _each(self, requests: AsyncIterator[Any], rule: Rule, key: Key, call: _Call) -> AsyncIterator[Any]:
        async for request in requests:
            if rule.uploads:
                self._quotas.upload(key, request.ByteSize())
            self._tenancy.translate(request, key)
            if rule.streams and request.HasField("attach"):
                call.session_id = request.attach.session_id
            yield request

    @contextmanager
    def _opening(self, request: Any, method: str, rule: Rule, key: Key) -> Iterator[None]:
        """Hold a session's or an export's place while it is begun; asking again for what was begun before takes none."""
        asked, now_s = (method, request.request_id), self._clock()
        if now_s - self._asked.get(asked, -_REPEATABLE_S) < _REPEATABLE_S:
            yield
            return
        quotas = self._quotas
        with quotas.session(key) if rule.opens else quotas.export(key) if rule.exports else nullcontext():
            yield
        if request.request_id:
            _remember(self._asked, asked, now_s)

    def _count_chunk(self, message: Any, key: Key, call: _Call) -> None:
        """Count a chunk's drawing, once however often its end is sent; the call ends when there is none left."""
        if not message.HasField("chunk_end"):
            return
        end = message.chunk_end
        chunk = (call.session_id, end.digest)
        if chunk not in self._counted:
            _remember(self._counted, chunk, None)
            try:
                self._quotas.draw(key, end.timing.draw_us / 1e6)
            except QuotaError as error:
                call.end(error)

    def _count_sessions(self, key_id: str) -> int:
        return sum(self._owners.key_id(session.id) == key_id for session in self._engine.sessions())


class _KnownCaller:
    """Who shows a key."""

    def __init__(self, key: Key, owners: Owners, quotas: Quotas) -> None:
        self._key, self._owners, self._quotas = key, owners, quotas

    def own(self, thing_id: str) -> None:
        self._owners.give(thing_id, self._key)

    def draw(self, seconds: float) -> None:
        self._quotas.draw(self._key, seconds)


class _Call:
    """A call being answered, which can be ended before."""

    def __init__(self, key_id: str, task: asyncio.Task[Any]) -> None:
        self.key_id = key_id
        self.session_id = ""  # of a stream
        self.reason: RequestError | None = None
        self._task = task

    def end(self, reason: RequestError) -> None:
        if self.reason is None:
            self.reason = reason
            self._task.cancel()


class _Watched:
    """A call's context that shows someone what is written, after it has been."""

    def __init__(self, context: Any, show: Callable[[Message], None]) -> None:
        self._context, self._show = context, show

    async def write(self, message: Message) -> None:
        await self._context.write(message)
        self._show(message)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


def _shown(details: grpc.HandlerCallDetails) -> str:
    """The key that a call comes with.

    Raises:
        KeyRefusedError: it comes with none.
    """
    shown = [value for name, value in details.invocation_metadata or () if name == "authorization"]
    scheme, _, key = str(shown[0]).partition(" ") if len(shown) == 1 else ("", "", "")
    if scheme.lower() != "bearer":
        raise KeyRefusedError(
            "this server wants a key, in the metadata `authorization: Bearer KEY`; the SDK takes it from KEEPWORLD_API_KEY",
            cause="missing",
        )
    return key


def _refusing(error: RequestError) -> Handler:
    """A handler that reads nothing and ends in an error, whatever kind of call it is for."""

    async def refuse(request: Any, context: Any) -> None:
        raise error

    handler: Handler = grpc.stream_stream_rpc_method_handler(refuse)
    return handler


def _remember(known: OrderedDict[Any, Any], name: Any, value: Any) -> None:
    """Put something into a memory that forgets the oldest."""
    known[name] = value
    if len(known) > _MAX_REMEMBERED:
        known.popitem(last=False)
