"""What one instance is subscribed to, on behalf of everybody: in its own era's way."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

from msgspec import Raw

from mcpgw import aio
from mcpgw.errors import DeadlineExceeded, GatewayError
from mcpgw.lifecycle.calls import FOREVER, Ear, Patience
from mcpgw.lifecycle.link import ServerLink
from mcpgw.protocol import codes
from mcpgw.protocol.connection import Outbound
from mcpgw.protocol.handshake import ServerFacts, envelope
from mcpgw.protocol.messages import EMPTY, Failure, Notification, Outcome, Result, failure
from mcpgw.protocol.methods import LISTEN, SUBSCRIBE, UNSUBSCRIBE
from mcpgw.protocol.rawjson import encode, object_or_empty
from mcpgw.protocol.subscriptions import (
    ACKNOWLEDGED,
    NOTHING,
    Filter,
    offered,
    read_filter,
    untagged,
    write_filter,
)

_ENDLESS: Final = Patience(FOREVER, FOREVER)

Hear = Callable[[Notification], None]


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a wish."""

    honoured: Filter = NOTHING
    refusals: dict[str, Failure] = field(default_factory=dict)
    """Why a resource was not subscribed to, by its URI, where the server said so."""


class Upstream(Protocol):
    """The subscriptions of one instance."""

    async def apply(self, wanted: Filter) -> Applied:
        """Be subscribed to exactly this, as far as the server supports it.

        Raises:
            GatewayError: The instance is gone.
        """


class LegacyUpstream:
    """One `resources/subscribe` for each resource; changes of lists need none."""

    def __init__(self, link: ServerLink, facts: ServerFacts, patience: Patience) -> None:
        self._link = link
        self._lists = offered(facts.capabilities).lists
        resources = object_or_empty(facts.capabilities.get("resources"))
        self._subscribes = resources.get("subscribe") == Raw(b"true")
        self._patience = patience
        self._uris: set[str] = set()

    async def apply(self, wanted: Filter) -> Applied:
        """See `Upstream.apply`."""
        for uri in self._uris - wanted.uris:
            self._uris.discard(uri)
            await self._call(UNSUBSCRIBE, uri)
        refusals: dict[str, Failure] = {}
        for uri in wanted.uris - self._uris if self._subscribes else ():
            outcome = await self._call(SUBSCRIBE, uri)
            if isinstance(outcome, Failure):
                refusals[uri] = outcome
            else:
                self._uris.add(uri)
        return Applied(Filter(wanted.lists & self._lists, frozenset(self._uris)), refusals)

    async def _call(self, method: str, uri: str) -> Outcome:
        try:
            return await self._link.call(Outbound(method, {"uri": encode(uri)}, {}), self._patience)
        except DeadlineExceeded as exc:
            return failure(codes.INTERNAL_ERROR, str(exc))


class ModernUpstream:
    """One `subscriptions/listen` for everything.

    It cannot be changed, so a change opens another one before it ends the last. The one that
    was acknowledged last counts; what the other says meanwhile would be heard twice.
    """

    def __init__(self, link: ServerLink, tasks: aio.Tasks, patience: Patience, hear: Hear) -> None:
        self._link = link
        self._tasks = tasks
        self._patience = patience
        self._hear = hear
        self._counts: _Listen | None = None
        self.on_end: Callable[[], None] | None = None
        """Called when the server itself ends the one that counts."""

    async def apply(self, wanted: Filter) -> Applied:
        """See `Upstream.apply`."""
        before, applied = self._counts, Applied()
        if wanted == NOTHING:
            self._counts = None
        else:
            listen = _Listen(self, wanted)
            listen.task = self._tasks.start(listen.run(self._link), name=LISTEN)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience.quiet):
                    applied = await listen.acknowledged
            self._counts = listen
        if before is not None and before.task is not None:
            before.task.cancel()
        return applied

    def acknowledge(self, listen: "_Listen") -> None:
        """From now on this one counts."""
        self._counts = listen

    def hear(self, listen: "_Listen", notification: Notification) -> None:
        """Pass on what the one that counts says."""
        if self._counts is listen:
            self._hear(untagged(notification))

    def end(self, listen: "_Listen") -> None:
        """Learn that the server ended one."""
        if self._counts is listen and self.on_end is not None:
            self.on_end()


class _Listen:
    """One listen request."""

    def __init__(self, upstream: ModernUpstream, wanted: Filter) -> None:
        self._upstream = upstream
        self._wanted = wanted
        self.acknowledged: asyncio.Future[Applied] = asyncio.get_running_loop().create_future()
        self.task: asyncio.Task[None] | None = None

    async def run(self, link: ServerLink) -> None:
        params = {"notifications": write_filter(self._wanted)}
        outbound = Outbound(LISTEN, params, envelope(EMPTY, None))
        outcome: Outcome | None = None
        with suppress(GatewayError):  # whoever follows the instance hears of its end
            outcome = await link.call(outbound, _ENDLESS, Ear(published=self._published))
        if not self.acknowledged.done():
            self.acknowledged.set_result(Applied())
        if isinstance(outcome, Result):
            self._upstream.end(self)

    def _published(self, notification: Notification) -> None:
        if notification.method != ACKNOWLEDGED:
            self._upstream.hear(self, notification)
        elif not self.acknowledged.done():
            told = read_filter(object_or_empty(notification.params), most=None)
            self.acknowledged.set_result(Applied(told & self._wanted))
            self._upstream.acknowledge(self)
