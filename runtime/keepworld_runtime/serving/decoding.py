"""Bytes that are no message are the caller's mistake, and answered as one.

Left to itself gRPC answers them with UNKNOWN and the name of a Python class.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from keepworld_runtime.engine.errors import InvalidFieldError
from keepworld_runtime.serving.interceptors import Behaviour, with_behaviour


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands where a message was expected, until it can be refused."""


class DecodeInterceptor(grpc.aio.ServerInterceptor):
    """Lets no unreadable message through; stands before whatever reads them."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wrap the handler of a call."""
        handler: Any = await continuation(handler_call_details)  # Any: what kind it is, its attributes say
        if handler is None:
            return None
        changed: Any = with_behaviour(handler, _refusing)
        return changed._replace(request_deserializer=_forgiving(handler.request_deserializer))


def _forgiving(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def decode_or_mark(data: bytes) -> Any:
        try:
            return decode(data)
        except DecodeError:
            return Unreadable()

    return decode_or_mark


def _refusing(behaviour: Behaviour) -> Behaviour:
    async def answer(request: Any, context: Any) -> Any:
        is_stream = hasattr(request, "__aiter__")
        return await behaviour(_readable(request) if is_stream else _read(request), context)

    return answer


async def _readable(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _read(request)


def _read(request: Any) -> Any:
    if isinstance(request, Unreadable):
        raise InvalidFieldError("the message cannot be read: it is damaged, or of another type")
    return request
