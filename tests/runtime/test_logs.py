"""The log as JSON: one object a line, whatever is logged."""

import asyncio
import io
import json
import logging
import sys

from keepworld_runtime.logs import JSONFormatter

from tests.runtime.serving.client import Walk, connect, create
from tests.runtime.serving.test_process import said, started


def written(message: str, *args: object, process: str = "", **more: object) -> dict:
    """What a message becomes."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JSONFormatter(process))
    handler.emit(logging.LogRecord("some.logger", logging.INFO, "", 0, message, args, more.get("exc_info")))
    (line,) = stream.getvalue().splitlines()
    return json.loads(line)


def test_a_chunks_line_has_its_numbers_as_numbers():
    line = written("chunk session=%s chunk=%d draw_ms=%.1f", "0a" * 16, 3, 12.25)
    assert (line["session"], line["chunk"], line["draw_ms"]) == ("0a" * 16, 3, 12.2)
    assert (line["level"], line["logger"]) == ("INFO", "some.logger")
    assert line["message"] == f"chunk session={'0a' * 16} chunk=3 draw_ms=12.2"


def test_an_id_of_digits_alone_stays_a_string():
    assert written("session=%s", "1" * 32)["session"] == "1" * 32


def test_a_message_can_neither_break_the_line_nor_pass_for_another_field():
    line = written("%s level=x logger=x time=x message=x process=x", 'a\n"b"\x00 \u2028', process="worker")
    assert line["message"].startswith('a\n"b"\x00')
    assert (line["level"], line["logger"], line["process"]) == ("INFO", "some.logger", "worker")


def test_what_was_raised_is_in_the_line():
    try:
        raise KeyError("lost")
    except KeyError:
        line = written("failed", exc_info=sys.exc_info())
    assert "KeyError: 'lost'" in line["exception"]


async def test_a_server_writes_json_and_nothing_else_with_a_line_for_each_chunk(tmp_path):
    async with started("--log-format", "json", "--log-level", "INFO") as process:
        listening = await said(process)
        assert (await said(process))["ready"]
        async with connect(int(listening["listening"].rpartition(":")[2])) as stub:
            walk = Walk(stub, await create(stub, f"a-secret-prompt crash=1 once={tmp_path}/done"))
            await walk.attach()
            for _ in range(4):
                await walk.chunk()
        process.terminate()
        _, log = await asyncio.wait_for(process.communicate(), 20)
    lines = [json.loads(line) for line in log.splitlines()]
    chunks = [line["chunk"] for line in lines if line["message"].startswith("chunk ")]
    assert chunks[:4] == [0, 1, 2, 3]
    assert all(isinstance(line["draw_ms"], float) for line in lines if line["message"].startswith("chunk "))
    assert [line["level"] for line in lines if "worker lost" in line["message"]] == ["WARNING"]
    assert "a-secret-prompt" not in log.decode()
