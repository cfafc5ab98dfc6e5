"""The client: one connection to a server, which it starts itself if it is given no address."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from keepworld import uploads, wire_world
from keepworld.capabilities import Capabilities, FamilyCapabilities, SessionInfo, Snapshot
from keepworld.credentials import Address, Credentials
from keepworld.errors import ProtocolError, ServerError, UnavailableError, from_grpc
from keepworld.feed import new_id
from keepworld.local import LocalServer
from keepworld.session import AsyncSession
from keepworld.uploads import Frames, Image, Upload
from keepworld.v1 import world_service_pb2
from keepworld.v1.asset_service_pb2_grpc import AssetServiceStub
from keepworld.v1.world_service_pb2_grpc import WorldServiceStub

__all__ = ["AsyncClient", "AsyncSessions", "FamilyCapabilities", "Opening"]

Asked = TypeVar("Asked", bound=Message)
Answered = TypeVar("Answered", bound=Message)

_MAX_MESSAGE_BYTES = 32 * 2**20  # a raw 1080p frame with depth, labels and confidence has 19 MB at most
_ATTEMPTS = 4
_FIRST_PAUSE_S = 0.1
_DEFAULT_MODEL = "diorama"
_PICTURE_S = 1.0  # added to the time an upload may take, for each picture
_OPEN_FACTOR = 6  # making a world takes longer than other calls
_OPTIONS = (
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.enable_retries", 0),  # this client does it, for calls that may be repeated
    ("grpc.use_local_subchannel_pool", 1),  # closing the client closes the connection
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Wanted:
    """What `AsyncSessions.open` was asked for."""

    text: str
    model: str | None
    seed: int | None
    size: tuple[int, int] | None
    mode: str | None
    image: Image | None
    clip: Frames | None
    snapshot: Snapshot | None
    record: str | Path | bool | None
    progress: bool


class AsyncClient:
    """A connection to a server; ``async with`` closes it, its sessions, and the server if it started it.

    Args:
        address: "grpcs://host:port", encrypted, or "grpc://host:port" or "host:port"; None: the environment's KEEPWORLD_URL,
            else a private server, started on this machine at the first call.
        api_key: shows the server who is calling; None: the environment's KEEPWORLD_API_KEY, if there is one.
        root_certificates: a PEM file of who vouches for the server; None: whom gRPC trusts.
        client_certificate: PEM files of the client's own certificate and its key, where the server wants one.
        deadline_s: how long an answer may take; opening a world may take six times as long.
        progress: show one line on a terminal while a private server starts.

    Attributes:
        sessions: opens worlds and lists them.

    Raises:
        ValueError: the address is not one, or what is shown and trusted does not go with it.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        api_key: str | None = None,
        root_certificates: str | Path | None = None,
        client_certificate: tuple[str | Path, str | Path] | None = None,
        deadline_s: float = 10.0,
        progress: bool = False,
    ) -> None:
        if not deadline_s > 0:
            raise ValueError(f"deadline_s must be positive, got {deadline_s}")
        given = address if address is not None else os.environ.get("KEEPWORLD_URL") or None
        self._address = None if given is None else Address.parse(given)
        self._credentials = Credentials(
            api_key=api_key or os.environ.get("KEEPWORLD_API_KEY") or None,
            root_certificates=root_certificates,
            client_certificate=client_certificate,
        )
        if self._address is not None:
            self._credentials.check(self._address)
        self._deadline_s = deadline_s
        self._progress = progress
        self._connecting = asyncio.Lock()
        self._channel: grpc.aio.Channel | None = None
        self._stub: WorldServiceStub | None = None
        self._assets: AssetServiceStub | None = None
        self._server: LocalServer | None = None
        self._capabilities: Capabilities | None = None
        self._is_closed = False
        self._open: list[AsyncSession] = []
        self.sessions = AsyncSessions(self)

    async def __aenter__(self) -> Self:
        await self._connected()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def address(self) -> str | None:
        """Host and port of the server; None before a private one has been started."""
        return None if self._address is None else self._address.target

    async def capabilities(self) -> Capabilities:
        """What the server can do.

        Raises:
            ServerError: it did not answer.
        """
        stub = await self._connected()
        request = world_service_pb2.GetCapabilitiesRequest()
        self._capabilities = wire_world.capabilities(await self._repeat(stub.GetCapabilities, request))
        return self._capabilities

    async def close(self) -> None:
        """Close every session, the connection, and a server started here."""
        self._is_closed = True
        try:
            for session in self._open:
                await session.close()
        finally:
            if self._channel is not None:
                await self._channel.close()
            if self._server is not None:
                server, self._server = self._server, None
                await server.stop()

    async def _connected(self) -> WorldServiceStub:
        async with self._connecting:
            if self._is_closed:
                raise UnavailableError("the client has been closed", code="CLIENT_CLOSED")
            if self._stub is None:
                if self._address is None:
                    self._server = await LocalServer.start(progress=self._progress)
                    self._address = Address(self._server.address, is_encrypted=False)
                self._channel = self._credentials.connect(self._address, _OPTIONS)
                channel = self._credentials.carried_by(self._channel)
                self._assets = AssetServiceStub(channel)
                self._stub = WorldServiceStub(channel)
            return self._stub

    async def _open_session(self, wanted: _Wanted) -> AsyncSession:
        stub = await self._connected()
        known = self._capabilities or await self.capabilities()
        start = wanted.snapshot
        family = known.family(wanted.model or (start.model if start else _DEFAULT_MODEL))
        request = world_service_pb2.CreateSessionRequest(
            request_id=new_id(),
            family=family.name,
            prompt=wanted.text,
            size=None if wanted.size is None else world_service_pb2.Size(width=wanted.size[0], height=wanted.size[1]),
            mode=wanted.mode or "",
            snapshot_id=start.id if start else "",
        )
        if wanted.seed is not None or not start:
            request.seed = secrets.randbits(32) if wanted.seed is None else _checked_seed(wanted.seed)
        if wanted.image is not None:
            _check_taken("image", wanted, is_taken=family.takes_image)
            request.image_asset_id = await self._upload(uploads.image(wanted.image))
        if wanted.clip is not None:
            _check_taken("clip", wanted, is_taken=family.takes_clip)
            request.clip_asset_id = await self._upload(uploads.clip(wanted.clip))
        response = await self._repeat(
            stub.CreateSession, request, deadline_s=_OPEN_FACTOR * self._deadline_s, request_id=request.request_id
        )
        try:
            _check_size(response.session, wanted.size or (start.size if start else None))
            session = AsyncSession(
                stub,
                response,
                prompt=start.prompt if start else wanted.text,
                capabilities=wire_world.own_capabilities(response.session, family),
                limits=known.limits,
                record=wanted.record,
                deadline_s=self._deadline_s,
                progress=wanted.progress,
            )
        except BaseException:
            close = world_service_pb2.CloseSessionRequest(session_id=response.session.session_id, token=response.token)
            with contextlib.suppress(ServerError), from_grpc():
                await stub.CloseSession(close, timeout=self._deadline_s)
            raise
        self._open = [other for other in self._open if not other.is_closed] + [session]
        return session

    async def _upload(self, upload: Upload) -> str:
        """Send a picture or frames, and give what the server calls them."""
        assert self._assets is not None
        deadline_s = _OPEN_FACTOR * self._deadline_s + _PICTURE_S * upload.num_frames
        requests = wire_world.upload(upload)
        with from_grpc():
            call = self._assets.UploadAsset(timeout=deadline_s)
            try:
                # A picture is read or packed on a thread, when the connection has taken the one before.
                with contextlib.suppress(asyncio.InvalidStateError):  # ended already: its answer says why
                    while (request := await asyncio.to_thread(next, requests, None)) is not None:
                        await call.write(request)
                    await call.done_writing()
                return (await call).asset_id
            finally:
                call.cancel()

    async def _list_sessions(self) -> list[SessionInfo]:
        stub = await self._connected()
        response = await self._repeat(stub.ListSessions, world_service_pb2.ListSessionsRequest())
        return [wire_world.session_info(session) for session in response.sessions]

    async def _repeat(
        self,
        call: Callable[..., Awaitable[Answered]],
        request: Message,
        *,
        deadline_s: float | None = None,
        request_id: str | None = None,
    ) -> Answered:
        """Make a call that may be made again, a few times if no server is there, with growing, random pauses."""
        for attempt in range(_ATTEMPTS):
            try:
                with from_grpc(request_id):
                    return await call(request, timeout=deadline_s or self._deadline_s)
            except UnavailableError as error:
                if attempt == _ATTEMPTS - 1 or error.code in ("DEADLINE", "CANCELLED"):
                    raise
            await asyncio.sleep(_FIRST_PAUSE_S * 2**attempt * random.uniform(0.5, 1.5))  # noqa: S311
        raise AssertionError("the last attempt returns or raises")


