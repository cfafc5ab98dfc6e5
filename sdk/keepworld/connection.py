"""A connection to a server: the stubs, calls that are made again when they may be, and a new channel for a dead one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from google.protobuf.message import Message

from keepworld import keepalive
from keepworld.credentials import Address, Credentials
from keepworld.errors import UnavailableError, from_grpc
from keepworld.patience import LONGEST_PAUSE_S, Retry, pause_s
from keepworld.v1.asset_service_pb2_grpc import AssetServiceStub
from keepworld.v1.export_service_pb2_grpc import ExportServiceStub
from keepworld.v1.world_service_pb2_grpc import WorldServiceStub

Answered = TypeVar("Answered", bound=Message)

MAX_MESSAGE_BYTES = 32 * 2**20  # a raw 1080p frame with depth, labels and confidence has 19 MB at most
_OPTIONS = (
    ("grpc.keepalive_time_ms", int(keepalive.PING_S * 1000)),
    ("grpc.keepalive_timeout_ms", int(keepalive.PING_ANSWER_S * 1000)),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", int(LONGEST_PAUSE_S * 1000)),
    ("grpc.min_reconnect_backoff_ms", 5_000),  # despite its name: how long a connection may take to be made
    ("grpc.enable_retries", 0),  # this client does it, for calls that may be repeated
    ("grpc.use_local_subchannel_pool", 1),  # closing the client closes the connection
)


class Connection:
    """A channel to a server and what is called over it.

    Args:
        address: the server's.
        credentials: what is shown to it.
        deadline_s: how long an answer may take, all attempts together.
        retries: how many attempts.

    Attributes:
        worlds, assets, exports: the services; others after `renew`.
        deadline_s: as given.
    """

    def __init__(self, address: Address, credentials: Credentials, *, deadline_s: float, retries: Retry) -> None:
        self._address = address
        self._credentials = credentials
        self.deadline_s = deadline_s
        self._attempts = retries.attempts
        self._open()

    def _open(self) -> None:
        self._channel = self._credentials.connect(self._address, _OPTIONS)
        carried = self._credentials.carried_by(self._channel)
        self.worlds = WorldServiceStub(carried)
        self.assets = AssetServiceStub(carried)
        self.exports = ExportServiceStub(carried)

    async def renew(self, worlds: WorldServiceStub) -> None:
        """Replace the channel that `worlds` is of, if that has not been done: nothing comes over it any more."""
        if worlds is self.worlds:
            dead = self._channel
            self._open()
            await dead.close()

    async def close(self) -> None:
        """Let go of the channel."""
        await self._channel.close()

    async def once(
        self, call: Callable[..., Awaitable[Answered]], request: Message, *, request_id: str | None = None
    ) -> Answered:
        """Make a call that must not be made twice.

        Raises:
            ServerError: it failed.
        """
        with from_grpc(request_id):
            return await call(request, timeout=self.deadline_s)

    async def repeat(
        self,
        call: Callable[..., Awaitable[Answered]],
        request: Message,
        *,
        deadline_s: float | None = None,
        request_id: str | None = None,
    ) -> Answered:
        """Make a call that may be made again: a few times if no server is there, with pauses, within one deadline.

        Raises:
            ServerError: it failed, or no server was there at the last attempt.
        """
        loop = asyncio.get_running_loop()
        until_s = loop.time() + (deadline_s or self.deadline_s)
        for attempt in range(self._attempts):
            try:
                with from_grpc(request_id):
                    return await call(request, timeout=max(0.0, until_s - loop.time()))
            except UnavailableError as error:
                pause = pause_s(attempt, error.retry_after_s)
                is_last = attempt == self._attempts - 1 or loop.time() + pause >= until_s
                if is_last or error.code in ("DEADLINE", "CANCELLED"):
                    raise
            await asyncio.sleep(pause)
        raise AssertionError("the last attempt returns or raises")
