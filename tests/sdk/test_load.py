"""``keepworld bench load``: the limit it finds is the limit, and what it measures is what came."""

import asyncio
import json
import os

import numpy as np
import psutil
import pytest
from keepworld.cli import bench
from keepworld.cli.load import Row, search
from keepworld.cli.processes import usage
from keepworld.cli.stacks import shares


class Limited:
    """A server that holds so many sessions."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    async def measure(self, sessions: int) -> Row:
        return Row(sessions=sessions, is_held=sessions <= self.limit)


@pytest.mark.parametrize("most", [1, 7, 64])
def test_the_largest_number_that_is_held_is_found_in_few_steps(most):
    for limit in range(most + 2):
        rows = asyncio.run(search(Limited(limit), most, lambda row: None))
        held = [row.sessions for row in rows if row.is_held]
        assert max(held, default=0) == min(limit, most)
        assert len({row.sessions for row in rows}) == len(rows) <= 2 * np.log2(most) + 2


def test_a_server_is_started_measured_and_ended(capsys):
    before = psutil.Process().children()
    assert bench.main(["load", "--seconds", "4", "--most", "1", "--size", "64x48", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    (row,) = told["rows"]
    assert row["sessions"] == 1
    assert 0 < row["p50_ms"] <= row["p99_ms"]
    assert row["fps"] * 4 <= 24 * 4 + 2 * 16  # chunks come whole: those of one more at either end
    assert row["server_rss"] > 10e6
    assert psutil.Process().children() == before


def test_a_process_that_worked_has_used_time():
    before = usage(os.getpid())
    while usage(os.getpid()).since(before).own_s < 0.02:
        sum(range(10_000))
    assert usage(os.getpid()).since(before).own_s >= 0.02


def test_shares_are_of_the_innermost_function():
    stacks = "main;serve;encode 6\nmain;read;encode 3\nmain;serve 1\nnot a line\n"
    assert [(share.name, share.part) for share in shares(stacks)] == [("encode", 0.9), ("serve", 0.1)]
    assert shares("") == []
