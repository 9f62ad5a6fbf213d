"""Legacy sessions: what an `Mcp-Session-Id` stands for.

A session owns its exchanges: closing the HTTP response does not end them
(2025-03-26 and later: a disconnect SHOULD NOT be read as a cancellation), ending the
session does. Knowing an id is not being somebody; the edge authenticates every request.
"""

import asyncio
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeAlias

from msgspec import Raw

from mcpgw import aio
from mcpgw.errors import DuplicateId, GatewayError, QueueFull
from mcpgw.gateway.asking import Questions
from mcpgw.gateway.exchange import Exchange, ReplyChannel
from mcpgw.gateway.hub import Hub, Listener
from mcpgw.gateway.own import OwnInstance
from mcpgw.gateway.server import RunningServer
from mcpgw.gateway.visits import COMPLETE
from mcpgw.lifecycle.base import Owner
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
from mcpgw.protocol.methods import INITIALIZE, PING, SUBSCRIBE, UNSUBSCRIBE
from mcpgw.protocol.questions import unanswered
from mcpgw.protocol.rawjson import decode_text, object_or_empty
from mcpgw.protocol.revisions import Era
from mcpgw.protocol.subscriptions import EVERY_LIST, MOST_URIS, Filter
from mcpgw.protocol.tasks import STATUS
from mcpgw.units import Seconds

Work: TypeAlias = asyncio.Task[Outcome | GatewayError]
"""An exchange under way. Why it could not be answered is a value here, since its waiter may
have left; it is cancelled when its client says so."""

_UNASKED_LEVEL: Final = "info"
"""What a server that others share is told of a client that never said which log messages it
wants: one of its own would send it some."""

_ALL: Final = "debug"
"""An instance of the session's own decides itself what it sends to a client that never said."""

_LISTENS_WITHIN: Final = Seconds(5)
"""How long a question that belongs to no request waits for the client to open its stream."""


@dataclass(frozen=True, slots=True)
class _Stream:
    """A stream that the client holds open."""

    send: Callable[[bytes], None]
    stop: Callable[[], None]
    attended: bool = True
    """Whether it is open; it may have broken, and its client may come back."""


