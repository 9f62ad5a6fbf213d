"""Calls of legacy servers that are kept open while a modern client asks its user."""

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

import structlog
from msgspec import Raw

from mcpgw import aio
from mcpgw.bridge.sealing import BadState, HeldState, Sealer
from mcpgw.bridge.suspension import Ask, End, Suspension
from mcpgw.errors import GatewayError, TooManySuspended
from mcpgw.gateway.exchange import Exchange
from mcpgw.lifecycle.calls import Ear
from mcpgw.lifecycle.link import ServerLink
from mcpgw.protocol import codes
from mcpgw.protocol.logging import MESSAGE, is_wanted
from mcpgw.protocol.messages import Outcome, Request, Result, dump_notification, failure
from mcpgw.protocol.meta import PROGRESS_TOKEN, open_params
from mcpgw.protocol.methods import PROGRESS
from mcpgw.protocol.questions import SAMPLE, as_input, refusal, single_content, unanswered
from mcpgw.protocol.rawjson import encode, object_or_empty
from mcpgw.units import Seconds

log = structlog.get_logger(__name__)

_GATHERING: Final = 0.02
"""How many seconds a question waits for others that are asked along with it."""


@dataclass
class Suspended:
    """What waits for clients to come back, in the whole gateway."""

    limit: int
    sealer: Sealer = field(default_factory=Sealer)
    count: int = 0
    draining: bool = False
    """Set when nobody can come back any more."""

    def take(self) -> None:
        """Count one more in.

        Raises:
            TooManySuspended: As many wait as may.
        """
        if self.count >= self.limit:
            raise TooManySuspended(f"{self.limit} calls wait for answers, which is the limit")
        self.count += 1

    def give(self) -> None:
        """Count one out again."""
        self.count -= 1


class Perform(Protocol):
    """Makes a call on an instance leased for it, of which `leased` hears first."""

    async def __call__(
        self, exchange: Exchange, ear: Ear, leased: Callable[[ServerLink], None]
    ) -> Outcome:
        """Give the server's answer, or raise `GatewayError`."""


