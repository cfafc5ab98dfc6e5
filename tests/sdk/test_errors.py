"""Each gRPC status becomes one error of the tree, with what its details say."""

from __future__ import annotations

import time

import grpc
import pytest
from google.protobuf import duration_pb2
from keepworld import AsyncClient, errors
from keepworld.v1 import status_pb2

from tests.sdk.scripted_server import SIZE, ScriptedWorld, details, serving

TABLE = [
    ("INVALID_ARGUMENT", errors.InvalidRequestError, False),
    ("OUT_OF_RANGE", errors.InvalidRequestError, False),
    ("ALREADY_EXISTS", errors.InvalidRequestError, False),
    ("FAILED_PRECONDITION", errors.InvalidRequestError, False),
    ("NOT_FOUND", errors.NotFoundError, False),
    ("RESOURCE_EXHAUSTED", errors.CapacityError, True),
    ("ABORTED", errors.FencedError, False),
    ("INTERNAL", errors.WorkerError, False),
    ("DATA_LOSS", errors.WorkerError, False),
    ("DEADLINE_EXCEEDED", errors.UnavailableError, True),
    ("CANCELLED", errors.UnavailableError, True),
    ("UNIMPLEMENTED", errors.ProtocolError, False),
    ("UNKNOWN", errors.ProtocolError, False),
    ("UNAUTHENTICATED", errors.AccessError, False),
    ("PERMISSION_DENIED", errors.AccessError, False),
]


async def _fail(code: str, data: bytes, *, times: int = 1) -> tuple[errors.ServerError, ScriptedWorld]:
    world = ScriptedWorld()
    async with serving(world) as address, AsyncClient(address) as client:
        await client.capabilities()
        world.failures = [(grpc.StatusCode[code], data)] * times
        with pytest.raises(errors.ServerError) as caught:
            await client.sessions.open("meadow", size=SIZE)
    return caught.value, world


@pytest.mark.parametrize(("code", "kind", "retryable"), TABLE)
async def test_a_status_becomes_its_error(code: str, kind: type[errors.ServerError], retryable: bool) -> None:
    error, _ = await _fail(code, b"")
    assert type(error) is kind
    assert error.retryable is retryable
    assert error.request_id


async def test_details_name_reason_and_field() -> None:
    violation = status_pb2.FieldViolations.FieldViolation(field="size.width", description="must be a multiple of 8")
    data = details(
        ("ErrorInfo", status_pb2.ErrorReason(reason="SIZE_UNSUPPORTED")),
        ("BadRequest", status_pb2.FieldViolations(field_violations=[violation])),
    )
    error, _ = await _fail("INVALID_ARGUMENT", data)
    assert isinstance(error, errors.InvalidRequestError)
    assert (error.code, error.field) == ("SIZE_UNSUPPORTED", "size.width")
    assert str(error) == "size.width: must be a multiple of 8"


async def test_a_full_server_says_when_to_come_back() -> None:
    delay = status_pb2.RetryDelay(retry_delay=duration_pb2.Duration(seconds=3, nanos=500_000_000))
    error, _ = await _fail("RESOURCE_EXHAUSTED", details(("RetryInfo", delay)))
    assert isinstance(error, errors.CapacityError)
    assert error.retry_after_s == 3.5


@pytest.mark.parametrize(
    "data",
    [
        b"\xff" * 500,
        details(("ErrorInfo", status_pb2.ErrorReason(reason="\x1b[31m" + "x" * 3000)))[:3000],
        details(("BadRequest", status_pb2.FieldViolations())),
        details(("RetryInfo", status_pb2.RetryDelay(retry_delay=duration_pb2.Duration(seconds=-(2**62))))),
        b"".join([details(("ErrorInfo", status_pb2.ErrorReason(reason="A")))] * 100),
    ],
)
async def test_hostile_details_are_only_left_out(data: bytes) -> None:
    error, _ = await _fail("RESOURCE_EXHAUSTED", data)
    assert isinstance(error, errors.CapacityError)
    assert "\x1b" not in str(error) + error.code
    assert len(error.code) <= 200


async def test_calls_that_may_be_repeated_are_when_no_server_answers() -> None:
    world = ScriptedWorld()
    async with serving(world) as address, AsyncClient(address) as client:
        await client.capabilities()
        world.failures = [(grpc.StatusCode.UNAVAILABLE, b"")] * 2
        async with client.sessions.open("meadow", size=SIZE):
            assert world.calls == 4
            assert len({request.request_id for request in world.opened}) == 1


async def test_a_server_that_says_when_to_come_back_is_not_asked_before() -> None:
    delay = status_pb2.RetryDelay(retry_delay=duration_pb2.Duration(nanos=700_000_000))
    world = ScriptedWorld()
    async with serving(world) as address, AsyncClient(address) as client:
        await client.capabilities()
        world.failures = [(grpc.StatusCode.UNAVAILABLE, details(("RetryInfo", delay)))]
        started = time.monotonic()
        await client.sessions.list()
        assert time.monotonic() - started >= 0.7


async def test_a_wish_beyond_the_deadline_is_an_answer() -> None:
    delay = status_pb2.RetryDelay(retry_delay=duration_pb2.Duration(seconds=3600))
    error, world = await _fail("UNAVAILABLE", details(("RetryInfo", delay)))
    assert (type(error), error.retry_after_s, world.calls) == (errors.UnavailableError, 3600, 2)


async def test_what_must_not_be_done_twice_is_not_tried_twice() -> None:
    world = ScriptedWorld()
    async with serving(world) as address, AsyncClient(address) as client:
        await client.capabilities()
        world.failures = [(grpc.StatusCode.UNAVAILABLE, b"")]
        with pytest.raises(errors.UnavailableError):
            await client.delete_snapshot("k0")
        assert world.calls == 2


async def test_repeating_has_an_end() -> None:
    error, world = await _fail("UNAVAILABLE", b"", times=50)
    assert type(error) is errors.UnavailableError
    assert world.calls == 1 + 4


async def test_no_server_at_all_is_said_within_a_few_seconds() -> None:
    async with AsyncClient("127.0.0.1:1") as client:
        with pytest.raises(errors.UnavailableError):
            await client.capabilities()


def test_every_error_carries_a_code_of_its_own() -> None:
    tree = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    ours = [kind for kind in tree if issubclass(kind, errors.KeepworldError)]
    assert len({kind.code for kind in ours}) == len(ours)
    assert all(kind.__name__ in (errors.__doc__ or "") for kind in ours)
