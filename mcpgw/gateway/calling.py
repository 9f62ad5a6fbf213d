"""One request of a client's, made to one instance: translated there, heard meanwhile."""

from collections.abc import Callable
from typing import Final

from msgspec import Raw

from mcpgw.bridge.introductions import carries_logs
from mcpgw.bridge.outbound import to_server
from mcpgw.config.schema import Mode, Per, ServerSpec
from mcpgw.errors import StartFailed
from mcpgw.gateway.asking import Relay
from mcpgw.gateway.exchange import Exchange
from mcpgw.gateway.rounds import answer_in_rounds
from mcpgw.lifecycle.base import Lease
from mcpgw.lifecycle.calls import DEAF, Ear, Patience
from mcpgw.lifecycle.link import ServerLink
from mcpgw.protocol.connection import Outbound
from mcpgw.protocol.handshake import ServerFacts
from mcpgw.protocol.logging import MESSAGE, SET_LEVEL, is_wanted
from mcpgw.protocol.messages import Outcome, dump_notification
from mcpgw.protocol.methods import ASKING, PROGRESS
from mcpgw.protocol.rawjson import encode
from mcpgw.protocol.revisions import Era
from mcpgw.protocol.tasks import RESULT

_ASKING: Final = ASKING | {RESULT}
"""A task asks as part of the request that waits for its result."""


def is_per_session(spec: ServerSpec) -> bool:
    """Whether a legacy session has an instance of its own."""
    return spec.mode is Mode.LAUNCHER and spec.launcher.per is Per.SESSION


def facts_of(link: ServerLink) -> ServerFacts:
    """What an instance said about itself.

    Raises:
        StartFailed: It was not asked yet.
    """
    if link.facts is None:
        raise StartFailed(f"{link.label} was used before its handshake")
    return link.facts


class Caller:
    """Makes requests to the instances of one server."""

    def __init__(self, spec: ServerSpec) -> None:
        self._spec = spec
        self.patience = Patience(spec.timeouts.call, spec.timeouts.call_max)

    async def call(self, lease: Lease[ServerLink], exchange: Exchange) -> Outcome:
        """The server's own answer, once a legacy client's user has answered what it asks.

        A modern server's questions to a modern client are part of what it gives.

        Raises:
            GatewayError: There is none.
        """
        link, outbound, ear = await self.prepare(lease, exchange)
        ask = exchange.ask
        modern = facts_of(link).era is Era.MODERN
        asks = self._spec.asks if modern else link.may_ask
        if ask is None or exchange.request.method not in _ASKING or not asks:
            return await link.call(outbound, self.patience, ear)
        if modern:

            async def once(outbound: Outbound) -> Outcome:
                return await link.call(outbound, self.patience, ear)

            return await answer_in_rounds(outbound, once, exchange.client, ask)
        async with Relay(link, exchange.client, ask) as relay:
            hearing = Ear(ear.progress, ear.log, relay.asked, relay.withdrawn)
            return await link.call(outbound, self.patience, hearing)

    async def prepare(
        self, lease: Lease[ServerLink], exchange: Exchange
    ) -> tuple[ServerLink, Outbound, Ear]:
        """What to send, and who hears what of it."""
        link, reply = lease.member, exchange.reply
        facts = facts_of(link)
        outbound = to_server(
            exchange.request,
            exchange.client,
            facts,
            exchange.opened,
            exchange.log_level,
            asks=self._spec.asks and (exchange.ask is not None or _is_modern(exchange)),
        )
        reply.served_by(link.label, lease.queued)
        if outbound.token is None and exchange.log_level is None:
            return link, outbound, DEAF
        progress = log = None
        if outbound.token is not None:
            progress = _sender(exchange, PROGRESS)
        if await self._logs_are_certain(link, facts, exchange):
            log = self.log_sender(exchange)
        return link, outbound, Ear(progress, log)

    def log_sender(self, exchange: Exchange) -> Callable[[Raw], None]:
        """Who hears the log messages of an exchange."""
        send = _sender(exchange, MESSAGE)

        def hear(params: Raw) -> None:
            if is_wanted(params, exchange.log_level):
                send(params)

        return hear

    async def set_level(self, link: ServerLink, level: str) -> Outcome:
        """Tell a legacy instance that serves one client only which log messages are wanted.

        Raises:
            GatewayError: It did not answer.
        """
        params = {"level": encode(level)}
        return await link.call(Outbound(SET_LEVEL, params, {}), self.patience)

    async def _logs_are_certain(
        self, link: ServerLink, facts: ServerFacts, exchange: Exchange
    ) -> bool:
        """Whether log messages that come now can only be this exchange's.

        Those of a shared legacy instance could be anybody's.
        """
        if exchange.log_level is None:
            return False
        own = is_per_session(self._spec) and not _is_modern(exchange)
        alone = link.may_ask or (self._spec.mode is Mode.LAUNCHER and _is_modern(exchange))
        if not carries_logs(facts, alone=own or alone):
            return False
        if facts.era is Era.LEGACY and not own and link.log_level != exchange.log_level:
            link.log_level = exchange.log_level
            _ = await self.set_level(link, exchange.log_level)
        return True


def _sender(exchange: Exchange, method: str) -> Callable[[Raw], None]:
    send = exchange.reply.send
    return lambda params: send(dump_notification(method, params))


def _is_modern(exchange: Exchange) -> bool:
    return exchange.client.era is Era.MODERN
