"""How a session is given something to go on from in its middle, whatever breaks on the way: taken in once, or not at all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from keepworld import paths, uploads, wire_continuation
from keepworld.capabilities import FamilyCapabilities
from keepworld.capture import Capture
from keepworld.connection import Connection
from keepworld.errors import CaptureError, InvalidRequestError, UnavailableError
from keepworld.feed import new_id
from keepworld.frames import Receipt
from keepworld.sending import sent
from keepworld.uploads import Asset, Clip, Frames
from keepworld.v1 import world_service_pb2

_TRIES = 6  # a server that puts much away may take longer than one answer does
_UPLOADS = 3

Ask = Callable[[str, world_service_pb2.StreamSessionRequest], Awaitable[Receipt]]


class Continuer:
    """Gives one session what to go on from.

    Args:
        connection: to its server.
        capabilities: of its family.
        ask: asks on its stream, over as many as it takes.
        resume_s: how long a broken upload is tried again.
    """

    def __init__(self, connection: Connection, capabilities: FamilyCapabilities, ask: Ask, resume_s: float) -> None:
        self._connection, self._capabilities = connection, capabilities
        self._ask, self._resume_s = ask, resume_s

    async def extend(
        self, given: Frames, cameras: NDArray[np.float64] | None, *, here: bool, progress: bool
    ) -> Receipt:
        """See `AsyncSession.extend`."""
        family, request_id = self._capabilities, new_id()
        if not family.takes_clip:
            if cameras is not None or here:
                raise ValueError(f"{family.name} goes on where a capture ended: leave out cameras and here")
            recording = _recording(given, family)
            return await self._asked(request_id, wire_continuation.from_recording(request_id, recording))
        cameras = None if cameras is None else paths.check(cameras)
        _check_frames(given, cameras, family)
        for attempt in range(_UPLOADS):
            asset = await sent(self._connection, given, resume_s=self._resume_s, progress=progress)
            if cameras is not None and len(cameras) != asset.frames:
                raise ValueError(f"cameras must be one a frame, [{asset.frames}, 4, 4], got {list(cameras.shape)}")
            request = wire_continuation.from_clip(request_id, asset.id, cameras, here=here)
            try:
                return await self._asked(request_id, request)
            except InvalidRequestError as error:  # a server that was started again has forgotten what was uploaded
                if error.code != "ASSET_NOT_FOUND" or isinstance(given, Asset) or attempt == _UPLOADS - 1:
                    raise
        raise AssertionError("unreachable")

    async def _asked(self, request_id: str, request: world_service_pb2.StreamSessionRequest) -> Receipt:
        """The receipt; asked for again when it does not come in time, as that changes nothing."""
        for attempt in range(_TRIES):
            try:
                return await self._ask(request_id, request)
            except UnavailableError as error:
                if error.code != "DEADLINE" or attempt == _TRIES - 1:
                    raise
        raise AssertionError("unreachable")


def _check_frames(given: Frames, cameras: NDArray[np.float64] | None, family: FamilyCapabilities) -> None:
    """Refuse what the server would, as far as that is known, before it is sent.

    Raises:
        ValueError: there are too few frames, or not as many cameras.
    """
    if isinstance(given, np.ndarray | Clip | Capture | Asset):
        known: int | None = given.frames if isinstance(given, Asset) else _count(given)
    else:
        known = None if Path(given).is_file() else len(Capture(given))
    if known is None:
        return
    if known < family.min_clip_frames:
        raise ValueError(f"{family.name} goes on from at least {family.min_clip_frames} frames, got {known}")
    if cameras is not None and len(cameras) != known:
        raise ValueError(f"cameras must be one a frame, [{known}, 4, 4], got {list(cameras.shape)}")


def _count(given: NDArray[np.uint8] | Clip | Capture) -> int:
    return len(uploads.Clip(given).frames if isinstance(given, np.ndarray) else given.frames)


def _recording(given: Frames, family: FamilyCapabilities) -> Capture:
    """The whole walk that a capture is of.

    Raises:
        ValueError: it is no capture, or not of a whole walk.
        CaptureError: the folder is none.
    """
    if not family.takes_recording:
        raise ValueError(f"{family.name} goes on from nothing but what it has made")
    if not isinstance(given, Capture):
        if not isinstance(given, str | Path) or Path(given).is_file():
            raise ValueError(f"{family.name} goes on from captures of its own worlds alone: give one, or its folder")
        given = Capture(given)
    if [frame.number for frame in given.frames] != list(range(len(given.frames))) or not given.frames:
        raise ValueError(
            f"{given.folder} does not hold every frame of its world's walk from the first on: open with record="
        )
    if len(given.controls) != len(given.frames):
        raise CaptureError(f"{given.folder} does not say what steered each frame")
    if given.extended:
        raise ValueError(f"{given.folder} went on from something else with chunk {given.extended[0]}, which it lacks")
    return given
