"""The one place where errors become statuses: google.rpc.Status with its details, and nothing of this machine's insides."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import grpc
from google.protobuf import duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2  # type: ignore[import-untyped]
from grpc_status import rpc_status

from keepworld_runtime.engine.errors import RequestError

logger = logging.getLogger(__name__)

DOMAIN = "keepworld"
_OURS = "/keepworld."
_KINDS = ("unary_unary", "stream_unary", "stream_stream")  # of handlers that are awaited; no call of ours is another


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Answers every error of our services with a status that clients can act on."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wrap the handler of a call."""
        handler: Any = await continuation(handler_call_details)  # Any: what kind it is, its attributes say
        if handler is None or not handler_call_details.method.startswith(_OURS):
            return handler
        kind = next(kind for kind in _KINDS if getattr(handler, kind))
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        wrapped: grpc.RpcMethodHandler[Any, Any] = make(
            _answering(getattr(handler, kind)),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
        return wrapped


def status_of(error: RequestError) -> status_pb2.Status:
    """An error as google.rpc.Status."""
    status = status_pb2.Status(code=code_pb2.Code.Value(error.status), message=error.message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.facts))
    if error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=error.message)
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    if error.retry_s is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(round(error.retry_s * 1e3))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return status


def _answering(behaviour: Callable[[Any, Any], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
    async def answer(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        try:
            return await behaviour(request, context)
        except RequestError as error:
            await _abort(context, error)
        except grpc.aio.AbortError:
            raise
        except Exception:
            logger.exception("unexpected error in a call")
            await _abort(context, RequestError("internal error; the server's log says more"))

    return answer


async def _abort(context: grpc.aio.ServicerContext[Any, Any], error: RequestError) -> NoReturn:
    status: Any = rpc_status.to_status(status_of(error))
    await context.abort(status.code, status.details, status.trailing_metadata)
