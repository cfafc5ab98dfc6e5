"""Every method of every service, called with what the mutator makes; each call must end with a status, and soon."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from google.protobuf import descriptor, message_factory
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from keepworld.v1 import asset_service_pb2, export_service_pb2, frame_pb2, session_pb2, world_service_pb2

from tests.fuzz.mutate import Mutator

FILES = (world_service_pb2, asset_service_pb2, export_service_pb2, health_pb2, reflection_pb2)
HUNG_AFTER_S = 15.0  # of a second asked for, on a machine that does other things too
AT_ONCE = 32
_LISTENS_S = 0.2
_READ_AT_MOST = 12  # answers of a stream that would go on for ever
_KEPT = 4
_ENOUGH = 100  # wrong answers, to see that something is wrong
_CUT_SHORT = (
    "Internal error from Core"  # what grpc.aio says, without asking the server, of a call that ended while it wrote
)


def methods() -> Iterator[descriptor.MethodDescriptor]:
    """Every method that the server has, from the descriptors."""
    for module in FILES:
        for service in module.DESCRIPTOR.services_by_name.values():
            yield from service.methods


@dataclass
class Findings:
    """What came back.

    Attributes:
        statuses: how often, by method and status.
        wrong: calls that ended as none may: with UNKNOWN or INTERNAL, or not at all.
        longest_s: the longest call.
    """

    statuses: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    longest_s: float = 0.0


async def fuzz(address: str, count: int, seed: int) -> Findings:
    """Make `count` calls."""
    findings, known = Findings(), deque[str](maxlen=2 * _KEPT)
    mutator = Mutator(np.random.default_rng(seed), known)
    every = list(methods())
    remaining = iter(range(count))
    # A connection of its own: by gRPC's own count (channelz) some streams that a server refused while more was on its way to it
    # stay open on the client's side; after half a million calls they are as many as a connection may have.
    options = [("grpc.max_receive_message_length", 64 << 20), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:

        async def work() -> None:
            for number in remaining:
                if len(findings.wrong) >= _ENOUGH:
                    return
                method = every[number % len(every)]
                call = asyncio.create_task(_call(channel, method, mutator, known, findings))
                if (await asyncio.wait({call}, timeout=2 * HUNG_AFTER_S))[0]:
                    call.result()
                else:  # it has been cancelled, and went on waiting
                    findings.wrong.append(f"{method.name}: NEVER ENDED, in {' > '.join(_awaited(call.get_coro()))}")

        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(work())
    return findings


def _awaited(coroutine: Any) -> Iterator[str]:
    """Where a coroutine waits, from the outside in."""
    while (frame := getattr(coroutine, "cr_frame", None)) is not None:
        yield f"{frame.f_code.co_name}:{frame.f_lineno}"
        coroutine = coroutine.cr_await


async def _call(
    channel: grpc.aio.Channel,
    method: descriptor.MethodDescriptor,
    mutator: Mutator,
    known: deque[str],
    findings: Findings,
) -> None:
    kind = ("stream" if method.client_streaming else "unary") + ("_stream" if method.server_streaming else "_unary")
    call = getattr(channel, kind)(f"/{method.containing_service.full_name}/{method.name}")
    requests = [mutator.wire(method.input_type) for _ in range(4 if method.client_streaming else 1)]
    if method.name == "StreamSession" and known:
        requests[0] = _attach(known[0], known[1])
    started_s, status, details = time.monotonic(), "OK", ""
    try:
        async with asyncio.timeout(HUNG_AFTER_S):
            replies = await _exchange(call, method, requests)
            if method.name == "CreateSession":
                await _remember(channel, replies[0], known)
    except grpc.aio.AioRpcError as error:
        status, details = error.code().name, error.details() or ""
        status = "ENDED_WHILE_WRITING" if details == _CUT_SHORT else status
    except TimeoutError:
        status = "HUNG"
    findings.statuses[method.name, status] += 1
    findings.longest_s = max(findings.longest_s, time.monotonic() - started_s)
    if status in ("UNKNOWN", "INTERNAL", "HUNG"):
        findings.wrong.append(f"{method.name}: {status} {details!r} {[request.hex() for request in requests]}"[:2000])


def _attach(session_id: str, token: str) -> bytes:
    """The door to everything that a stream can be asked."""
    attach = session_pb2.Attach(
        session_id=session_id,
        token=token,
        config=session_pb2.StreamConfig(encoding=frame_pb2.IMAGE_ENCODING_JPEG),
        pace=session_pb2.Pace(mode=session_pb2.PACE_MODE_AS_FAST_AS_POSSIBLE),
    )
    return world_service_pb2.StreamSessionRequest(attach=attach).SerializeToString()


async def _exchange(call: grpc.Any, method: descriptor.MethodDescriptor, requests: list[bytes]) -> list[bytes]:
    """Send everything and read what comes, not for ever."""
    if not method.client_streaming and not method.server_streaming:
        return [await call(requests[0])]
    ongoing = call() if method.client_streaming else call(requests[0])
    try:
        if method.client_streaming:
            with contextlib.suppress(asyncio.InvalidStateError):  # it has ended already; why, is read below
                for request in requests:
                    await ongoing.write(request)
                await ongoing.done_writing()
        if not method.server_streaming:
            return [await ongoing]
        is_over = not all(_is_readable(method.input_type, request) for request in requests)
        return await _listen(ongoing, HUNG_AFTER_S if is_over else _LISTENS_S)
    finally:
        ongoing.cancel()  # else it counts among those that a connection may have at once


def _is_readable(kind: descriptor.Descriptor, data: bytes) -> bool:
    try:
        message_factory.GetMessageClass(kind).FromString(data)
    except DecodeError:
        return False
    return True


async def _listen(ongoing: grpc.Any, listens_s: float) -> list[bytes]:
    """Read what a stream says, until it ends or goes on and on; one that must end is listened to for long."""
    replies: list[bytes] = []
    try:
        async with asyncio.timeout(HUNG_AFTER_S):
            replies.append(await ongoing.read())
        async with asyncio.timeout(listens_s):  # health watches and streams that nobody steers say nothing for long
            while replies[-1] is not grpc.aio.EOF and (len(replies) < _READ_AT_MOST or listens_s > _LISTENS_S):
                replies.append(await ongoing.read())
    except TimeoutError:
        if not replies or listens_s > _LISTENS_S:
            raise
    return replies


async def _remember(channel: grpc.aio.Channel, reply: bytes, known: deque[str]) -> None:
    """Let a session's id and token be used in calls to come, and close the one that is forgotten for it."""
    created = world_service_pb2.CreateSessionResponse.FromString(reply)
    if len(known) == known.maxlen:
        await _close(channel, known.popleft(), known.popleft())
    known.extend((created.session.session_id, created.token))


async def _close(channel: grpc.aio.Channel, session_id: str, token: str) -> None:
    request = world_service_pb2.CloseSessionRequest(session_id=session_id, token=token)
    with contextlib.suppress(grpc.aio.AioRpcError):
        await channel.unary_unary("/keepworld.v1.WorldService/CloseSession")(request.SerializeToString())
