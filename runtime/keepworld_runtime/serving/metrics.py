"""Metrics for Prometheus, on a port of their own.

No label grows with use: families, methods, encodings and reasons are few, and sessions, prompts and keys are never labels.
"""

from __future__ import annotations

import threading
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterator
from wsgiref.simple_server import WSGIServer

from google.protobuf.message import Message
from keepworld.v1 import frame_pb2, session_pb2, world_service_pb2
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from keepworld_runtime.engine.engine import Engine
from keepworld_runtime.engine.group import LocalGroup
from keepworld_runtime.engine.session import Session
from keepworld_runtime.serving.watch import CANCELLED, OK, Metadata

CHUNK_BUCKETS_S = (
    0.01,
    0.025,
    0.05,
    0.1,
    0.2,
    0.35,
    0.5,
    0.667,
    1.0,
    1.5,
    2.5,
    5.0,
    10.0,
    30.0,
)  # a chunk lasts 0.667 s
CALL_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ENCODINGS = {
    frame_pb2.IMAGE_ENCODING_RAW_RGB8: "raw",
    frame_pb2.IMAGE_ENCODING_PNG: "png",
    frame_pb2.IMAGE_ENCODING_JPEG: "jpeg",
    frame_pb2.IMAGE_ENCODING_H264: "h264",
}
_STREAMS = ("StreamSession",)  # whose length is how long somebody walked, not how long an answer took


class Metrics:
    """Counts what the server does.

    Args:
        family_of: gives the family of a session, by its id; "" if there is no such session.
    """

    def __init__(self, family_of: Callable[[str], str]) -> None:
        self.registry = CollectorRegistry()
        self.family_of = family_of
        ProcessCollector(registry=self.registry)
        self.calls = self._counter(
            "calls", "Calls that have ended, by how: OK, CANCELLED or a reason", "method", "outcome"
        )
        self.call_s = self._histogram("call_seconds", "Time to answer a call", CALL_BUCKETS_S, "method")
        self.refusals = self._counter("refusals", "Calls and messages within streams that were refused", "reason")
        self.frames = self._counter("frames", "Frames sent", "family", "encoding")
        self.sent = self._counter("sent_bytes", "Bytes of pictures and pixel data sent", "family")
        self.chunks = self._counter("chunks", "Chunks sent whole", "family")
        self.stage_s = self._histogram(
            "chunk_seconds",
            "Time of a chunk: in the family (draw), in encoders (encode), from its controls to its last frame (whole)",
            CHUNK_BUCKETS_S,
            "family",
            "stage",
        )
        self.control_s = self._histogram(
            "control_latency_seconds", "From a control's arrival to its chunk's first frame", CHUNK_BUCKETS_S, "family"
        )
        self.delay_s = self._histogram(
            "frame_delay_seconds", "From a frame's drawing to its sending", CHUNK_BUCKETS_S, "family"
        )

    def begin(self, method: str, metadata: Metadata) -> CallMetrics:
        """Count a call from its beginning on."""
        return CallMetrics(self, method)

    def serve(self, host: str, port: int) -> MetricsPort:
        """Answer scrapes.

        Raises:
            OSError: the port cannot be had.
        """
        try:
            return MetricsPort(*start_http_server(port, host, self.registry))
        except OSError as error:
            raise OSError(f"cannot listen on {host}:{port} for metrics") from error

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(name, what, labels, namespace="keepworld", registry=self.registry)

    def _histogram(self, name: str, what: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, what, labels, namespace="keepworld", buckets=buckets, registry=self.registry)


