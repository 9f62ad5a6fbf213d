"""Legacy sessions: what an `Mcp-Session-Id` stands for.

A session owns its exchanges: closing the HTTP response does not end them
(2025-03-26 and later: a disconnect SHOULD NOT be read as a cancellation), ending the
session does. Knowing an id is not being somebody; the edge authenticates every request.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

import structlog
from msgspec import Raw

from mcpgw import aio
from mcpgw.errors import DuplicateId, GatewayError, QueueFull, SessionLimit, ShuttingDown
from mcpgw.gateway.asking import Questions, Relay
from mcpgw.gateway.exchange import Exchange, ReplyChannel
from mcpgw.gateway.server import RunningServer
from mcpgw.gateway.visits import COMPLETE
from mcpgw.lifecycle.base import Lease, Owner
from mcpgw.lifecycle.link import ServerLink
from mcpgw.protocol import codes
from mcpgw.protocol.client import ClientFacts
from mcpgw.protocol.logging import MESSAGE, SET_LEVEL, is_wanted, read_level
from mcpgw.protocol.messages import (
    EMPTY,
    Notification,
    Outcome,
    Request,
    Response,
    Result,
    dump_notification,
    failure,
    id_key,
)
from mcpgw.protocol.methods import INITIALIZE, LIST_CHANGED, PING
from mcpgw.protocol.questions import unanswered
from mcpgw.protocol.rawjson import object_or_empty
from mcpgw.protocol.revisions import Era
from mcpgw.units import Seconds

log = structlog.get_logger(__name__)

Work: TypeAlias = asyncio.Task[Outcome | GatewayError]
"""An exchange under way. Why it could not be answered is a value here, since its waiter may
have left; it is cancelled when its client says so."""

_SWEEP: Final = Seconds(30)
"""How often idle sessions are looked for, at most."""

_QUIET: Final = Seconds(300)
"""How long a session without an open stream must be quiet to make room for others, at most."""


_UNASKED_LEVEL: Final = "info"

_LISTENS_WITHIN: Final = Seconds(5)
"""How long a question that belongs to no request waits for the client to open its stream."""


@dataclass(frozen=True, slots=True)
class _Listener:
    """A stream that the client holds open."""

    send: Callable[[bytes], None]
    stop: Callable[[], None]


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
        self._listens = asyncio.Event()
        self._questions = Questions()
        self.log_level: str | None = None
        """The least severe log messages the client asked for; None if it asked for none."""

    @property
    def wanted_logs(self) -> str | None:
        """The level to ask a server for that is told with each request.

        A client that never said sees what a server of its own revision would send it.
        """
        modern = self.server.era is Era.MODERN
        return self.log_level or (_UNASKED_LEVEL if modern else None)

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
        busy = bool(self._work) or self._listener is not None
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
        if self.server.instance_per_session and not self.server.is_known_to(self.client):
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
        if self._listener is None:
            return
        method, params = notification.method, notification.params
        visited = method == COMPLETE and self.client.revision.visits
        logs = method == MESSAGE and (self.log_level is None or is_wanted(params, self.log_level))
        if logs or visited or method in LIST_CHANGED:
            self._listener.send(dump_notification(method, params))

    def answer(self, response: Response) -> None:
        """Take the client's answer to a question."""
        self.touch()
        self._questions.answer(response)

    async def ask(self, reply: ReplyChannel | None, method: str, params: Raw) -> Outcome:
        """Ask the client's user: on the stream of the request it belongs to, or on the client's.

        Gives an error where there is no stream to ask on.
        """
        patience = self.server.spec.timeouts.input
        if reply is not None and reply.streams:
            return await self._questions.ask(reply.send, method, params, patience)
        with suppress(TimeoutError):
            async with asyncio.timeout(_LISTENS_WITHIN):
                await self._listens.wait()
        if self._listener is None:
            return unanswered(method, "the client has no stream open to be asked on")
        return await self._questions.ask(self._listener.send, method, params, patience)

    @contextmanager
    def listening(self, send: Callable[[bytes], None], stop: Callable[[], None]) -> Iterator[None]:
        """Hear what answers no request, for the length of the block; the newest listener wins.

        `stop` is called when a newer listener takes over, or the session ends.
        """
        if self._listener is not None:
            self._listener.stop()
        mine = self._listener = _Listener(send, stop)
        self._listens.set()
        try:
            yield
        finally:
            if self._listener is mine:
                self._listener = None
                self._listens.clear()
            self.touch()

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
            if exchange.request.method == SET_LEVEL and self.server.carries_logs:
                return await self._set_level(exchange.request)
            if self.server.instance_per_session:
                return await self.server.serve_with(await self._own_instance(), exchange)
            return await self.server.serve(exchange)
        except GatewayError as exc:
            return exc

    async def _set_level(self, request: Request) -> Outcome:
        """Note which log messages the client wants, and tell an instance that is its own.

        A modern server is told with every request instead.
        """
        level = read_level(object_or_empty(request.params).get("level"))
        if level is None:
            return failure(codes.INVALID_PARAMS, "params.level is not one of the eight log levels")
        self.log_level = level
        if self.server.instance_per_session:
            return await self._tell_level(await self._own_instance(), level)
        return Result(EMPTY)

    async def _tell_level(self, lease: Lease[ServerLink], level: str) -> Outcome:
        facts = lease.member.facts
        if facts is None or facts.era is Era.MODERN:
            return Result(EMPTY)
        return await self.server.caller.set_level(lease.member, level)

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
                self._lease = lease = await self._lease_own()
                if self.log_level is not None:  # the one before it was told, this one was not
                    await self._tell_level(lease, self.log_level)
            return lease

    async def _lease_own(self) -> Lease[ServerLink]:
        capset = self.server.capset(self.client)
        lease = await self._held.enter_async_context(self.server.lease(self.owner, capset))
        link = lease.member
        link.on_notification = self.notify  # nobody else shares it
        if not capset.is_plain and link.facts is not None and link.facts.era is Era.LEGACY:
            ask = partial(self.ask, None)
            relay = await self._held.enter_async_context(Relay(link, self.client, ask))
            link.on_question, link.on_withdrawn = relay.asked, relay.withdrawn
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
