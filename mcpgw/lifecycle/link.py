"""A live conversation with one instance: `ServerConnection` plus the pipe that moves its bytes.

Nothing here is a task: what the server writes arrives by callback, and whoever
called is woken directly.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from math import inf
from typing import Final

import structlog

from mcpgw.config.schema import ServerSpec
from mcpgw.errors import DeadlineExceeded, InstanceExited, LineTooLong, ServerFailed, ShuttingDown
from mcpgw.lifecycle.calls import DEAF, MOST_QUESTIONS, Call, Ear, OnNotification, Patience, only
from mcpgw.protocol import codes
from mcpgw.protocol.connection import (
    Answered,
    Asked,
    Event,
    Late,
    Noise,
    Notified,
    Outbound,
    Progressed,
    Published,
    ServerConnection,
    WireId,
    Withdrawn,
)
from mcpgw.protocol.framing import LineOverflow
from mcpgw.protocol.handshake import ServerFacts
from mcpgw.protocol.logging import MESSAGE
from mcpgw.protocol.messages import (
    EMPTY,
    Notification,
    Outcome,
    Request,
    Result,
    failure,
    id_key,
)
from mcpgw.protocol.methods import INITIALIZE, LISTEN, PING
from mcpgw.protocol.revisions import Era
from mcpgw.runtimes.base import Exit, Instance, Runtime

log = structlog.get_logger(__name__)

_NOISE_SHOWN: Final = 200
"""How many bytes of a line that is no message are logged: enough to recognise a banner."""


class ServerLink:
    """Lets any number of callers talk to one instance at once; an instance's `Receiver`."""

    def __init__(self, spec: ServerSpec) -> None:
        self._server = spec.name
        self._max_line = spec.limits.line
        self._connection = ServerConnection(
            max_line=spec.limits.line, token_prefix=secrets.token_hex(8)
        )
        self._loop = asyncio.get_running_loop()
        self._calls: dict[WireId, Call] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf
        self._instance: Instance | None = None
        self._overflow = False
        self._outgoing: list[bytes] = []
        self._turn: asyncio.Handle | None = None
        self._newest = WireId(0)
        self._astray: WireId | None = None
        """The last request before one that wanted logs was given up; None once that is past."""
        self.may_ask = False
        """Whether it was told of capabilities that invite questions; it serves one call then."""
        self.log_level: str | None = None
        """Which log messages a legacy instance was last told to send."""
        self.unfit = False
        """Whether what it says could be taken for somebody else's, so that nobody should get it."""
        self.lost = asyncio.Event()
        """Set once the instance will never answer again."""
        self.exit: Exit | None = None
        """Why, once `lost` is set."""
        self.facts: ServerFacts | None = None
        """What the server said in its handshake; set by whoever made the link ready."""
        self.on_notification: OnNotification | None = None
        """Who hears notifications that name no request."""
        self.on_question: Callable[[Request], None] | None = None
        """Who hears questions that name no request, if everything is for one client."""
        self.on_withdrawn: Callable[[bytes], None] | None = None
        """Who hears that such a question needs no answer any more."""

    @property
    def label(self) -> str:
        """The instance's label."""
        return self._instance.label if self._instance is not None else self._server

    @property
    def in_flight(self) -> int:
        """How many requests await an answer."""
        return len(self._calls)

    async def call(self, outbound: Outbound, patience: Patience, ear: Ear = DEAF) -> Outcome:
        """Send a request and wait for its answer.

        If the caller is cancelled or out of time, the server is told to stop. `ear` hears
        what can only be meant for this request.

        Raises:
            InstanceExited: The instance went away first.
            LineTooLong: It was killed for a line beyond the limit.
            DeadlineExceeded: No answer in time.
        """
        instance = self._alive()
        wire_id, data = self._connection.send_request(outbound)
        now = self._loop.time()
        answer: asyncio.Future[Outcome] = self._loop.create_future()
        call = Call(wire_id, answer, outbound.method, patience, ear, now, now)
        self._calls[wire_id] = call
        self._newest = wire_id
        self._wake_by(call.due)
        try:
            await self._send(instance, data, call)
            return await call.answer
        finally:
            del self._calls[wire_id]
            self._withdraw(wire_id, call)

    def respond(self, request: Request, outcome: Outcome) -> None:
        """Answer a question of the server's; silently dropped if the instance is gone."""
        self._closed(id_key(request.id))
        self._tell(self._connection.send_response(request, outcome))

    def abandon(self) -> None:
        """Fail every call under way, since the gateway stops; the server is told to stop each."""
        for call in self._calls.values():
            if not call.answer.done():
                text = f"the gateway stopped while {self._server!r} worked on {call.method}"
                call.answer.set_exception(ShuttingDown(text))

    def notify(self, method: str) -> None:
        """Send a notification without parameters; silently dropped if the instance is gone."""
        self._tell(self._connection.send_notification(method))

    def data_received(self, data: bytes) -> None:
        """See `Receiver.data_received`."""
        if self._overflow:
            return
        try:
            events = self._connection.receive_data(data)
        except LineOverflow:
            self._refuse_line()
            return
        for event in events:
            self._dispatch(event)

    def instance_lost(self, exit: Exit) -> None:
        """See `Receiver.instance_lost`."""
        if not self.lost.is_set():
            self._lose(exit)
        if self._timer is not None:
            self._timer.cancel()

    async def _send(self, instance: Instance, data: bytes, call: Call) -> None:
        """Write when the pipe has room; the call's own deadline bounds the wait."""
        if instance.congested:
            await self._wait_for_room(instance, call)
        self._queue(data)
        call.sent = True

    async def _wait_for_room(self, instance: Instance, call: Call) -> None:
        try:
            async with asyncio.timeout(call.patience.quiet):
                await instance.drain()
        except TimeoutError:
            waited = f"{call.patience.quiet:.3g} s"
            raise DeadlineExceeded(
                f"{self._server!r} did not read {call.method} within {waited}"
            ) from None

    def _withdraw(self, wire_id: WireId, call: Call) -> None:
        """Forget a call that ended; unless the server answered it, tell the server to stop."""
        cancel = self._connection.send_cancel(wire_id, "the client gave up")
        if cancel and call.sent:
            if call.ear.log is not None:
                self._astray = self._newest
            self.unfit = self.unfit or call.ear.question is not None
        if not call.sent:
            if call.answer.done() and not call.answer.cancelled():
                call.answer.exception()  # nobody came to read it
        elif cancel and call.method != INITIALIZE:  # which MUST NOT be cancelled
            self._tell(cancel)

    def _wake_by(self, when: float) -> None:
        """See that deadlines are looked at by then: one timer serves all calls of the link."""
        if when < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = when
            self._timer = self._loop.call_at(when, self._check_deadlines)

    def _check_deadlines(self) -> None:
        now = max(self._timer_at, self._loop.time())  # a coarse clock may fire a little early
        self._timer, self._timer_at = None, inf
        for call in self._calls.values():
            if call.answer.done():
                continue
            if call.due > now:
                self._wake_by(call.due)
                continue
            waited = f"{now - call.started:.3g} s"
            call.answer.set_exception(
                DeadlineExceeded(f"{self._server!r} did not answer {call.method} within {waited}")
            )

    def _dispatch(self, event: Event) -> None:
        if isinstance(event, Answered):
            self._answered(event)
        elif isinstance(event, Progressed):
            call = self._calls[event.wire_id]
            call.heard = self._loop.time()
            if call.ear.progress is not None and not call.answer.done():
                call.ear.progress(event.params)
        elif isinstance(event, Published):
            call = self._calls[event.wire_id]
            if call.ear.published is not None and not call.answer.done():
                call.ear.published(event.notification)
        elif isinstance(event, Notified):
            self._hear(event.notification)
        elif isinstance(event, Asked):
            self._asked(event.request)
        elif isinstance(event, Withdrawn):
            self._withdrawn(event.id)
        else:
            self._report(event)

    def _answered(self, event: Answered) -> None:
        if self._astray is not None and event.wire_id > self._astray:
            self._astray = None
        if not (answer := self._calls[event.wire_id].answer).done():  # it may be leaving
            answer.set_result(event.outcome)

    def _hear(self, notification: Notification) -> None:
        if notification.method == MESSAGE and self._log_to_call(notification):
            return
        if self.on_notification is not None:
            self.on_notification(notification)

    def _log_to_call(self, notification: Notification) -> bool:
        """Give a log message, which names no request, to the only request it can be from.

        It can be from any that asked for messages, and from one that was given up too, until
        the server has read that: once it answers a request that was sent afterwards.
        """
        modern = self.facts is not None and self.facts.era is Era.MODERN
        calls = self._calls.values()  # of a legacy server's it can be from any
        call = only(call for call in calls if call.ear.log is not None or not modern)
        if call is None or call.ear.log is None or self._astray is not None or call.answer.done():
            return False
        if notification.params is not None:
            call.ear.log(notification.params)
        return True

    def _asked(self, request: Request) -> None:
        """Pass a question on to whom it can only be for; refuse it if that could be several.

        A modern server may not ask, and MUST NOT be answered.
        """
        if self.facts is not None and self.facts.era is Era.MODERN:
            log.warning("instance.asked", instance=self.label, method=request.method, refused=True)
        elif request.method == PING:
            self._tell(self._connection.send_response(request, Result(EMPTY)))
        elif not self._passed_on(request):
            log.info("instance.asked", instance=self.label, method=request.method, refused=True)
            text = f"nobody can be asked {request.method}: it belongs to no request of a client's"
            error = failure(codes.METHOD_NOT_FOUND, text)
            self._tell(self._connection.send_response(request, error))

    def _passed_on(self, request: Request) -> bool:
        """Whether somebody takes a question. One given up may still ask: then it's nobody's."""
        asking = (call for call in self._calls.values() if call.ear.question is not None)
        call = only(asking) if not self.unfit or self.on_question is not None else None
        if call is not None and len(call.questions) >= MOST_QUESTIONS:
            return False
        if call is not None and call.ear.question is not None and not call.answer.done():
            call.questions.add(id_key(request.id))
            call.ear.question(request)
        elif self.on_question is not None:
            self.on_question(request)
        else:
            return False
        return True

    def _withdrawn(self, id: bytes) -> None:
        call = self._closed(id)
        if call is not None and call.ear.withdrawn is not None:
            call.ear.withdrawn(id)
        elif call is None and self.on_withdrawn is not None:
            self.on_withdrawn(id)
        for other in self._calls.values():  # a modern server may end a subscription so
            ends = other.method == LISTEN and b"%d" % other.wire_id == id
            if ends and not other.answer.done():
                other.answer.set_result(Result(EMPTY))

    def _closed(self, id: bytes) -> Call | None:
        """Note that a question is open no more; give the call that it was part of."""
        for call in self._calls.values():
            if id in call.questions:
                call.questions.discard(id)
                call.heard = self._loop.time()
                self._wake_by(call.due)
                return call
        return None

    def _report(self, event: Late | Noise) -> None:
        if isinstance(event, Late):
            log.debug("instance.late", server=self._server, instance=self.label)
            return
        shown = event.line[:_NOISE_SHOWN].decode(errors="replace")
        log.warning(
            "instance.noise",
            server=self._server,
            instance=self.label,
            reason=event.reason,
            line=shown,
        )

    def _refuse_line(self) -> None:
        self._overflow = True
        log.error(
            "instance.killed",
            server=self._server,
            instance=self.label,
            reason=f"it wrote a line longer than {self._max_line} bytes",
        )
        self._lose(Exit(f"wrote a line longer than {self._max_line} bytes"))
        if self._instance is not None:
            self._instance.kill()

    def _lose(self, exit: Exit) -> None:
        """Let nobody use the instance any more."""
        self.exit = exit
        self.lost.set()
        self._fail_calls()

    def _fail_calls(self) -> None:
        for call in self._calls.values():
            if not call.answer.done():
                call.answer.set_exception(self._gone())

    def _alive(self) -> Instance:
        if self._instance is None or self._overflow or self.lost.is_set():
            raise self._gone()
        return self._instance

    def _gone(self) -> ServerFailed:
        if self._overflow:
            return LineTooLong(
                f"{self._server!r} wrote a message longer than {self._max_line} bytes "
                "(limits.line) and was stopped"
            )
        reason = self.exit.reason if self.exit is not None else "is not running"
        stderr = self.exit.stderr if self.exit is not None else ()
        return InstanceExited(f"{self._server!r} {reason} before answering", stderr=stderr)

    def _tell(self, data: bytes) -> None:
        """Write as a courtesy: not worth an exception."""
        with suppress(ServerFailed):
            self._alive()
            self._queue(data)

    def _queue(self, data: bytes) -> None:
        """Write the first message of a turn of the loop at once, and the others at its end.

        So the first is not delayed, and many cost two system calls and wake the server twice.
        """
        if self._turn is not None:
            self._outgoing.append(data)
            return
        self._turn = self._loop.call_soon(self._flush)
        self._write(data)

    def _flush(self) -> None:
        self._turn = None
        if self._outgoing:
            data = b"".join(self._outgoing)
            self._outgoing.clear()
            self._write(data)

    def _write(self, data: bytes) -> None:
        if self._instance is not None:
            with suppress(ServerFailed):  # its receiver hears of the end, and fails the calls
                self._instance.write(data)


@asynccontextmanager
async def open_link(spec: ServerSpec, runtime: Runtime) -> AsyncIterator[ServerLink]:
    """Start an instance and talk to it for the length of the block.

    Raises:
        StartFailed: On entry, when nothing is left running.
    """
    link = ServerLink(spec)
    async with runtime.start(spec, link) as instance:
        link._instance = instance
        try:
            yield link
        finally:
            link._flush()  # a cancellation of this very turn, perhaps
