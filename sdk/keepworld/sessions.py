"""Opens worlds on a server, and takes up the sessions of others."""

from __future__ import annotations

import contextlib
import itertools
import secrets
import uuid
from collections.abc import Awaitable, Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path

from keepworld import uploads, wire, wire_world
from keepworld.capabilities import Capabilities, FamilyCapabilities, SessionInfo, Snapshot
from keepworld.connection import Connection
from keepworld.errors import InvalidRequestError, NotFoundError, ServerError
from keepworld.feed import new_id
from keepworld.host import Host
from keepworld.opened import Opened
from keepworld.sending import send, sent
from keepworld.session import AsyncSession
from keepworld.tickets import Ticket
from keepworld.timeline import Happening, Timeline
from keepworld.uploads import Frames, Image
from keepworld.v1 import world_service_pb2

_OPEN_FACTOR = 6  # making a world takes longer than other calls


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
    snapshot: Snapshot | str | None
    events: Timeline
    record: str | Path | bool | None
    idempotency_key: str | None
    progress: bool


class AsyncSessions:
    """Opens worlds on a client's server, and lists them."""

    def __init__(self, host: Host) -> None:
        self._host = host

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
        snapshot: Snapshot | str | None = None,
        events: Iterable[Happening] = (),
        record: str | Path | bool | None = None,
        idempotency_key: str | None = None,
        progress: bool = False,
    ) -> Opening:
        """Open a world: ``async with client.sessions.open("a village by a lake") as session``, or await it.

        Args:
            text: the world in words.
            model: the family of worlds that makes it; None: the snapshot's, or the first of the server's that takes what is
                given.
            seed: which of the worlds of these words; None: any, see `AsyncSession.seed`.
            size: width and height of its frames; None: the family's choice.
            mode: the way of moving; None: the family's choice.
            image: what its first frame shows: a PNG or JPEG file's path or bytes, or [H, W, 3] uint8 sRGB.
            clip: what it goes on from: a capture or its folder, a video's file, a `Clip`, [N, H, W, 3] uint8 from a
                standing camera, or what `AsyncClient.upload` gave.
            snapshot: a world to go on from, or its id; chunk and frame numbers too; what else is given must be as it was.
            events: what happens in it, as far as that is known: a `Timeline`, or `PlannedEvent` and (seconds, text).
            record: a folder to record everything into; None: what is steered and followed, into a temporary folder;
                False: nothing.
            idempotency_key: a name for this opening, such as a job's. Opened again under it with the same arguments while the
                session lives, also by another program, it is that session and not a second one; the seed follows from it
                unless it is given. A picture or clip is uploaded anew, and makes a session of its own.
            progress: show one line on a terminal while a clip is sent, and while it streams.

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
            events=Timeline(events),
            record=record,
            idempotency_key=idempotency_key,
            progress=progress,
        )
        return Opening(lambda: _open(self._host, wanted))

    def resume(
        self,
        ticket: str,
        *,
        after: int | None = None,
        record: str | Path | bool | None = None,
        progress: bool = False,
    ) -> Opening:
        """Take up a session that another program had, or this one before it ended; the other's stream ends.

        Args:
            ticket: what `AsyncSession.ticket` gave.
            after: the last frame that you have: the next one is the first to come. None: the first that was not sent.
            record: as for `open`.
            progress: as for `open`.

        Raises:
            ValueError: the ticket is none.
            NotFoundError: the server has the session no more.
        """
        known = Ticket.parse(ticket)
        if after is not None and after < -1:
            raise ValueError(f"after must be the number of a frame, or -1 for none, got {after}")
        return Opening(lambda: _resume(self._host, known, after=after, record=record, progress=progress))

    async def list(self) -> list[SessionInfo]:
        """The sessions on the server that are yours to see."""
        connection = await self._host.connected()
        response = await connection.repeat(connection.worlds.ListSessions, world_service_pb2.ListSessionsRequest())
        return [wire_world.session_info(session) for session in response.sessions[: wire_world.MAX_LISTED]]


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


async def _open(host: Host, wanted: _Wanted) -> AsyncSession:
    connection, known = await host.connected(), await host.capabilities()
    start = wanted.snapshot if isinstance(wanted.snapshot, Snapshot) else None
    request = await _request(connection, wanted, known, host.resume_s)
    response = await _create(connection, request, again=wanted.idempotency_key)
    try:
        wire_world.check_size(response.session, wanted.size or (start.size if start else None))
        info = wire_world.session_info(response.session)
        opened = Opened(
            info=info,
            token=response.token,
            capabilities=wire_world.own_capabilities(response.session, _family(known, info.model)),
            limits=known.limits,
            prompt=start.prompt if start else wanted.text,
            reading=wire_world.reading(response),
            first_number=info.frames,
            record=wanted.record,
            progress=wanted.progress,
        )
        session = AsyncSession(host, connection, opened)
    except BaseException:
        close = world_service_pb2.CloseSessionRequest(session_id=response.session.session_id, token=response.token)
        with contextlib.suppress(ServerError):
            await connection.once(connection.worlds.CloseSession, close)
        raise
    host.keep(session)
    return session


async def _create(
    connection: Connection, request: world_service_pb2.CreateSessionRequest, *, again: str | None
) -> world_service_pb2.CreateSessionResponse:
    """Have a session made; under an idempotency key, the one that it has, unless that is over."""
    for number in itertools.count():
        if again is not None:
            request.request_id = _id_from(again, f"session {number}")
        try:
            response = await connection.repeat(
                connection.worlds.CreateSession,
                request,
                deadline_s=_OPEN_FACTOR * connection.deadline_s,
                request_id=request.request_id,
            )
        except InvalidRequestError as error:
            is_upload = bool(request.image_asset_id or request.clip_asset_id)
            if again is None or error.code != "REQUEST_ID_REUSED" or not is_upload:
                raise
            continue  # what is uploaded again has another name
        if again is None or await _is_alive(connection, response):
            break
    return response


async def _is_alive(connection: Connection, created: world_service_pb2.CreateSessionResponse) -> bool:
    request = world_service_pb2.GetSessionRequest(session_id=created.session.session_id, token=created.token)
    try:
        there = await connection.repeat(connection.worlds.GetSession, request)
    except NotFoundError:
        return False
    return wire_world.session_info(there.session).state not in ("closed", "failed")


def _id_from(key: str, what: str) -> str:
    """The same UUID for the same key and purpose, on every machine."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"keepworld:{key}:{what}"))