class Session:
    """One legacy client's conversation with one server."""

    def __init__(
        self,
        server: RunningServer,
        client: ClientFacts,
        principal: str,
        tasks: aio.Tasks,
        limit: int,
    ) -> None:
        self.id = secrets.token_urlsafe(24)
        self.principal = principal
        """Whose it is."""
        self.server = server
        self.client = client
        self.owner = Owner(self.id)
        self.own = OwnInstance(
            server, self.owner, lambda: self.client, partial(self.ask, None), self.notify
        )
        self.log_level: str | None = None
        """The least severe log messages the client asked for; None if it did not say."""
        self._tasks = tasks
        self._limit = limit
        self._work: dict[bytes, Work] = {}
        self._seen = asyncio.get_running_loop().time()
        self._introduced = False
        self._beginning = False
        self._ended = False
        self._at_end: list[Callable[[], None]] = []
        self._stream: _Stream | None = None
        self._has_stream = asyncio.Event()
        self._questions = Questions()
        self._hub: Hub | None = None
        self._listener = Listener(self._tell, EVERY_LIST)

    @property
    def wanted_logs(self) -> str | None:
        """The least severe messages to deliver; None if they could be somebody else's."""
        if not self.server.carries_logs(self.client):
            return None
        own = self.server.instance_per_session and self.server.era is Era.LEGACY
        return self.log_level or (_ALL if own else _UNASKED_LEVEL)

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
        stream = self._stream
        attended = stream is not None and stream.attended
        busy = bool(self._work) or attended or self._beginning
        return Seconds(0.0 if busy else now - self._seen)

    @property
    def holds_instance(self) -> bool:
        """Whether nobody else can use the instance that serves it."""
        return self.own.is_held

    async def initialize(self) -> Outcome:
        """The answer to `initialize`.

        A server that is not known yet introduces itself through the instance that will
        serve the session, so that it is not started once more for that.

        Raises:
            GatewayError: The server is not known yet and could not be started.
        """
        self._beginning = True
        try:
            if self.server.instance_per_session and not self.server.is_known_to(self.client):
                await self.own.lease()
            answer = await self.server.initialize(self.client, self.owner)
        finally:
            self._beginning = False
            self.touch()
        self._listen()
        return answer

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
        """Hear a notification of an instance that is the session's own, or meant for it."""
        method, params = notification.method, notification.params
        if method == COMPLETE:
            if self.client.revision.visits:
                self._tell(notification)
        elif method == MESSAGE:
            if is_wanted(params, self.wanted_logs):
                self._tell(notification)
        elif method == STATUS:
            if self.client.revision.tasks:
                self._tell(notification)
        elif self._hub is not None:
            self._hub.hear(notification)

    def answer(self, response: Response) -> None:
        """Take the client's answer to a question."""
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
                await self._has_stream.wait()
        if self._stream is None:
            return unanswered(method, "the client has no stream open to be asked on")
        return await self._questions.ask(self._stream.send, method, params, patience)

    @contextmanager
    def listening(
        self, send: Callable[[bytes], None], stop: Callable[[], None], *, stays: bool = False
    ) -> Iterator[None]:
        """Hear what answers no request, for the length of the block; the newest stream wins.

        `stop` is called when a newer stream takes over, or the session ends. One that
        `stays` hears on after the block, until there is a newer one, but keeps no session.
        """
        if self._stream is not None:
            self._stream.stop()
        mine = self._stream = _Stream(send, stop)
        self._has_stream.set()
        try:
            yield
        finally:
            if self._stream is mine:
                self._stream = replace(mine, attended=False) if stays else None
                self._has_stream.clear()
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

    def leave(self) -> None:
        """Hear no more of the server."""
        if self._hub is not None:
            self._hub.remove(self._listener)
            self._hub = None

    async def end(self) -> None:
        """Cancel what is in flight and let go of the session's instance."""
        self.leave()
        self._ended = True
        if self._stream is not None:
            self._stream.stop()
        while self._at_end:
            self._at_end.pop()()
        for work in tuple(self._work.values()):
            work.cancel()
        await self.own.close()

    def _tell(self, notification: Notification) -> None:
        if self._stream is not None:
            self._stream.send(dump_notification(notification.method, notification.params))

    def _listen(self) -> None:
        """Hear, from now on, what concerns every client."""
        if self._hub is None:
            self._hub = hub = self.server.hub(self.client, self.own.borrowed)
            hub.add(self._listener)
            self.own.watch(hub.ready)

    def _settled(self, key: bytes) -> None:
        self._work.pop(key, None)
        self.touch()

    async def _serve(self, exchange: Exchange) -> Outcome | GatewayError:
        method = exchange.request.method
        try:
            if method == PING:
                return Result(EMPTY)
            if method == INITIALIZE:
                return await self.initialize()
            if method == SET_LEVEL and self.server.carries_logs(self.client):
                return await self._set_level(exchange.request)
            if method in (SUBSCRIBE, UNSUBSCRIBE) and self._hub is not None:
                return await self._subscribe(self._hub, exchange.request)
            if self.server.instance_per_session:
                return await self.server.serve_with(await self.own.lease(), exchange)
            return await self.server.serve(exchange)
        except GatewayError as exc:
            return exc

    async def _set_level(self, request: Request) -> Outcome:
        """Note which log messages the client wants, and tell an instance that is its own."""
        level = read_level(object_or_empty(request.params).get("level"))
        if level is None:
            return failure(codes.INVALID_PARAMS, "params.level is not one of the eight log levels")
        self.log_level = level
        if self.server.instance_per_session:
            return await self.own.set_level(level)
        return Result(EMPTY)

    async def _subscribe(self, hub: Hub, request: Request) -> Outcome:
        """Begin or stop to hear of one resource."""
        raw = object_or_empty(request.params).get("uri")
        uri = decode_text(raw) if raw is not None else None
        if uri is None:
            return failure(codes.INVALID_PARAMS, "params.uri must be a string")
        before = self._listener.wanted
        if request.method == UNSUBSCRIBE:
            self._want(before.uris - {uri})
            _ = await hub.settle(self._listener)
            return Result(EMPTY)
        if len(before.uris) >= MOST_URIS:
            return failure(codes.INVALID_PARAMS, f"a session subscribes to at most {MOST_URIS}")
        self._want(before.uris | {uri})
        applied = await hub.settle(self._listener)
        if uri in applied.honoured.uris:
            return Result(EMPTY)
        self._want(self._listener.wanted.uris - {uri})
        if (refusal := applied.refusals.get(uri)) is not None:
            return refusal
        return failure(
            codes.INVALID_PARAMS, f"the server does not tell of changes of {uri[:200]!r}"
        )

    def _want(self, uris: frozenset[str]) -> None:
        self._listener.wanted = Filter(EVERY_LIST.lists, uris)
        self._listener.holds = bool(uris)
