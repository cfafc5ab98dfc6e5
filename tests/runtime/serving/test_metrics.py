"""What Prometheus reads: true counts of what was sent, by labels that are few."""

import json
import os
import re
import signal
import socket
import urllib.error
import urllib.request
from pathlib import Path

import grpc
import pytest
from keepworld.v1 import control_pb2, world_service_pb2
from prometheus_client.parser import text_string_to_metric_families

from tests.runtime.serving.client import Walk, create, eventually, live, serving

DASHBOARD = Path(__file__).parents[3] / "docs" / "grafana" / "keepworld.json"


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
        return reply.read().decode()


def read(text: str, name: str, **labels: str) -> float:
    """The sum over all samples of this name that have these labels."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return sum(each.value for each in samples if each.name == name and labels.items() <= each.labels.items())


async def test_what_was_sent_is_counted():
    port = free_port()
    async with serving(metrics_port=port) as (_, stub):
        walk = Walk(stub, await create(stub, "a-secret-prompt"))
        await walk.attach()
        frames = (await walk.chunk())[0] + (await walk.chunk())[0]
        await walk.send(control=live(0.5, 1))
        end = (await walk.chunk())[1]
        while not end.timing.HasField("control_us"):
            end = (await walk.chunk())[1]
        sessions = read(scrape(port), "keepworld_sessions", family="gradient", state="streaming")
        walk.call.cancel()
        await eventually(lambda: read(scrape(port), "keepworld_calls_total", outcome="CANCELLED") == 1)
        text = scrape(port)
    sent = int(read(text, "keepworld_chunks_total", family="gradient"))
    assert sessions == 1
    assert read(text, "keepworld_sessions") == read(text, "keepworld_sessions", state="idle") == 1
    assert sent > end.chunk
    # The last chunk may have been cut by the cancellation.
    counted = read(text, "keepworld_frames_total", family="gradient", encoding="raw")
    assert 13 + 16 * (sent - 1) <= counted < 13 + 16 * sent
    assert read(text, "keepworld_sent_bytes_total", family="gradient") == counted * len(frames[0].image.data)
    for stage in ("draw", "encode", "whole"):
        assert read(text, "keepworld_chunk_seconds_count", stage=stage) == sent
    assert read(text, "keepworld_control_latency_seconds_count") >= 1
    assert read(text, "keepworld_frame_delay_seconds_count") == counted
    assert read(text, "keepworld_calls_total", method="CreateSession", outcome="OK") == 1
    assert "a-secret-prompt" not in text


async def test_refusals_are_counted_by_reason_within_streams_too():
    port = free_port()
    async with serving(metrics_port=port, max_sessions=1) as (_, stub):
        walk = Walk(stub, await create(stub))
        await walk.attach()
        wrong = control_pb2.Control(move=control_pb2.Control.Move(forward=9.0))
        await walk.send(control=control_pb2.LiveControl(control=wrong))
        refusal = await walk.until("refusal")
        with pytest.raises(grpc.aio.AioRpcError):
            await create(stub)
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.GetSession(world_service_pb2.GetSessionRequest(session_id="nobody", token="x" * 20))
        text = scrape(port)
    assert read(text, "keepworld_refusals_total", reason=refusal.reason) == 1
    assert read(text, "keepworld_refusals_total", reason="TOO_MANY_SESSIONS") == 1
    assert read(text, "keepworld_refusals_total", reason="SESSION_NOT_FOUND") == 1
    assert read(text, "keepworld_calls_total", method="GetSession", outcome="SESSION_NOT_FOUND") == 1


async def test_a_worker_that_is_replaced_is_counted():
    port = free_port()
    async with serving(metrics_port=port) as (server, stub):
        before = read(scrape(port), "keepworld_worker_restarts_total")
        walk = Walk(stub, await create(stub))
        await walk.attach()
        await walk.chunk()
        os.kill(server.group.pids[0], signal.SIGKILL)
        for _ in range(4):
            await walk.chunk()
        text = scrape(port)
    assert (before, read(text, "keepworld_worker_restarts_total")) == (0, 1)
    assert read(text, "keepworld_ready") == 1


async def test_use_adds_no_label():
    port = free_port()
    async with serving(metrics_port=port) as (_, stub):
        series = []
        for number in range(4):
            created = await create(stub, f"prompt{number}")
            walk = Walk(stub, created)
            await walk.attach()
            await walk.chunk()
            walk.call.cancel()
            await stub.CloseSession(
                world_service_pb2.CloseSessionRequest(session_id=created.session.session_id, token=created.token)
            )
            await eventually(lambda: read(scrape(port), "keepworld_calls_total", method="StreamSession") == number + 1)  # noqa: B023
            text = scrape(port)
            series.append({line.rpartition(" ")[0] for line in text.splitlines() if "_created" not in line})
            assert created.session.session_id not in text
    # How a stream ended depends on what came first: it was cancelled, or its session was closed.
    grown = {line for line in series[-1] - series[0] if 'method="StreamSession"' not in line and "refusals" not in line}
    assert not grown


async def test_unknown_methods_leave_no_trace():
    port = free_port()
    async with serving(metrics_port=port) as (server, _):
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            for name in ("/keepworld.v1.WorldService/Surprise", "/keepworld.v1.Nothing/At_all"):
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await channel.unary_unary(name)(b"")
                assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
        text = scrape(port)
    assert "Surprise" not in text
    assert "At_all" not in text


async def test_the_port_is_closed_with_the_server_and_off_unless_asked_for():
    port = free_port()
    async with serving(metrics_port=port):
        assert "keepworld_ready" in scrape(port)
    with pytest.raises(urllib.error.URLError):
        scrape(port)


async def test_a_metrics_port_that_is_taken_is_an_error_that_names_it():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"127.0.0.1:{port} for metrics"):
            async with serving(metrics_port=port):
                pass


async def test_every_query_of_the_dashboard_names_a_metric_that_exists():
    port = free_port()
    async with serving(metrics_port=port) as (_, stub):
        await create(stub)
        families = list(text_string_to_metric_families(scrape(port)))
    known = set()
    for family in families:
        suffixes = {
            "counter": ("_total",),
            "histogram": ("_bucket", "_sum", "_count"),
            "gauge": ("",),
            "unknown": ("",),
        }[family.type]
        known |= {family.name + suffix for suffix in suffixes}
    panels = [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    named = {name for query in queries for name in re.findall(r"\b(?:keepworld|process)_\w+", query)}
    assert len(panels) >= 8
    assert all(re.search(r"(keepworld|process)_", query) for query in queries)
    assert named <= known
    ours = {
        family.name for family in families if family.name.startswith("keepworld_") and "_created" not in family.name
    }
    shown = {re.sub("_(bucket|total)$", "", name) for name in named}
    assert ours <= shown  # and nothing is measured that nobody sees
