"""The one place where errors become statuses: google.rpc.Status with its details, and nothing of this machine's insides."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import grpc
from google.protobuf import duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2  # type: ignore[import-untyped]
from grpc_status import rpc_status

from keepworld_runtime.engine.errors import RequestError
from keepworld_runtime.serving.quotas import QuotaError

logger = logging.getLogger(__name__)

Behaviour = Callable[[Any, Any], Awaitable[Any]]

DOMAIN = "keepworld"
KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")  # of handlers


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Answers every error with a status that clients can act on."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wrap the handler of a call."""
        handler: Any = await continuation(handler_call_details)  # Any: what kind it is, its attributes say
        if handler is None:
            return None
        return with_behaviour(handler, lambda behaviour: _answering(behaviour, writes=handler.response_streaming))


def with_behaviour(handler: Any, change: Callable[[Behaviour], Behaviour]) -> grpc.RpcMethodHandler[Any, Any]:
    """A handler that behaves as `change` makes of how it behaved: what is changed, and what comes of it, is awaited."""
    kind = next(kind for kind in KINDS if getattr(handler, kind))
    make = getattr(grpc, f"{kind}_rpc_method_handler")
    changed: grpc.RpcMethodHandler[Any, Any] = make(
        change(_awaited(getattr(handler, kind))),
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )
    return changed


def _awaited(behaviour: Callable[[Any, Any], Any]) -> Behaviour:
    """A behaviour that is awaited, of one that may yield its answers instead."""
    if not inspect.isasyncgenfunction(behaviour):
        return behaviour

    async def write_all(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        async for message in behaviour(request, context):
            await context.write(message)

    return write_all


def status_of(error: RequestError) -> status_pb2.Status:
    """An error as google.rpc.Status."""
    status = status_pb2.Status(code=code_pb2.Code.Value(error.status), message=error.message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.facts))
    if error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=error.message)
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(error, QuotaError):
        violation = error_details_pb2.QuotaFailure.Violation(subject=f"key:{error.subject}", description=error.message)
        status.details.add().Pack(error_details_pb2.QuotaFailure(violations=[violation]))
    if error.retry_s is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(round(error.retry_s * 1e3))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return status


def _answering(behaviour: Behaviour, *, writes: bool) -> Behaviour:
    async def answer(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        try:
            if writes:
                # Else the first write takes these along, and a call whose first write is cut off can never be ended.
                await context.send_initial_metadata(())
            return await behaviour(request, context)
        except RequestError as error:
            await abort(context, error)
        except grpc.aio.AbortError:
            raise
        except NotImplementedError:  # what generated code says of a method that nobody has written
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "this server does not have this method")
        except Exception:
            logger.exception("unexpected error in a call")
            await abort(context, RequestError("internal error; the server's log says more"))

    return answer


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: RequestError) -> NoReturn:
    """End a call with an error."""
    status: Any = rpc_status.to_status(status_of(error))
    await context.abort(status.code, status.details, status.trailing_metadata)
