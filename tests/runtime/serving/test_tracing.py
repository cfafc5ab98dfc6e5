"""Traces: a caller's trace goes on in the server, chunk by chunk."""

import os
import subprocess
import sys

import grpc
import pytest
from keepworld.v1 import world_service_pb2
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.runtime.serving.client import Walk, create, eventually, serving

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture(scope="module")
def exporter():
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def spans(exporter):
    exporter.clear()
    return exporter.get_finished_spans


async def test_a_call_goes_on_from_its_callers_trace(spans):
    async with serving() as (_, stub):
        await stub.GetCapabilities(
            world_service_pb2.GetCapabilitiesRequest(), metadata=(("traceparent", f"00-{TRACE}-{PARENT}-01"),)
        )
        await eventually(spans)
    (span,) = spans()
    assert (span.name, span.kind) == ("GetCapabilities", trace.SpanKind.SERVER)
    assert f"{span.context.trace_id:032x}" == TRACE
    assert f"{span.parent.span_id:016x}" == PARENT


async def test_a_stream_has_a_span_for_each_chunk_as_long_as_its_timing_says(spans):
    async with serving() as (_, stub):
        walk = Walk(stub, await create(stub, "a-secret-prompt"))
        await walk.attach()
        ends = [(await walk.chunk())[1] for _ in range(3)]
        walk.call.cancel()
        await eventually(lambda: any(span.name == "StreamSession" for span in spans()))
    (stream,) = [span for span in spans() if span.name == "StreamSession"]
    chunks = [span for span in spans() if span.name == "chunk"]
    assert [span.attributes["keepworld.chunk"] for span in chunks[:3]] == [0, 1, 2]
    for span, end in zip(chunks, ends, strict=False):
        assert span.parent.span_id == stream.context.span_id
        assert (span.end_time - span.start_time) // 1000 == end.timing.chunk_us
    # OK is how a stream ends whose reader left while something was being written to it.
    assert stream.attributes["keepworld.outcome"] in {"CANCELLED", "OK"}
    assert "a-secret-prompt" not in "".join(span.to_json() for span in spans())


async def test_a_refused_call_says_its_reason(spans):
    async with serving() as (_, stub):
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.GetSession(world_service_pb2.GetSessionRequest(session_id="x", token="x"))
        await eventually(spans)
    (span,) = spans()
    assert span.status.status_code is trace.StatusCode.ERROR
    assert span.attributes["keepworld.outcome"] == "SESSION_NOT_FOUND"


@pytest.mark.parametrize("header", ["", "00-zz", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "~" * 100, "ff" * 2000])
async def test_a_traceparent_that_is_none_is_ignored(spans, header):
    async with serving() as (_, stub):
        await stub.GetCapabilities(
            world_service_pb2.GetCapabilitiesRequest(), metadata=(("traceparent", header),), timeout=10
        )
        await eventually(spans)
    assert spans()[0].parent is None


def test_a_server_without_the_library_serves_all_the_same():
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "import asyncio\n"
        "from tests.runtime.serving.client import create, serving\n"
        "async def main():\n"
        "    async with serving() as (_, stub):\n"
        "        print((await create(stub)).session.family)\n"
        "if __name__ == '__main__':\n"
        "    asyncio.run(main())\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == "gradient", done.stderr