async def _request(
    connection: Connection, wanted: _Wanted, known: Capabilities, resume_s: float
) -> world_service_pb2.CreateSessionRequest:
    """What is wanted for the wire, after what it begins with has been uploaded."""
    start = wanted.snapshot if isinstance(wanted.snapshot, Snapshot) else None
    model = wanted.model or (start.model if start else _first_that_takes(known, wanted))
    is_any = isinstance(wanted.snapshot, str) and wanted.model is None  # the server knows what it was
    key = wanted.idempotency_key
    request = world_service_pb2.CreateSessionRequest(
        request_id=new_id(),
        family="" if is_any else known.family(model).name,
        prompt=wanted.text,
        size=None if wanted.size is None else world_service_pb2.Size(width=wanted.size[0], height=wanted.size[1]),
        mode=wanted.mode or "",
        snapshot_id=start.id if start else wanted.snapshot if isinstance(wanted.snapshot, str) else "",
        events=[
            wire.event_message(new_id() if key is None else _id_from(key, f"event {number}"), event)
            for number, event in enumerate(wanted.events)
        ],
    )
    if wanted.seed is not None:
        request.seed = _checked_seed(wanted.seed)
    elif wanted.snapshot is None:
        request.seed = secrets.randbits(32) if key is None else int(_id_from(key, "seed")[:8], 16)
    if wanted.image is not None:
        _check_taken("image", model, wanted, is_taken=known.family(model).takes_image)
        image = await send(connection, uploads.image(wanted.image), resume_s=resume_s)
        request.image_asset_id = image.id
    if wanted.clip is not None:
        _check_taken("clip", model, wanted, is_taken=known.family(model).takes_clip)
        clip = await sent(connection, wanted.clip, resume_s=resume_s, progress=wanted.progress)
        request.clip_asset_id = clip.id
    return request


def _first_that_takes(known: Capabilities, wanted: _Wanted) -> str:
    takers = [
        family.name
        for family in known.families
        if (wanted.image is None or family.takes_image) and (wanted.clip is None or family.takes_clip)
    ]
    return (takers or [family.name for family in known.families] or ["diorama"])[0]


async def _resume(
    host: Host, ticket: Ticket, *, after: int | None, record: str | Path | bool | None, progress: bool
) -> AsyncSession:
    connection, known = await host.connected(), await host.capabilities()
    request = world_service_pb2.GetSessionRequest(session_id=ticket.session_id, token=ticket.token)
    there = (await connection.repeat(connection.worlds.GetSession, request)).session
    wire_world.check_size(there, None)
    info = wire_world.session_info(there)
    opened = Opened(
        info=info,
        token=ticket.token,
        capabilities=wire_world.own_capabilities(there, _family(known, info.model)),
        limits=known.limits,
        prompt=ticket.prompt,
        reading=ticket.reading,
        first_number=None if after is None else after + 1,
        sent_before=True,
        record=record,
        progress=progress,
    )
    session = AsyncSession(host, connection, opened)
    host.keep(session)
    return session


def _family(known: Capabilities, name: str) -> FamilyCapabilities:
    with wire.believing("session"):
        return known.family(name)


def _checked_seed(seed: int) -> int:
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed must fit 64 bits, got {seed}")
    return seed


def _check_taken(name: str, model: str, wanted: _Wanted, *, is_taken: bool) -> None:
    if wanted.snapshot is not None or (wanted.image is not None and wanted.clip is not None):
        raise ValueError("give one of image, clip and snapshot")
    if not is_taken:
        raise ValueError(f"{model} takes no {name}")