class AsyncSessions:
    """Opens worlds on a client's server, and lists them."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    def open(
        self,
        text: str = "",
        *,
        model: str | None = None,
        seed: int | None = None,
        size: tuple[int, int] | None = None,
        mode: str | None = None,
        image: Image | None = None,
        clip: Frames | None = None,
        snapshot: Snapshot | None = None,
        record: str | Path | bool | None = None,
        progress: bool = False,
    ) -> Opening:
        """Open a world: ``async with client.sessions.open("a village by a lake") as session``, or await it.

        Args:
            text: the world in words.
            model: the family of worlds that makes it; None: the diorama, or the snapshot's.
            seed: which of the worlds of these words; None: any, see `AsyncSession.seed`.
            size: width and height of its frames; None: the family's choice.
            mode: the way of moving; None: the family's choice.
            image: what its first frame shows: a PNG or JPEG file's path or bytes, or [H, W, 3] uint8 sRGB.
            clip: what it goes on from: a capture or its folder, a `Clip`, or [N, H, W, 3] uint8 from a standing camera.
            snapshot: a world to go on from, chunk and frame numbers too; what else is given must be as it was.
            record: a folder to record everything into; None: what is steered and followed, into a temporary folder;
                False: nothing.
            progress: show one line on a terminal while it streams.

        Raises:
            ValueError: the server has no such model, the model takes no image or clip, or what is given is not one.
            InvalidRequestError: the server refused a field.
            NotFoundError: the server has the snapshot no more.
            CapacityError: the server is full.
            CaptureError: the folder is in use, or the clip's is not a capture.
        """
        wanted = _Wanted(
            text=text,
            model=model,
            seed=seed,
            size=size,
            mode=mode,
            image=image,
            clip=clip,
            snapshot=snapshot,
            record=record,
            progress=progress,
        )

        async def opened() -> AsyncSession:
            return await self._client._open_session(wanted)

        return Opening(opened)

    async def list(self) -> list[SessionInfo]:
        """The sessions on the server that are yours to see."""
        return await self._client._list_sessions()


class Opening:
    """A session about to be opened: await it, or use it with ``async with``."""

    def __init__(self, opened: Callable[[], Awaitable[AsyncSession]]) -> None:
        self._opened = opened
        self._session: AsyncSession | None = None

    def __await__(self) -> Generator[object, None, AsyncSession]:
        return self._opened().__await__()

    async def __aenter__(self) -> AsyncSession:
        self._session = await self._opened()
        return self._session

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()


def _checked_seed(seed: int) -> int:
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed must fit 64 bits, got {seed}")
    return seed


def _check_taken(name: str, wanted: _Wanted, *, is_taken: bool) -> None:
    if wanted.snapshot is not None or (wanted.image is not None and wanted.clip is not None):
        raise ValueError("give one of image, clip and snapshot")
    if not is_taken:
        raise ValueError(f"{wanted.model or _DEFAULT_MODEL} takes no {name}")


def _check_size(session: world_service_pb2.Session, asked: tuple[int, int] | None) -> None:
    """A server must not make frames larger than asked for."""
    size = (session.size.width, session.size.height)
    if size != (asked or size) or not all(0 < side <= 16_384 for side in size):
        raise ProtocolError(f"a world of {asked} was asked for, the server made one of {size}")