class CallMetrics:
    """Counts one call."""

    def __init__(self, metrics: Metrics, method: str) -> None:
        self._metrics = metrics
        self._method = method
        self._family = ""
        self._begun_s = time.monotonic()

    def asked(self, message: Message) -> None:
        """Learn whose stream it is."""
        if isinstance(message, world_service_pb2.StreamSessionRequest) and message.WhichOneof("message") == "attach":
            self._family = self._family or self._metrics.family_of(message.attach.session_id)

    def answered(self, message: Message) -> None:
        """Count what leaves a stream."""
        if not isinstance(message, world_service_pb2.StreamSessionResponse):
            return
        match message.WhichOneof("message"):
            case "frame":
                self._count_frame(message.frame)
            case "chunk_end":
                self._count_chunk(message.chunk_end.timing)
            case "refusal":
                self._count_refusal(message.refusal)

    def ended(self, outcome: str) -> None:
        """Count the call."""
        metrics = self._metrics
        metrics.calls.labels(self._method, outcome).inc()
        if outcome not in (OK, CANCELLED):
            metrics.refusals.labels(outcome).inc()
        if self._method not in _STREAMS:
            metrics.call_s.labels(self._method).observe(time.monotonic() - self._begun_s)

    def _count_frame(self, frame: frame_pb2.Frame) -> None:
        metrics, pixels = self._metrics, frame.pixels
        metrics.frames.labels(self._family, _ENCODINGS[frame.image.encoding]).inc()
        num_bytes = len(frame.image.data) + len(pixels.depth) + len(pixels.labels) + len(pixels.confidence)
        metrics.sent.labels(self._family).inc(num_bytes)
        metrics.delay_s.labels(self._family).observe((frame.timing.sent_us - frame.timing.drawn_us) / 1e6)

    def _count_chunk(self, timing: frame_pb2.ChunkTiming) -> None:
        metrics = self._metrics
        metrics.chunks.labels(self._family).inc()
        for stage, stage_us in (("draw", timing.draw_us), ("encode", timing.encode_us), ("whole", timing.chunk_us)):
            metrics.stage_s.labels(self._family, stage).observe(stage_us / 1e6)
        if timing.HasField("control_us"):
            metrics.control_s.labels(self._family).observe(timing.control_us / 1e6)

    def _count_refusal(self, refusal: session_pb2.Refusal) -> None:
        self._metrics.refusals.labels(refusal.reason).inc()


class EngineCollector(Collector):
    """Reads, whenever somebody scrapes, what the engine holds now."""

    def __init__(self, engine: Engine, group: LocalGroup) -> None:
        self._engine = engine
        self._group = group

    def collect(self) -> Iterator[Metric]:
        """The gauges."""
        sessions, waiting = Tally[tuple[str, str]](), Tally[str]()
        for session in self._engine.sessions():
            sessions[_family_of(session), "streaming" if session.attachment else "idle"] += 1
            waiting[_family_of(session)] += len(session.outbox)
        held = GaugeMetricFamily("keepworld_sessions", "Sessions open now", labels=("family", "state"))
        queued = GaugeMetricFamily("keepworld_outbox_items", "Frames and notices made but not sent", labels=("family",))
        for family in self._engine.families:
            for state in ("streaming", "idle"):
                held.add_metric((family, state), sessions[family, state])
            queued.add_metric((family,), waiting[family])
        yield held
        yield queued
        yield GaugeMetricFamily("keepworld_sessions_limit", "Sessions allowed", self._engine.limits.max_sessions)
        yield GaugeMetricFamily("keepworld_ready", "1 when worlds can be walked", int(self._engine.ready.is_set()))
        restarts = max(0, self._group.generation - 1)
        yield CounterMetricFamily("keepworld_worker_restarts", "Times the workers were started again", restarts)


class MetricsPort:
    """The port that scrapes are answered on."""

    def __init__(self, server: WSGIServer, thread: threading.Thread) -> None:
        self._server = server
        self._thread = thread

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def of_engine(engine: Engine, group: LocalGroup) -> Metrics:
    """Metrics of an engine, and of the calls they are shown."""

    def family_of(session_id: str) -> str:
        return next((_family_of(each) for each in engine.sessions() if each.id == session_id), "")

    metrics = Metrics(family_of)
    metrics.registry.register(EngineCollector(engine, group))
    return metrics


def _family_of(session: Session) -> str:
    return session.family.capabilities.name
