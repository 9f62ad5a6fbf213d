"""The instance that only one legacy session uses, started anew when it is lost."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from mcpgw.errors import ShuttingDown
from mcpgw.gateway.asking import Relay
from mcpgw.gateway.exchange import Ask
from mcpgw.gateway.server import RunningServer
from mcpgw.lifecycle.base import Lease, Owner
from mcpgw.lifecycle.link import ServerLink
from mcpgw.protocol.client import ClientFacts
from mcpgw.protocol.messages import EMPTY, Notification, Outcome, Result
from mcpgw.protocol.revisions import Era


class OwnInstance:
    """Leases an instance when it is first needed, and again after a loss."""

    def __init__(
        self,
        server: RunningServer,
        owner: Owner,
        client: Callable[[], ClientFacts],
        ask: Ask,
        hear: Callable[[Notification], None],
    ) -> None:
        self._server = server
        self._owner = owner
        self._client = client
        self._ask = ask
        self._hear = hear
        self._held = AsyncExitStack()
        self._lock = asyncio.Lock()
        self._lease: Lease[ServerLink] | None = None
        self._level: str | None = None
        self._closed = False
        self._on_ready: Callable[[ServerLink], None] | None = None

    @property
    def is_held(self) -> bool:
        """Whether there is one, which nobody else can use."""
        return self._lease is not None

    def watch(self, on_ready: Callable[[ServerLink], None]) -> None:
        """Tell `on_ready` of the instance, if there is one, and of each that comes after it."""
        self._on_ready = on_ready
        if self._lease is not None:
            on_ready(self._lease.member)

    async def lease(self) -> Lease[ServerLink]:
        """The instance; the session keeps it.

        Raises:
            ShuttingDown: The session has ended.
            GatewayError: There is none to be had.
        """
        async with self._lock:
            if self._closed:
                raise ShuttingDown("the session has ended")
            lease = self._lease
            if lease is None or lease.member.lost.is_set():
                self._lease = None
                await self._held.aclose()
                self._held = AsyncExitStack()
                self._lease = lease = await self._start()
                if self._level is not None:  # the one before it was told, this one was not
                    await self._tell_level(lease.member, self._level)
            return lease

    @asynccontextmanager
    async def borrowed(self) -> AsyncIterator[Lease[ServerLink]]:
        """The instance, as if it was leased for the length of the block."""
        yield await self.lease()

    async def set_level(self, level: str) -> Outcome:
        """Tell it, and each that comes after it, which log messages are wanted.

        Raises:
            GatewayError: It did not answer.
        """
        self._level = level
        return await self._tell_level((await self.lease()).member, level)

    async def close(self) -> None:
        """Let go of it for good."""
        self._closed = True
        async with self._lock:
            await self._held.aclose()
            self._lease = None

    async def _start(self) -> Lease[ServerLink]:
        client = self._client()
        capset = self._server.capset(client)
        lease = await self._held.enter_async_context(self._server.lease(self._owner, capset))
        link = lease.member
        link.on_notification = self._hear  # nobody else shares it
        legacy = link.facts is not None and link.facts.era is Era.LEGACY
        if legacy and not capset.is_plain:
            relay = await self._held.enter_async_context(Relay(link, client, self._ask))
            link.on_question, link.on_withdrawn = relay.asked, relay.withdrawn
        if self._on_ready is not None:
            self._on_ready(link)
        return lease

    async def _tell_level(self, link: ServerLink, level: str) -> Outcome:
        if link.facts is None or link.facts.era is Era.MODERN:
            return Result(EMPTY)  # it is told with each request
        return await self._server.caller.set_level(link, level)
