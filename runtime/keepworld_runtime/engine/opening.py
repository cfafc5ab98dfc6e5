"""How sessions come about: new ones, those that the journal has, and those that only draw something again."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping, Sequence

from keepworld_runtime.engine.keeper import Keeper
from keepworld_runtime.engine.limits import Limits
from keepworld_runtime.engine.pace import Pace, PaceMode
from keepworld_runtime.engine.remake import Remade, Walked
from keepworld_runtime.engine.session import Session
from keepworld_runtime.engine.tokens import digest_of, new_token
from keepworld_runtime.families.family import Family, WorldSpec, WorldState
from keepworld_runtime.journal.specs import Origin
from keepworld_runtime.journal.tree import KeptSession, Line, Point, Waiting

logger = logging.getLogger(__name__)

Begin = Callable[[], tuple[Point, WorldState | None]]


class Opener:
    """Makes sessions.

    Args:
        keeper: has the journal that they are in.
        limits, clock, wake: for every session.
    """

    def __init__(self, keeper: Keeper, limits: Limits, clock: Callable[[], float], wake: Callable[[], None]) -> None:
        self._keeper, self._limits, self._clock, self._wake = keeper, limits, clock, wake

    async def new(self, family: Family, spec: WorldSpec, begin: Begin, waiting: Sequence[Waiting]) -> Session:
        """A session that the journal has from here on, at the point that `begin` gives."""
        token, session_id, journal = new_token(), secrets.token_hex(16), self._keeper.journal

        def keep() -> tuple[KeptSession, WorldState | None]:
            point, state = begin()
            kept = KeptSession(
                id=session_id,
                token_digest=digest_of(token),
                line=Line(number=1, point=point, parent=0, shared=point.chunks),
                waiting=tuple(waiting),
            )
            journal.add_session(kept)
            return kept, state

        kept, state = await self._keeper.do(keep)
        name = family.capabilities.name
        logger.info("session open session=%s family=%s size=%dx%d", kept.id, name, spec.width, spec.height)
        return self._session(kept, family, spec, state, token)

    async def kept(self, families: Mapping[str, Family]) -> list[Session]:
        """The sessions that the journal has; their worlds are opened when there is time."""
        journal = self._keeper.journal

        def read() -> list[tuple[KeptSession, Origin, WorldState | None]]:
            return [
                (kept, journal.origin(kept.line.point), journal.state(kept.line.point)) for kept in journal.sessions()
            ]

        found = []
        for kept, origin, state in await self._keeper.do(read):
            family = families.get(origin.family)
            if family is None or family.capabilities.version != origin.version:
                logger.warning("session not brought back session=%s: its family is not served", kept.id)
                continue
            found.append(self._session(kept, family, origin.spec, state))
            logger.info("session brought back session=%s chunks=%d", kept.id, kept.line.point.chunks)
        return found

    def again(self, walked: Walked, session_id: str) -> Remade:
        """One that draws a walk from its beginning, in turn with what others want; nothing of it is kept."""
        point = Point(world=0, chunk=None, chunks=len(walked.works))
        line = Line(number=1, point=point, parent=0, shared=0)
        kept = KeptSession(id=session_id, token_digest=b"", line=line, waiting=())
        session = self._session(kept, walked.family, walked.spec, None)
        session.is_inner = True
        session.make_again(walked.works, None, 0)
        attachment = session.attach(Pace(mode=PaceMode.AS_FAST_AS_POSSIBLE, only_scripted=True))
        return Remade(walked=walked, session=session, attachment=attachment)

    def _session(
        self, kept: KeptSession, family: Family, spec: WorldSpec, state: WorldState | None, token: str = ""
    ) -> Session:
        return Session(kept, family, spec, state, token=token, limits=self._limits, clock=self._clock, wake=self._wake)
