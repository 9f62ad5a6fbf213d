"""Requests of modern clients during which a server may ask: answered with questions, in turns.

A legacy server's call is held open meanwhile (`gateway.held`). A modern server keeps its
own state in `requestState`; the gateway adds which instance that came from, since
often only that one can read it.
Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic/patterns/mrtr
"""

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import TypeAlias

import msgspec
from msgspec import Raw

from mcpgw import aio
from mcpgw.bridge.inbound import to_client
from mcpgw.bridge.rounds import InputRequired, check_declared, read_input_required
from mcpgw.bridge.sealing import (
    BadState,
    HeldState,
    PassedState,
    ReplayState,
    State,
    binding,
)
from mcpgw.bridge.suspension import BadAnswer
from mcpgw.config.schema import Mode, ServerSpec
from mcpgw.gateway.calling import Caller, facts_of
from mcpgw.gateway.exchange import Exchange
from mcpgw.gateway.held import HeldCalls, Suspended
from mcpgw.gateway.parking import Parking
from mcpgw.gateway.tasks import TaskDesk
from mcpgw.gateway.visits import Visits, as_input_request, visit_id, wanted_visits
from mcpgw.lifecycle.base import Lease
from mcpgw.lifecycle.calls import Ear
from mcpgw.lifecycle.link import ServerLink
from mcpgw.protocol import codes
from mcpgw.protocol.handshake import ServerFacts
from mcpgw.protocol.messages import Failure, Outcome, Result, failure
from mcpgw.protocol.meta import Opened, open_params
from mcpgw.protocol.questions import ELICIT, undeclared
from mcpgw.protocol.rawjson import decode_text, encode, object_or_empty
from mcpgw.protocol.revisions import Era
from mcpgw.protocol.tasks import Created, is_invited, read_created
from mcpgw.units import Seconds

LeaseFor: TypeAlias = Callable[
    [Exchange, str | None], AbstractAsyncContextManager[Lease[ServerLink]]
]
"""An instance for an exchange, preferably the one of that label."""


