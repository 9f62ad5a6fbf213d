"""Every open session of the gateway."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import structlog

from mcpgw import aio
from mcpgw.errors import SessionLimit
from mcpgw.gateway.server import RunningServer
from mcpgw.gateway.session import Session
from mcpgw.protocol.client import ClientFacts
from mcpgw.units import Seconds

log = structlog.get_logger(__name__)

_SWEEP: Final = Seconds(30)
"""How often idle sessions are looked for, at most."""

_QUIET: Final = Seconds(300)
"""How long a session without an open stream must be quiet to make room for others, at most."""


class Sessions:
    """Every open session of the gateway."""

    def __init__(self, tasks: aio.Tasks, *, limit: int, in_flight: int, idle: Seconds) -> None:
        self._tasks = tasks
        self._limit = limit
        self._in_flight = in_flight
        self._idle = idle
        self._open: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._open)

    def check_room(self) -> None:
        """Refuse early when no further session may be opened.

        Raises:
            SessionLimit: As many are open as allowed.
        """
        if len(self._open) >= self._limit:
            raise SessionLimit(f"{self._limit} sessions are open, which is the limit")

    def open(self, server: RunningServer, client: ClientFacts, principal: str) -> Session:
        """Open a session, which is nobody's but that principal's.

        Raises:
            SessionLimit: As many are open as allowed.
        """
        self.check_room()
        session = Session(server, client, principal, self._tasks, self._in_flight)
        self._open[session.id] = session
        server.on_crowded = self.make_room
        log.debug("session.opened", server=server.name, revision=client.revision.date)
        return session

    def get(self, id: str, server: RunningServer, principal: str) -> Session | None:
        """The open session of that id, if it is with `server` and that principal's.

        Having the id proves nothing (MUST): it may have been seen by others.
        """
        session = self._open.get(id)
        if session is None or session.server is not server or session.principal != principal:
            return None
        session.touch()
        return session

    async def close(self, session: Session, reason: str) -> None:
        """End a session; later requests find nothing."""
        if self._forget(session, reason):
            await session.end()

    def make_room(self, server: RunningServer) -> None:
        """End the quietest session that holds an instance of `server`, if it is quiet enough.

        Many clients leave without a word, and each would hold an instance until it expires.
        """
        now = asyncio.get_running_loop().time()
        enough = min(self._idle / 2, _QUIET)
        mine = [s for s in self._open.values() if s.server is server and s.holds_instance]
        quietest = max(mine, key=lambda session: session.idle_for(now), default=None)
        if quietest is not None and quietest.idle_for(now) >= enough:
            self._forget(quietest, "others need its instance")
            _ = self._tasks.start(quietest.end(), name="session:end")

    def _forget(self, session: Session, reason: str) -> bool:
        if self._open.pop(session.id, None) is None:
            return False
        session.leave()
        log.debug("session.closed", server=session.server.name, reason=reason)
        return True

    async def drain(self, within: Seconds) -> None:
        """Close every session, each as soon as nothing of it is in flight; at most that long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within), asyncio.TaskGroup() as group:
                for session in tuple(self._open.values()):
                    group.create_task(self._close_settled(session))

    async def _close_settled(self, session: Session) -> None:
        await session.settled()
        await self.close(session, "shutdown")

    async def expire(self) -> None:
        """Close idle sessions, for as long as it runs."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(self._idle / 4, _SWEEP))
            now = loop.time()
            idle = [s for s in self._open.values() if s.idle_for(now) >= self._idle]
            for session in idle:
                await self.close(session, "idle")


@asynccontextmanager
async def open_sessions(*, limit: int, in_flight: int, idle: Seconds) -> AsyncIterator[Sessions]:
    """Keep sessions for the length of the block; end them all on the way out."""
    async with aio.Tasks("sessions") as tasks:
        sessions = Sessions(tasks, limit=limit, in_flight=in_flight, idle=idle)
        async with aio.background(sessions.expire(), name="sessions:expire"):
            yield sessions
        for session in tuple(sessions._open.values()):
            await sessions.close(session, "shutdown")
