"""Legacy sessions: what an `Mcp-Session-Id` stands for.

A session owns its exchanges: closing the HTTP response does not end them
(2025-03-26 and later: a disconnect SHOULD NOT be read as a cancellation), ending the
session does. Knowing an id is not being somebody; the edge authenticates every request.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import structlog

from mcpgw import aio
from mcpgw.errors import DuplicateId, GatewayError, QueueFull, SessionLimit, ShuttingDown
from mcpgw.gateway.exchange import Exchange
from mcpgw.gateway.server import RunningServer
from mcpgw.lifecycle.base import Lease, Owner
from mcpgw.lifecycle.link import ServerLink
from mcpgw.protocol.client import ClientFacts
from mcpgw.protocol.messages import EMPTY, Notification, Outcome, Result, id_key
from mcpgw.protocol.methods import INITIALIZE, LIST_CHANGED, PING
from mcpgw.units import Seconds

log = structlog.get_logger(__name__)

Work: TypeAlias = asyncio.Task[Outcome | GatewayError]
"""An exchange under way. Why it could not be answered is a value here, since its waiter may
have left; it is cancelled when its client says so."""

_SWEEP: Final = Seconds(30)
"""How often idle sessions are looked for, at most."""

_QUIET: Final = Seconds(300)
"""How long a session without an open stream must be quiet to make room for others, at most."""


@dataclass(frozen=True, slots=True)
class _Listener:
    """A stream that the client holds open."""

    deliver: Callable[[Notification], None]
    stop: Callable[[], None]
    attended: bool = True
    """Whether the stream is open; it may have broken, and its client may come back."""


class Session:
    """One legacy client's conversation with one server."""

    def __init__(
        self, server: RunningServer, client: ClientFacts, tasks: aio.Tasks, limit: int
    ) -> None:
        self.id = secrets.token_urlsafe(24)
        self.server = server
        self.client = client
        self.owner = Owner(self.id)
        self._listener: _Listener | None = None
        self._tasks = tasks
        self._limit = limit
        self._work: dict[bytes, Work] = {}
        self._held = AsyncExitStack()
        self._holding = asyncio.Lock()
        self._lease: Lease[ServerLink] | None = None
        self._seen = asyncio.get_running_loop().time()
        self._ended = False
        self._introduced = False
        self._at_end: list[Callable[[], None]] = []

    def introduce(self, client: ClientFacts) -> bool:
        """Learn who the client is, where its session began before it said so; only once."""
        first, self._introduced = not self._introduced, True
        if first:
            self.client = client
        return first

    def touch(self) -> None:
        """Note that the client is there."""
        self._seen = asyncio.get_running_loop().time()

    def idle_for(self, now: float) -> Seconds:
        """How long nothing has happened; zero while something is in flight."""
        listener = self._listener
        busy = bool(self._work) or (listener is not None and listener.attended)
        return Seconds(0.0 if busy else now - self._seen)

    @property
    def holds_instance(self) -> bool:
        """Whether nobody else can use the instance that serves it."""
        return self._lease is not None

    async def initialize(self) -> Outcome:
        """The answer to `initialize`.

        A server that is not known yet introduces itself through the instance that will
        serve the session, so that it is not started once more for that.

        Raises:
            GatewayError: The server is not known yet and could not be started.
        """
        if self.server.instance_per_session and not self.server.is_known:
            await self._own_instance()
        return await self.server.initialize(self.client, self.owner)

    def start(self, exchange: Exchange) -> Work:
        """Begin an exchange that lives as long as it needs, whoever waits for it.

        Raises:
            DuplicateId: A request of this session with the same id is in flight.
            QueueFull: The session has too many in flight.
        """
        key = id_key(exchange.request.id)
        if key in self._work:
            raise DuplicateId(f"request id {key.decode()[:100]} is already in flight")
        if len(self._work) >= self._limit:
            raise QueueFull(f"this session has {self._limit} requests in flight")
        work = self._tasks.start(self._serve(exchange), name=exchange.request.method)
        self._work[key] = work
        work.add_done_callback(lambda _: self._settled(key))
        return work

    def cancel(self, id: bytes) -> None:
        """End the exchange of that request id, if there is one; the server is told."""
        if (work := self._work.get(id_key(id))) is not None:
            work.cancel()

    def notify(self, notification: Notification) -> None:
        """Hear a notification of the server's; only what was advertised reaches the client."""
        if self._listener is not None and notification.method in LIST_CHANGED:
            self._listener.deliver(notification)

    @contextmanager
    def listening(
        self,
        deliver: Callable[[Notification], None],
        stop: Callable[[], None],
        *,
        stays: bool = False,
    ) -> Iterator[None]:
        """Hear what answers no request, for the length of the block; the newest listener wins.

        `stop` is called when a newer listener takes over, or the session ends. One that
        `stays` hears on after the block, until there is a newer one, but keeps no session.
        """
        if self._listener is not None:
            self._listener.stop()
        mine = self._listener = _Listener(deliver, stop)
        try:
            yield
        finally:
            if self._listener is mine:
                self._listener = replace(mine, attended=False) if stays else None
            self.touch()

    def at_end(self, callback: Callable[[], None]) -> None:
        """Call back when the session ends, or at once if it has."""
        if self._ended:
            callback()
        else:
            self._at_end.append(callback)

    async def settled(self) -> None:
        """Wait until nothing is in flight."""
        while self._work:
            await asyncio.wait(tuple(self._work.values()))
            await asyncio.sleep(0)  # let the done callbacks run

    async def end(self) -> None:
        """Cancel what is in flight and let go of the session's instance."""
        self._ended = True
        if self._listener is not None:
            self._listener.stop()
        while self._at_end:
            self._at_end.pop()()
        for work in tuple(self._work.values()):
            work.cancel()
        async with self._holding:
            await self._held.aclose()

    def _settled(self, key: bytes) -> None:
        self._work.pop(key, None)
        self.touch()

    async def _serve(self, exchange: Exchange) -> Outcome | GatewayError:
        try:
            if exchange.request.method == PING:
                return Result(EMPTY)
            if exchange.request.method == INITIALIZE:
                return await self.initialize()
            if self.server.instance_per_session:
                return await self.server.serve_with(await self._own_instance(), exchange)
            return await self.server.serve(exchange)
        except GatewayError as exc:
            return exc

    async def _own_instance(self) -> Lease[ServerLink]:
        """The session's own instance, started when first needed and again after a loss."""
        async with self._holding:
            if self._ended:
                raise ShuttingDown("the session has ended")
            lease = self._lease
            if lease is None or lease.member.lost.is_set():
                self._lease = None
                await self._held.aclose()
                self._held = AsyncExitStack()
                lease = await self._held.enter_async_context(self.server.lease(self.owner))
                lease.member.on_notification = self.notify  # nobody else shares it
                self._lease = lease
            return lease


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

    def open(self, server: RunningServer, client: ClientFacts) -> Session:
        """Open a session.

        Raises:
            SessionLimit: As many are open as allowed.
        """
        self.check_room()
        session = Session(server, client, self._tasks, self._in_flight)
        self._open[session.id] = session
        server.listen(session.notify)
        server.on_crowded = self.make_room
        log.debug("session.opened", server=server.name, revision=client.revision.date)
        return session

    def get(self, id: str, server: RunningServer) -> Session | None:
        """The open session of that id, if it belongs to `server`."""
        session = self._open.get(id)
        if session is None or session.server is not server:
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
        session.server.unlisten(session.notify)
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
