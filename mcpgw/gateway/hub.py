"""Who wants to hear of what, and the one instance that is asked to tell.

All listeners of a hub share one subscription of the server's, which is the union of what
they want. While one of them holds it, an instance is kept for it, and another one when
that is lost. Those that do not hold it hear what there is to hear.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from typing import Final, TypeAlias

import structlog

from mcpgw import aio
from mcpgw.errors import GatewayError, ServerFailed, ShuttingDown
from mcpgw.gateway.calling import facts_of
from mcpgw.gateway.upstream import Applied, LegacyUpstream, ModernUpstream, Upstream
from mcpgw.lifecycle.base import Lease
from mcpgw.lifecycle.calls import Patience
from mcpgw.lifecycle.link import ServerLink
from mcpgw.protocol.messages import Notification
from mcpgw.protocol.revisions import Era
from mcpgw.protocol.subscriptions import NOTHING, Filter, union

log = structlog.get_logger(__name__)

_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 30.0
"""Between two tries to get an instance for those who hold on, in seconds."""

Acquire: TypeAlias = Callable[[], AbstractAsyncContextManager[Lease[ServerLink]]]
"""An instance to be told by."""


@dataclass(eq=False, slots=True)
class Listener:
    """One client that wants to hear of something."""

    hear: Callable[[Notification], None]
    wanted: Filter = NOTHING
    holds: bool = False
    """Whether an instance is to be kept for it."""
    end: Callable[[], None] | None = None
    """Called when it will hear no more, though nobody asked for that."""


class Hub:
    """See the module. `tasks` owns what follows the instance."""

    def __init__(
        self,
        name: str,
        acquire: Acquire,
        tasks: aio.Tasks,
        patience: Patience,
        *,
        alone: bool = False,
    ) -> None:
        self._name = name
        self._acquire = acquire
        self._tasks = tasks
        self._patience = patience
        self._alone = alone
        """Whether nobody else uses the instance."""
        self._listeners: dict[Listener, None] = {}
        self._changed = asyncio.Event()
        self._waiters: list[tuple[Listener, asyncio.Future[Applied]]] = []
        self._task: asyncio.Task[None] | None = None
        self._link: ServerLink | None = None
        """The newest instance, which may be gone."""
        self._ended = False

    def add(self, listener: Listener) -> None:
        """Tell a listener of what it wants, as far as it is told by itself."""
        self._listeners[listener] = None
        self._change()

    def remove(self, listener: Listener) -> None:
        """Tell it no more."""
        if self._listeners.pop(listener, self) is None:
            self._change()

    async def settle(self, listener: Listener) -> Applied:
        """Wait until what a listener wants is what its server was asked for.

        Raises:
            GatewayError: There is no instance to be told by.
        """
        applied: asyncio.Future[Applied] = asyncio.get_running_loop().create_future()
        self._waiters.append((listener, applied))
        self._change()
        told = await applied
        return Applied(told.honoured & listener.wanted, told.refusals)

    def hear(self, notification: Notification) -> None:
        """Tell everybody who wants to know."""
        for listener in tuple(self._listeners):
            if listener.wanted.wants(notification):
                listener.hear(notification)

    def ready(self, link: ServerLink) -> None:
        """Learn of a new instance, which is followed as long as none is kept for that."""
        self._link = link
        self._change()

    def drain(self) -> None:
        """End all listening."""
        self._ended = True
        self._end(ShuttingDown("the gateway is stopping"))
        self._changed.set()

    @property
    def _holders(self) -> Iterator[Listener]:
        return (listener for listener in self._listeners if listener.holds)

    @property
    def _is_wanted(self) -> bool:
        """Whether an instance is to be kept."""
        held = bool(self._waiters) or next(self._holders, None) is not None
        return held and not self._ended

    def _change(self) -> None:
        self._changed.set()
        if self._task is not None or self._ended:
            return
        link = self._link
        if self._is_wanted:
            self._task = self._tasks.start(self._follow(), name="follow")
        elif self._listeners and link is not None and not link.lost.is_set() and _is_modern(link):
            self._task = self._tasks.start(self._follow_loosely(link), name="follow")

    async def _follow(self) -> None:
        """Be told by one instance after the other, for as long as somebody holds on."""
        pause = _FIRST_PAUSE
        while self._is_wanted:
            try:
                with suppress(ServerFailed):  # then by the next one
                    async with self._acquire() as lease:
                        pause = _FIRST_PAUSE
                        self._link = lease.member
                        if self._alone:
                            lease.member.on_notification = self.hear
                        await self._tend(lease.member, lambda: self._is_wanted)
            except GatewayError as exc:
                log.info("subscriptions.lost", server=self._name, reason=str(exc))
                self._end(exc)
                await self._pause(max(pause, exc.retry_after or 0))
                pause = min(pause * 2, _LONGEST_PAUSE)
        self._task = None
        self._change()

    async def _pause(self, seconds: float) -> None:
        """Wait before an instance is asked for again, unless somebody new wants one."""
        self._changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._waiters and self._is_wanted:
                    await self._changed.wait()
                    self._changed.clear()

    async def _follow_loosely(self, link: ServerLink) -> None:
        """Be told by an instance for as long as it lives anyway."""
        with suppress(GatewayError):
            await self._tend(link, lambda: bool(self._listeners) and not self._is_wanted)
        self._task = None
        self._change()

    async def _tend(self, link: ServerLink, goes_on: Callable[[], bool]) -> None:
        async with aio.Tasks(f"listen:{link.label}") as tasks:
            upstream = self._upstream(link, tasks)
            _ = tasks.start(self._wake_when_lost(link), name="lost")
            applied, last = Applied(), None
            while not link.lost.is_set() and goes_on():
                self._changed.clear()
                waiters, self._waiters = self._waiters, []
                wanted = union(listener.wanted for listener in self._listeners)
                try:
                    if wanted != last:
                        applied, last = await upstream.apply(wanted), wanted
                except BaseException:
                    self._waiters = waiters + self._waiters
                    raise
                _resolve(waiters, applied)
                await self._changed.wait()
            if not link.lost.is_set():
                _ = await upstream.apply(NOTHING)

    def _upstream(self, link: ServerLink, tasks: aio.Tasks) -> Upstream:
        facts = facts_of(link)
        if facts.era is Era.LEGACY:
            return LegacyUpstream(link, facts, self._patience)
        upstream = ModernUpstream(link, tasks, self._patience, self.hear)
        upstream.on_end = lambda: self._end(None)
        return upstream

    async def _wake_when_lost(self, link: ServerLink) -> None:
        await link.lost.wait()
        self._changed.set()

    def _end(self, error: GatewayError | None) -> None:
        """Tell the holders that they will hear no more, and those who wait why."""
        waiters, self._waiters = self._waiters, []
        for _, applied in waiters:
            if not applied.done():
                applied.set_exception(error or ShuttingDown("the server ended its subscriptions"))
        for listener in list(self._holders):
            if listener.end is not None:
                listener.end()


def _is_modern(link: ServerLink) -> bool:
    return link.facts is not None and link.facts.era is Era.MODERN


def _resolve(waiters: list[tuple[Listener, asyncio.Future[Applied]]], applied: Applied) -> None:
    for _, future in waiters:
        if not future.done():
            future.set_result(applied)
