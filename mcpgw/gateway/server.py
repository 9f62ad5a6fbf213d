"""One configured server, running: its instances, what it said about itself, its sessions."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final

import structlog

from mcpgw import aio
from mcpgw.bridge.inbound import to_client
from mcpgw.bridge.introductions import carries_logs, discover_result, initialize_result
from mcpgw.bridge.mirroring import Mirrors
from mcpgw.bridge.outbound import check_method
from mcpgw.config.schema import Mode, ServerSpec
from mcpgw.gateway.calling import Caller, facts_of, is_per_session
from mcpgw.gateway.exchange import Exchange
from mcpgw.gateway.held import Suspended
from mcpgw.gateway.hub import Acquire, Hub
from mcpgw.gateway.turns import Turns
from mcpgw.gateway.visits import COMPLETE, visit_id, wanted_visits
from mcpgw.lifecycle.base import Lease, Owner
from mcpgw.lifecycle.capsets import PLAIN, Capset, capset_of
from mcpgw.lifecycle.link import ServerLink
from mcpgw.lifecycle.opening import ServerOpener
from mcpgw.lifecycle.pools import Pools, open_pools
from mcpgw.protocol.client import ClientFacts
from mcpgw.protocol.handshake import ServerFacts
from mcpgw.protocol.messages import Failure, Notification, Outcome, Result
from mcpgw.protocol.meta import open_params
from mcpgw.protocol.methods import ASKING, LIST_CHANGED
from mcpgw.protocol.revisions import Era
from mcpgw.protocol.subscriptions import UPDATED
from mcpgw.protocol.tasks import METHODS as TASK_METHODS
from mcpgw.protocol.tasks import STATUS, are_carried, is_invited, read_created
from mcpgw.runtimes.base import Runtime
from mcpgw.units import Seconds

log = structlog.get_logger(__name__)

_SUBSCRIPTIONS: Final = Owner("subscriptions")


class RunningServer:
    """Serves exchanges with whatever instance the lifecycle provides."""

    def __init__(
        self,
        spec: ServerSpec,
        opener: ServerOpener,
        pools: Pools,
        suspended: Suspended,
        tasks: aio.Tasks,
    ) -> None:
        self.spec = spec
        self.pools = pools
        self.caller = Caller(spec)
        self._opener = opener
        self._turns = Turns(spec, self.caller, self._lease_for, suspended, tasks)
        self._tasks = tasks
        self._hubs: dict[Capset, Hub] = {}
        self.on_crowded: Callable[[RunningServer], None] | None = None
        """Called when a request is about to wait, since sessions hold all the instances."""
        self._repaired = False
        self.mirrors = Mirrors()
        """Which arguments clients repeat in headers."""

    @property
    def name(self) -> str:
        """Its name in the configuration and in URLs."""
        return self.spec.name

    @property
    def instance_per_session(self) -> bool:
        """Whether a legacy session has an instance of its own."""
        return is_per_session(self.spec)

    @property
    def era(self) -> Era | None:
        """The era it is spoken to in; None while that is not known."""
        return self._opener.facts.era if self._opener.facts is not None else None

    def capset(self, client: ClientFacts) -> Capset:
        """What the instance that serves such a client is told that it can do."""
        if not self.spec.asks_as_legacy or self.era is Era.MODERN:
            return PLAIN
        return capset_of(client)

    def is_known_to(self, client: ClientFacts) -> bool:
        """Whether an instance that would serve such a client has introduced itself."""
        return self._opener.facts_for(self.capset(client)) is not None

    async def discover(self, client: ClientFacts, owner: Owner) -> Outcome:
        """The answer to a modern client's `server/discover`.

        Raises:
            GatewayError: The server is not known yet and could not be started.
        """
        facts = self._opener.facts or await self._facts(client, owner)
        alone = self.spec.mode is Mode.LAUNCHER or not self.capset(client).is_plain
        return Result(discover_result(facts, alone=alone))

    async def initialize(self, client: ClientFacts, owner: Owner) -> Outcome:
        """The answer to a legacy client's `initialize`; it never reaches an instance.

        Raises:
            GatewayError: The server is not known yet and could not be started.
        """
        facts = await self._facts(client, owner)
        alone = self._serves_alone(client)
        return Result(initialize_result(facts, client, self.name, alone=alone))

    def carries_logs(self, client: ClientFacts) -> bool:
        """Whether log messages reach such a legacy client, as far as is known."""
        facts = self._opener.facts
        return facts is not None and carries_logs(facts, alone=self._serves_alone(client))

    def _serves_alone(self, client: ClientFacts) -> bool:
        """Whether a legacy client's calls have an instance to themselves."""
        return self.instance_per_session or not self.capset(client).is_plain

    async def serve(self, exchange: Exchange) -> Outcome:
        """Have an instance answer.

        Raises:
            GatewayError: It could not be answered; nothing is left waiting.
        """
        facts = self._opener.facts
        check_method(exchange.request.method, exchange.client, facts)
        if exchange.request.method in TASK_METHODS[exchange.client.era]:
            return await self._turns.desk.serve(exchange)
        if exchange.client.era is Era.MODERN and exchange.request.method in ASKING:
            era = self.era or (await self._facts(exchange.client, exchange.owner)).era
            interactive = not self.capset(exchange.client).is_plain
            return await self._turns.serve(exchange, era, interactive=interactive)
        if facts is not None and _invites_task(exchange, facts):
            return await self._serve_as_task(exchange)
        async with self._lease_for(exchange, exchange.affinity) as lease:
            return await self.serve_with(lease, exchange)

    async def _serve_as_task(self, exchange: Exchange) -> Outcome:
        """Serve what may become a task of a legacy server's; then its instance is kept."""
        async with AsyncExitStack() as stack:
            lease = await stack.enter_async_context(self._lease_for(exchange, exchange.affinity))
            outcome = await self.serve_with(lease, exchange)
            if (created := read_created(outcome, Era.LEGACY)) is not None:
                self._turns.desk.keep(exchange, created, lease, stack.pop_all())
            return outcome

    def lease(
        self,
        owner: Owner,
        capset: Capset = PLAIN,
        *,
        affinity: str | None = None,
        guest: bool = False,
    ) -> AbstractAsyncContextManager[Lease[ServerLink]]:
        """An instance, for the length of the block; see `Lifecycle.lease`."""
        if self.on_crowded is not None and self._is_crowded():
            self.on_crowded(self)
        return self.pools.of(capset).lease(owner, affinity=affinity, guest=guest)

    async def serve_with(self, lease: Lease[ServerLink], exchange: Exchange) -> Outcome:
        """Have the instance of a lease answer. See `serve`."""
        method = exchange.request.method
        outcome = await self.caller.call(lease, exchange)
        if isinstance(outcome, Failure) and exchange.tell is not None:
            self._turns.visits.expect(map(visit_id, wanted_visits(outcome)), exchange.tell)
        answer = to_client(outcome, method, exchange.client, facts_of(lease.member))
        if method == "tools/list" and isinstance(answer, Result):
            return self._learn(answer, exchange.client)
        return answer

    def _lease_for(
        self, exchange: Exchange, affinity: str | None
    ) -> AbstractAsyncContextManager[Lease[ServerLink]]:
        """An instance for an exchange. What asks nobody anything may share one that does."""
        guest = exchange.request.method not in ASKING
        capset = self.capset(exchange.client)
        guest = guest and not capset.is_plain
        return self.lease(exchange.owner, capset, affinity=affinity, guest=guest)

    def _learn(self, listed: Result, client: ClientFacts) -> Result:
        value = self.mirrors.learn(listed.value)
        if value is not listed.value and not self._repaired:
            self._repaired = True
            log.warning(
                "tools.repaired",
                server=self.name,
                reason="an x-mcp-header annotation breaks the rules; clients see none",
            )
        return Result(value) if client.era is Era.MODERN else listed

    async def drain(self, within: Seconds) -> None:
        """Take no new work; let what is in flight finish, at most that long."""
        self._turns.drain()
        for hub in self._hubs.values():
            hub.drain()
        await self.pools.drain(within)

    def abandon(self) -> None:
        """Tell whoever still waits for an answer that none will come."""
        self._opener.abandon()

    def hub(self, client: ClientFacts, own: Acquire | None = None) -> Hub:
        """What tells such a client of changes.

        `own` gives the instance of a client that shares none with others. Where instances
        serve one request each, listening takes one as well.
        """
        capset = self.capset(client)
        if self.spec.mode is Mode.LAUNCHER:
            if own is not None and self.instance_per_session:
                return Hub(self.name, own, self._tasks, self.caller.patience)
            acquire = partial(self.lease, _SUBSCRIPTIONS, capset)
            return Hub(self.name, acquire, self._tasks, self.caller.patience, alone=True)
        hub = self._hubs.get(capset)
        if hub is None:
            acquire = partial(self.lease, _SUBSCRIPTIONS, capset, guest=True)
            hub = Hub(self.name, acquire, self._tasks, self.caller.patience)
            self._hubs[capset] = hub
        return hub

    def ready(self, link: ServerLink) -> None:
        """Learn of a new instance."""
        if self.spec.mode is Mode.DAEMON:
            for hub in self._hubs.values():
                hub.ready(link)

    def broadcast(self, notification: Notification) -> None:
        """Pass on what concerns every client alike; the rest names nobody and is dropped."""
        if notification.method == COMPLETE:
            self._turns.visits.hear(notification)
        elif notification.method == STATUS:
            self._turns.desk.hear(notification)
        elif notification.method in LIST_CHANGED or notification.method == UPDATED:
            for hub in self._hubs.values():
                hub.hear(notification)

    def _is_crowded(self) -> bool:
        """Whether sessions hold all the instances there may be."""
        return self.instance_per_session and self.pools.is_crowded

    async def _facts(self, client: ClientFacts, owner: Owner) -> ServerFacts:
        capset = self.capset(client)
        if (facts := self._opener.facts_for(capset)) is not None:
            return facts
        async with self.lease(owner, capset, guest=not capset.is_plain) as lease:
            return facts_of(lease.member)


def _invites_task(exchange: Exchange, facts: ServerFacts) -> bool:
    if exchange.client.era is not Era.LEGACY or not are_carried(exchange.client, facts):
        return False
    opened = open_params(exchange.request.params)
    return is_invited(exchange.request.method, opened, exchange.client, facts)


@asynccontextmanager
async def open_server(
    spec: ServerSpec, runtime: Runtime, suspended: Suspended
) -> AsyncIterator[RunningServer]:
    """Run one server for the length of the block; its instances start as they are needed."""
    opener = ServerOpener(spec, runtime)
    async with open_pools(spec, opener) as pools, aio.Tasks(f"calls:{spec.name}") as tasks:
        server = RunningServer(spec, opener, pools, suspended, tasks)
        opener.on_notification = server.broadcast
        opener.on_ready = server.ready
        yield server
