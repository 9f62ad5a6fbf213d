"""One configured server, running: its instances, what it said about itself, its sessions."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from msgspec import Raw

from mcpgw.bridge.inbound import to_client
from mcpgw.bridge.introductions import carries_logs, discover_result, initialize_result
from mcpgw.bridge.mirroring import Mirrors
from mcpgw.bridge.outbound import check_method, to_server
from mcpgw.config.schema import Mode, Per, ServerSpec
from mcpgw.errors import StartFailed
from mcpgw.gateway.exchange import Exchange
from mcpgw.lifecycle.base import Lease, Owner
from mcpgw.lifecycle.link import OnLog, Patience, ServerLink
from mcpgw.lifecycle.modes import limits_for
from mcpgw.lifecycle.opening import ServerOpener
from mcpgw.lifecycle.pool import Pool, open_pool
from mcpgw.lifecycle.states import SlotState
from mcpgw.protocol.client import ClientFacts
from mcpgw.protocol.connection import Outbound
from mcpgw.protocol.handshake import ServerFacts
from mcpgw.protocol.logging import SET_LEVEL, is_wanted
from mcpgw.protocol.messages import Notification, Outcome, Result
from mcpgw.protocol.methods import LIST_CHANGED
from mcpgw.protocol.rawjson import encode
from mcpgw.protocol.revisions import Era
from mcpgw.runtimes.base import Runtime

Listener = Callable[[Notification], None]


class RunningServer:
    """Serves exchanges with whatever instance the lifecycle provides."""

    def __init__(self, spec: ServerSpec, opener: ServerOpener, pool: Pool[ServerLink]) -> None:
        self.spec = spec
        self.pool = pool
        self._opener = opener
        self._patience = Patience(spec.timeouts.call, spec.timeouts.call_max)
        self._listeners: set[Listener] = set()
        self.on_crowded: Callable[[RunningServer], None] | None = None
        """Called when a request is about to wait, since sessions hold all the instances."""
        self.mirrors = Mirrors()
        """Which arguments clients repeat in headers."""

    @property
    def name(self) -> str:
        """Its name in the configuration and in URLs."""
        return self.spec.name

    @property
    def instance_per_session(self) -> bool:
        """Whether a legacy session has an instance of its own."""
        return self.spec.mode is Mode.LAUNCHER and self.spec.launcher.per is Per.SESSION

    @property
    def is_known(self) -> bool:
        """Whether an instance has introduced itself since the start."""
        return self._opener.facts is not None

    async def discover(self, owner: Owner) -> Outcome:
        """The answer to a modern client's `server/discover`.

        Raises:
            GatewayError: The server is not known yet and could not be started.
        """
        alone = self.spec.mode is Mode.LAUNCHER
        return Result(discover_result(await self._facts(owner), alone=alone))

    async def initialize(self, client: ClientFacts, owner: Owner) -> Outcome:
        """The answer to a legacy client's `initialize`; it never reaches an instance.

        Raises:
            GatewayError: The server is not known yet and could not be started.
        """
        facts = await self._facts(owner)
        alone = self.instance_per_session
        return Result(initialize_result(facts, client, self.name, alone=alone))

    @property
    def carries_logs(self) -> bool:
        """Whether log messages reach the sessions that ask for them, as far as is known."""
        facts = self._opener.facts
        return facts is not None and carries_logs(facts, alone=self.instance_per_session)

    async def serve(self, exchange: Exchange) -> Outcome:
        """Have an instance answer.

        Raises:
            GatewayError: It could not be answered; nothing is left waiting.
        """
        check_method(exchange.request.method, exchange.client, self._opener.facts)
        async with self.lease(exchange.owner, affinity=exchange.affinity) as lease:
            return await self.serve_with(lease, exchange)

    def lease(
        self, owner: Owner, *, affinity: str | None = None
    ) -> AbstractAsyncContextManager[Lease[ServerLink]]:
        """An instance, for the length of the block; see `Lifecycle.lease`."""
        if self.on_crowded is not None and self._is_crowded():
            self.on_crowded(self)
        return self.pool.lease(owner, affinity=affinity)

    async def serve_with(self, lease: Lease[ServerLink], exchange: Exchange) -> Outcome:
        """Have the instance of a lease answer. See `serve`."""
        link = lease.member
        facts = _facts_of(link)
        level = exchange.log_level
        outbound = to_server(exchange.request, exchange.client, facts, exchange.opened, level)
        exchange.reply.served_by(link.label, lease.queued)
        on_progress = exchange.reply.progress if outbound.token is not None else None
        on_log = await self._prepare_logs(link, facts, exchange) if level is not None else None
        outcome = await link.call(outbound, self._patience, on_progress, on_log)
        answer = to_client(outcome, exchange.request.method, exchange.client, facts)
        if exchange.request.method == "tools/list" and isinstance(answer, Result):
            return self._learn(answer, exchange.client)
        return answer

    async def set_level(self, link: ServerLink, level: str) -> Outcome:
        """Tell a legacy instance that serves one client only which log messages are wanted.

        Raises:
            GatewayError: It did not answer.
        """
        params = {"level": encode(level)}
        return await link.call(Outbound(SET_LEVEL, params, {}), self._patience)

    async def _prepare_logs(
        self, link: ServerLink, facts: ServerFacts, exchange: Exchange
    ) -> OnLog | None:
        """Who hears the log messages of an exchange whose client asked for some.

        None where they could be anybody's: those of a shared legacy instance.
        """
        level = exchange.log_level
        modern_client = exchange.client.era is Era.MODERN
        alone = self.spec.mode is Mode.LAUNCHER if modern_client else self.instance_per_session
        if level is None or not carries_logs(facts, alone=alone):
            return None
        if facts.era is Era.LEGACY and modern_client:
            await self.set_level(link, level)

        def on_log(params: Raw) -> None:
            if is_wanted(params, level):
                exchange.reply.log(params)

        return on_log

    def _learn(self, listed: Result, client: ClientFacts) -> Result:
        value = self.mirrors.learn(listed.value)
        return Result(value) if client.era is Era.MODERN else listed

    def abandon(self) -> None:
        """Tell whoever still waits for an answer that none will come."""
        self._opener.abandon()

    def listen(self, listener: Listener) -> None:
        """Tell `listener` of notifications that concern every client."""
        self._listeners.add(listener)

    def unlisten(self, listener: Listener) -> None:
        """Stop telling it."""
        self._listeners.discard(listener)

    def broadcast(self, notification: Notification) -> None:
        """Pass on what concerns every client alike; the rest names nobody and is dropped."""
        if notification.method in LIST_CHANGED:
            for listener in tuple(self._listeners):
                listener(notification)

    def _is_crowded(self) -> bool:
        """Whether sessions hold all the instances there may be."""
        if not self.instance_per_session:
            return False
        now = self.pool.snapshot()
        coming = sum(slot.state is not SlotState.DRAINING for slot in now.slots)
        return len(now.slots) >= self.spec.launcher.max and coming <= now.waiting

    async def _facts(self, owner: Owner) -> ServerFacts:
        if (facts := self._opener.facts) is not None:
            return facts
        async with self.lease(owner) as lease:
            return _facts_of(lease.member)


def _facts_of(link: ServerLink) -> ServerFacts:
    if link.facts is None:
        raise StartFailed(f"{link.label} was used before its handshake")
    return link.facts


@asynccontextmanager
async def open_server(spec: ServerSpec, runtime: Runtime) -> AsyncIterator[RunningServer]:
    """Run one server for the length of the block; its instances start as they are needed."""
    opener = ServerOpener(spec, runtime)
    async with open_pool(spec.name, limits_for(spec), opener.open) as pool:
        server = RunningServer(spec, opener, pool)
        opener.on_notification = server.broadcast
        yield server