class HeldCall:
    """One call, from its first request until it is over. A task of its own makes it."""

    def __init__(
        self,
        exchange: Exchange,
        bound_to: bytes,
        suspended: Suspended,
        patience: Seconds,
        over: Callable[["HeldCall"], None],
    ) -> None:
        self.id = secrets.token_urlsafe(16)
        self.bound_to = bound_to
        """The request that its states are valid for; see `bridge.sealing.binding`."""
        self.task: asyncio.Task[None] | None = None
        self._suspended = suspended
        self._patience = patience
        self._over = over
        self._loop = asyncio.get_running_loop()
        self._course = Suspension()
        self._link: ServerLink | None = None
        self._capabilities = exchange.client.capabilities
        self._exchange: Exchange | None = None
        """The request of the client's that waits; None while none does."""
        self._waiter: asyncio.Future[Ask | End] | None = None
        self._expiry: asyncio.TimerHandle | None = None

    @property
    def is_suspended(self) -> bool:
        """Whether it waits for its client to come back."""
        return self._expiry is not None

    async def perform(self, exchange: Exchange, perform: Perform) -> None:
        """Make the call; how it ends is told to the request that waits for it, or the next."""
        ear = Ear(self._progress, self._log, self._asked, self._withdrawn)
        outcome: Outcome | GatewayError = failure(codes.INTERNAL_ERROR, "the gateway failed")
        try:
            outcome = await perform(exchange, ear, self._leased)
        except GatewayError as exc:
            outcome = exc
        finally:  # even a bug must not leave a request waiting
            self._course.ended(outcome)
            self._look()

    async def turn(self, exchange: Exchange) -> Outcome:
        """Wait for what one request of the client's is answered with.

        Raises:
            GatewayError: The call failed.
            TooManySuspended: It would have to wait, and too many do.
        """
        self._exchange, self._capabilities = exchange, exchange.client.capabilities
        self._waiter = self._loop.create_future()
        if self._link is not None:
            exchange.reply.served_by(self._link.label, Seconds(0))
        self._gather()
        try:
            turn = await self._waiter
        except asyncio.CancelledError:  # its connection was closed, which cancels it (MUST)
            self.give_up("its client went away")
            raise
        finally:
            self._exchange = self._waiter = None
        if isinstance(turn, Ask):
            return self._suspend(turn)
        self._over(self)
        if isinstance(turn.outcome, GatewayError):
            raise turn.outcome
        return turn.outcome

    async def resume(self, exchange: Exchange, turn: int, answers: Mapping[str, Raw]) -> Outcome:
        """Pass answers on, and wait for what comes next.

        Raises:
            BadState: It is another turn's state.
            BadAnswer: An answer has the wrong shape; nothing is lost.
            GatewayError: See `turn`.
        """
        for request, value in self._course.resume(turn, answers):
            self._answer(request, Result(self._for_server(request, value)))
        self._wake()
        return await self.turn(exchange)

    def give_up(self, why: str) -> None:
        """End the call: what the server still asks is answered for the user, and it is told."""
        self._wake()
        for request in self._course.close():
            self._answer(request, unanswered(request.method, why))
        if self.task is not None and self.task.cancel():
            log.info("call.given_up", instance=self._label, reason=why)
        self._over(self)

    def _suspend(self, turn: Ask) -> Outcome:
        try:
            self._suspended.take()
        except TooManySuspended:
            self.give_up("too many calls wait for their users")
            raise
        late = "its user did not answer in time"
        self._expiry = self._loop.call_later(self._patience, self.give_up, late)
        state = HeldState(time.time() + self._patience, self.id, turn.turn)
        asked = {
            key: {"method": request.method, "params": as_input(request.params)}
            for key, request in turn.questions.items()
        }
        return Result(
            encode(
                {
                    "resultType": "input_required",
                    "inputRequests": asked,
                    "requestState": self._suspended.sealer.seal(state, self.bound_to),
                }
            )
        )

    def _wake(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
            self._suspended.give()

    def _leased(self, link: ServerLink) -> None:
        self._link = link

    def _progress(self, params: Raw) -> None:
        """Give progress the token of the request that waits now; there may be none."""
        if self._exchange is None:
            return
        request = self._exchange.request
        token = (self._exchange.opened or open_params(request.params)).meta.get(PROGRESS_TOKEN)
        if token is not None:
            told = encode({**object_or_empty(params), PROGRESS_TOKEN: token})
            self._exchange.reply.send(dump_notification(PROGRESS, told))

    def _log(self, params: Raw) -> None:
        exchange = self._exchange
        if exchange is not None and is_wanted(params, exchange.log_level):
            exchange.reply.send(dump_notification(MESSAGE, params))

    def _asked(self, request: Request) -> None:
        refused: Outcome | None = refusal(request.method, request.params, self._capabilities)
        if refused is None and self._suspended.draining:
            refused = unanswered(request.method, "the gateway is stopping")
        if refused is not None:
            log.info("question.refused", instance=self._label, method=request.method)
            self._answer(request, refused)
            return
        self._course.asked(request)
        self._gather()

    def _withdrawn(self, id: bytes) -> None:
        self._course.withdrawn(id)

    def _answer(self, request: Request, outcome: Outcome) -> None:
        if self._link is not None:
            self._link.respond(request, outcome)

    def _for_server(self, request: Request, value: Raw) -> Raw:
        facts = self._link.facts if self._link is not None else None
        one_block = facts is not None and not facts.revision.samples_many
        return single_content(value) if one_block and request.method == SAMPLE else value

    @property
    def _label(self) -> str | None:
        return self._link.label if self._link is not None else None

    def _gather(self) -> None:
        """Let the waiting request be answered as soon as nothing more is likely to be asked."""
        self._loop.call_later(_GATHERING, self._look)

    def _look(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            turn = self._course.next()
            if turn is not None:
                self._waiter.set_result(turn)


class HeldCalls:
    """The held calls of one server. `tasks` owns what makes them."""

    def __init__(
        self, perform: Perform, suspended: Suspended, tasks: aio.Tasks, patience: Seconds
    ) -> None:
        self._perform = perform
        self._suspended = suspended
        self._tasks = tasks
        self._patience = patience
        self._calls: dict[str, HeldCall] = {}

    async def begin(self, exchange: Exchange, bound_to: bytes) -> Outcome:
        """Make a call; give its outcome, or its first questions.

        Raises:
            GatewayError: See `HeldCall.turn`.
        """
        held = HeldCall(exchange, bound_to, self._suspended, self._patience, self._over)
        self._calls[held.id] = held
        held.task = self._tasks.start(held.perform(exchange, self._perform), name=held.id)
        return await held.turn(exchange)

    async def resume(
        self, exchange: Exchange, state: HeldState, answers: Mapping[str, Raw]
    ) -> Outcome:
        """Go on with a call; give its outcome, or its next questions.

        Raises:
            BadState: The call is over, or that turn of it is.
            BadAnswer: An answer has the wrong shape; nothing is lost.
            GatewayError: See `HeldCall.turn`.
        """
        held = self._calls.get(state.call)
        if held is None:
            raise BadState("the call that requestState belongs to is over; make the request anew")
        return await held.resume(exchange, state.turn, answers)

    def drain(self) -> None:
        """Give up what waits for its client, who cannot come back any more."""
        self._suspended.draining = True
        for held in tuple(self._calls.values()):
            if held.is_suspended:
                held.give_up("the gateway is stopping")

    def _over(self, held: HeldCall) -> None:
        self._calls.pop(held.id, None)