class Turns:
    """Serves what may take several requests, for one server."""

    def __init__(
        self,
        spec: ServerSpec,
        caller: Caller,
        lease_for: LeaseFor,
        suspended: Suspended,
        tasks: aio.Tasks,
    ) -> None:
        self._spec = spec
        self._caller = caller
        self._lease_for = lease_for
        self._suspended = suspended
        self.visits = Visits()
        """The pages that users are asked to visit."""
        self.desk = TaskDesk(caller, suspended, tasks)
        """The tasks that calls became."""
        patience = spec.timeouts.input
        self._held = HeldCalls(self._perform, suspended, tasks, patience)
        self._parking = Parking(suspended, tasks, patience)

    async def serve(self, exchange: Exchange, era: Era, *, interactive: bool) -> Outcome:
        """Give the outcome, or what the server asks; `interactive`, if a legacy one may ask.

        Raises:
            GatewayError: It could not be answered.
        """
        opened = exchange.opened or open_params(exchange.request.params)
        try:
            state = self._opened_state(exchange, opened)
            if isinstance(state, HeldState):
                answers = object_or_empty(opened.params.get("inputResponses"))
                return await self._held.resume(exchange, state, answers)
        except (BadState, BadAnswer) as exc:
            return failure(codes.INVALID_PARAMS, str(exc))
        if isinstance(state, ReplayState):
            if (refused := _visited(state, opened)) is not None:
                return refused
            await self.visits.all_over(state.visits, self._spec.timeouts.call)
        if era is Era.LEGACY and interactive:
            return await self._held.begin(exchange, self._bound(exchange, opened))
        return await self._pass(exchange, opened, state)

    def drain(self) -> None:
        """Give up what waits for clients, who cannot come back any more."""
        self._held.drain()
        self._parking.drain()
        self.desk.drain()

    async def _perform(
        self, exchange: Exchange, ear: Ear, leased: Callable[[ServerLink], None]
    ) -> Outcome:
        """Make a call that is held open while its client asks its user."""
        async with self._lease_for(exchange, None) as lease:
            leased(lease.member)
            link, outbound, hears = await self._caller.prepare(lease, exchange)
            outbound = msgspec.structs.replace(outbound, token=Raw(b"0"))
            log = ear.log if hears.log is not None else None
            hearing = Ear(ear.progress, log, ear.question, ear.withdrawn)
            outcome = await link.call(outbound, self._caller.patience, hearing)
        return self._translated(exchange, facts_of(link), link, outcome)

    async def _pass(self, exchange: Exchange, opened: Opened, state: State | None) -> Outcome:
        """Make a call of which nothing is held but a modern server's state."""
        if state is None and self._spec.mode is Mode.DAEMON and not exchange.client.may_have_tasks:
            async with self._lease_for(exchange, None) as lease:  # so it is nearly always
                outcome = await self._caller.call(lease, exchange)
            return self._concluded(exchange, opened, lease.member, outcome)
        passed = state if isinstance(state, PassedState) else None
        async with AsyncExitStack() as stack:
            lease = await self._lease(stack, exchange, state)
            unsealed = msgspec.structs.replace(exchange, opened=_unsealed(opened, passed))
            outcome = await self._caller.call(lease, unsealed)
            created = self._created(exchange, opened, facts_of(lease.member), outcome)
            if created is not None:
                self.desk.keep(exchange, created, lease, stack.pop_all())
            return self._concluded(exchange, opened, lease.member, outcome, (lease, stack))

    def _concluded(
        self,
        exchange: Exchange,
        opened: Opened,
        link: ServerLink,
        outcome: Outcome,
        held: tuple[Lease[ServerLink], AsyncExitStack] | None = None,
    ) -> Outcome:
        """What to answer. A one-shot instance that asks is parked, with what is `held` of it."""
        facts = facts_of(link)
        required = None
        if facts.era is Era.MODERN:
            required = read_input_required(outcome, exchange.request.method)
        if required is None:
            return self._translated(exchange, facts, link, outcome)
        check_declared(required, exchange.client)
        parked = None
        if held is not None and self._spec.mode is Mode.LAUNCHER:
            lease, stack = held
            parked = self._parking.park(lease, stack.pop_all())
        return self._sealed(exchange, opened, required, link.label, parked)

    def _created(
        self, exchange: Exchange, opened: Opened, facts: ServerFacts, outcome: Outcome
    ) -> Created | None:
        method = exchange.request.method
        if not is_invited(method, opened, exchange.client, facts):
            return None
        return read_created(outcome, facts.era)

    async def _lease(
        self, stack: AsyncExitStack, exchange: Exchange, state: State | None
    ) -> Lease[ServerLink]:
        """The instance that a state is from, if it is there; else any, which may refuse it."""
        parked = state.parked if isinstance(state, PassedState) else None
        if parked is not None and (found := self._parking.take(parked)) is not None:
            lease, held = found
            await stack.enter_async_context(held)
            return lease
        label = state.instance if isinstance(state, PassedState | ReplayState) else None
        return await stack.enter_async_context(self._lease_for(exchange, label))

    def _opened_state(self, exchange: Exchange, opened: Opened) -> State | None:
        raw = opened.params.get("requestState")
        if raw is None:
            return None
        bound = self._bound(exchange, opened)
        return self._suspended.sealer.open(decode_text(raw), bound, Seconds(time.time()))

    def _bound(self, exchange: Exchange, opened: Opened) -> bytes:
        method = exchange.request.method
        return binding(exchange.owner, self._spec.name, method, opened.params)

    def _until(self) -> float:
        return time.time() + self._spec.timeouts.input

    def _sealed(
        self,
        exchange: Exchange,
        opened: Opened,
        required: InputRequired,
        instance: str,
        parked: str | None,
    ) -> Outcome:
        """A modern server's questions, with a state that finds its instance again."""
        own = decode_text(required.state) if required.state is not None else None
        state = PassedState(self._until(), instance, parked, own)
        sealed = self._suspended.sealer.seal(state, self._bound(exchange, opened))
        return Result(encode({**required.fields, "requestState": sealed}))

    def _translated(
        self, exchange: Exchange, facts: ServerFacts, link: ServerLink, outcome: Outcome
    ) -> Outcome:
        if isinstance(outcome, Failure) and facts.era is Era.LEGACY:
            asked = wanted_visits(outcome)
            if asked and self._spec.asks:
                return self._ask_for_visits(exchange, link.label, asked)
        return to_client(outcome, exchange.request.method, exchange.client, facts)

    def _ask_for_visits(
        self, exchange: Exchange, instance: str, asked: list[dict[str, Raw]]
    ) -> Outcome:
        """A legacy server's demand for visits, as questions; the answer calls it again."""
        url = {"mode": encode("url")}
        lacking = undeclared(ELICIT, encode(url), exchange.client.capabilities)
        if lacking is not None:
            data = {"requiredCapabilities": lacking}
            return failure(codes.MISSING_CAPABILITY, "the user has to visit a page first", data)
        ids = tuple(id for one in asked if (id := visit_id(one)) is not None)
        self.visits.expect(ids, None)
        opened = exchange.opened or open_params(exchange.request.params)
        state = ReplayState(self._until(), instance, ids)
        sealed = self._suspended.sealer.seal(state, self._bound(exchange, opened))
        requests = {f"q{n}": as_input_request(one) for n, one in enumerate(asked, 1)}
        result = {"resultType": "input_required", "inputRequests": requests}
        return Result(encode({**result, "requestState": sealed}))


def _unsealed(opened: Opened, state: PassedState | None) -> Opened:
    """The parameters with the server's own state, or none if it gave none (MUST)."""
    if "requestState" not in opened.params:
        return opened
    params = {key: raw for key, raw in opened.params.items() if key != "requestState"}
    if state is None:
        params.pop("inputResponses", None)
    elif state.state is not None:
        params["requestState"] = encode(state.state)
    return Opened(params, opened.meta)


def _visited(state: ReplayState, opened: Opened) -> Outcome | None:
    """What to answer a client whose user did not agree to every visit; None if all is well."""
    answers = object_or_empty(opened.params.get("inputResponses"))
    for raw in answers.values():
        action = decode_text(object_or_empty(raw).get("action", Raw(b"0")))
        if action != "accept":
            text = "the server works only after a visit to a page, which the user did not agree to"
            return failure(codes.INTERNAL_ERROR, text)
    return None
