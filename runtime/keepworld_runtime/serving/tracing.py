"""Traces: a span for each call, that goes on from the caller's `traceparent`, and one for each chunk of a stream.

Spans go where the environment's OpenTelemetry says: `opentelemetry-instrument keepworld-serve`, with OTEL_EXPORTER_OTLP_ENDPOINT
and the like. Without the library (extra `tracing`) there are none.
"""

from __future__ import annotations

import importlib.util
import time
from typing import TYPE_CHECKING

from google.protobuf.message import Message
from keepworld.v1 import frame_pb2, world_service_pb2

from keepworld_runtime.serving.watch import CANCELLED, OK, Metadata

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer


def is_available() -> bool:
    """Whether the library is there."""
    try:
        return importlib.util.find_spec("opentelemetry") is not None
    except ValueError:  # it is hidden
        return False


class Traces:
    """Makes spans of calls."""

    def __init__(self) -> None:
        from opentelemetry import trace

        self._tracer = trace.get_tracer("keepworld")

    def begin(self, method: str, metadata: Metadata) -> CallTrace:
        """Begin a call's span."""
        from opentelemetry import propagate, trace

        carrier = {key: value for key, value in metadata if isinstance(value, str)}
        parent = propagate.extract(carrier)
        span = self._tracer.start_span(method, parent, trace.SpanKind.SERVER, attributes={"rpc.system": "grpc"})
        return CallTrace(self._tracer, span)


class CallTrace:
    """The span of one call."""

    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer = tracer
        self._span = span

    def asked(self, message: Message) -> None:
        """Requests say nothing that a span should hold."""

    def answered(self, message: Message) -> None:
        """Make a span of a chunk that has left."""
        if isinstance(message, world_service_pb2.StreamSessionResponse) and message.HasField("chunk_end"):
            self._add_chunk(message.chunk_end)

    def ended(self, outcome: str) -> None:
        """End the span."""
        from opentelemetry.trace import StatusCode

        self._span.set_attribute("keepworld.outcome", outcome)
        if outcome not in (OK, CANCELLED):
            self._span.set_status(StatusCode.ERROR, outcome)
        self._span.end()

    def _add_chunk(self, end: frame_pb2.ChunkEnd) -> None:
        from opentelemetry import trace

        now_ns, timing = time.time_ns(), end.timing
        span = self._tracer.start_span(
            "chunk",
            trace.set_span_in_context(self._span),
            start_time=now_ns - timing.chunk_us * 1000,
            attributes={
                "keepworld.chunk": end.chunk,
                "keepworld.frames": end.frames,
                "keepworld.draw_ms": timing.draw_us / 1e3,
                "keepworld.encode_ms": timing.encode_us / 1e3,
            },
        )
        span.end(now_ns)
