"""``keepworld top``: what it shows of a real server, and what it makes of its numbers."""

import asyncio
import math
import os
import re
import signal
import sys

import numpy as np
import pytest
from keepworld.cli import OK, UNAVAILABLE, USAGE, run_command, top
from keepworld.cli.scrape import parse
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from tests.runtime.serving.client import Walk, create, serving
from tests.runtime.serving.test_metrics import free_port


async def looked(*arguments: str, ends: bool = True) -> tuple[int, str]:
    """Run the command in a process of its own; one that does not end by itself is interrupted after two looks."""
    environment = {name: value for name, value in os.environ.items() if name != "KEEPWORLD_URL"}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "keepworld.cli", "top", *arguments,
        stdout=pipe, stderr=asyncio.subprocess.STDOUT,
        env={**environment, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    text = ""
    async with asyncio.timeout(30):
        while not ends and text.count("refused:") < 2:
            line = await process.stdout.readline()
            assert line, text
            text += line.decode()
        if not ends:
            process.send_signal(signal.SIGINT)
        text += (await process.communicate())[0].decode()
    return process.returncode, text


async def test_it_shows_who_walks_and_ends_cleanly():
    port = free_port()
    async with serving(metrics_port=port) as (server, stub):
        created = await create(stub, "a-secret-prompt")
        walk = Walk(stub, created)
        await walk.attach()
        for _ in range(3):
            await walk.chunk()
        address = ("--url", f"127.0.0.1:{server.port}")
        status, text = await looked(*address, "--metrics", f"127.0.0.1:{port}", "--once")
        stopped, looks = await looked(*address, "--metrics", f"127.0.0.1:{port}", "--every", "0.1", ends=False)
        bare = await looked(*address, "--once")
    assert (status, stopped, bare[0]) == (OK, OK, OK)
    row = re.search(rf"{created.session.session_id[:8]} +gradient +64x48 +streaming +(\d+) +(\d+)", text)
    assert int(row[1]) >= 3
    assert int(row[2]) == 13 + 16 * (int(row[1]) - 1)
    assert "sessions 1 of 8" in text
    assert re.search(r"waiting \d+ .*worker restarts 0", text)
    assert re.search(r"whole p50 \d+ ms p95 \d+ ms", text)
    assert "refused: nothing" in text
    assert "frames/s" in looks
    assert "Traceback" not in looks
    assert "\x1b" not in text + looks  # it writes to no terminal
    assert created.token not in text
    assert "waiting" not in bare[1]


def test_without_a_server_it_says_what_is_wanted(monkeypatch, capsys):
    monkeypatch.delenv("KEEPWORLD_URL", raising=False)
    with pytest.raises(SystemExit) as ended:
        top.main(["--once"])
    assert ended.value.code == USAGE
    assert "KEEPWORLD_URL" in capsys.readouterr().err


async def test_a_metrics_port_where_nobody_is_is_named(capsys):
    port = free_port()
    async with serving() as (server, _):
        address = ["--url", f"127.0.0.1:{server.port}", "--metrics", f"127.0.0.1:{port}", "--once"]
        status = await asyncio.to_thread(run_command, top.main, address)
    assert status == UNAVAILABLE
    assert f"no metrics at 127.0.0.1:{port}" in capsys.readouterr().err


def test_quantiles_are_within_the_bucket_of_the_true_one(rng):
    registry = CollectorRegistry()
    buckets = (0.1, 0.2, 0.4, 0.8, 1.6)
    histogram = Histogram("delay", "", ("who",), buckets=buckets, registry=registry)
    values = rng.exponential(0.3, 1000)
    values = values[values < buckets[-1]]
    for index, value in enumerate(values):
        histogram.labels("ab"[index % 2]).observe(value)
    scraped = parse(generate_latest(registry).decode())
    edges = np.array([0.0, *buckets])
    for part in (0.1, 0.5, 0.9, 0.99):
        true = np.quantile(values, part, method="inverted_cdf")
        low = edges[np.searchsorted(edges, true) - 1]
        assert low <= scraped.quantile("delay", part) <= edges[np.searchsorted(edges, true)]
    assert math.isnan(scraped.quantile("delay", 0.5, who="nobody"))


def test_what_grew_is_counted_and_a_restart_starts_from_nothing():
    registry = CollectorRegistry()
    counter = Counter("things", "", ("kind",), registry=registry)
    awkward = 'a"b\\c,d="e"} 7'
    counter.labels(awkward).inc(5)
    counter.labels("z").inc(2)
    before = parse(generate_latest(registry).decode())
    counter.labels(awkward).inc(3)
    now = parse(generate_latest(registry).decode())
    assert now.total("things_total") == 10
    assert now.since(before).total("things_total") == 3
    assert before.since(now).total("things_total") == 5  # smaller than before: another server's, whole


@pytest.mark.parametrize(
    "text", ["", "<html>no</html>", "name{ 3", "name nonsense\n", "\x00\xff", 'a{b="c} 1\n# x y z']
)
def test_what_is_no_metrics_is_no_error(text):
    assert parse(text).total("name") == 0
