"""The contract between whoever needs an instance and whatever keeps instances."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Generic, NewType, Protocol, TypeVar

from msgspec import Struct

from mcpgw.runtimes.base import Exit
from mcpgw.units import Seconds

Owner = NewType("Owner", str)
"""On whose behalf a request waits: a session or a principal. The queue is fair between owners."""


class Member(Protocol):
    """One ready instance, as a pool sees it."""

    @property
    def label(self) -> str:
        """The instance's label."""

    @property
    def lost(self) -> asyncio.Event:
        """Set once the instance will never answer again."""

    @property
    def exit(self) -> Exit | None:
        """Why, once `lost` is set."""

    @property
    def unfit(self) -> bool:
        """Whether nobody new should be served by it, though it may work still."""


M = TypeVar("M", bound=Member)
M_co = TypeVar("M_co", bound=Member, covariant=True)

Opener = Callable[[], AbstractAsyncContextManager[M]]
"""Starts one instance and makes it ready; entering raises `StartFailed`, leaving stops it."""


class Lease(Struct, Generic[M_co], frozen=True):
    """The right to use one instance until the block ends."""

    member: M_co
    queued: Seconds
    """How long the request waited for it."""


class Lifecycle(Protocol[M_co]):
    """Decides which instance serves a request, and when that instance lives."""

    def lease(
        self, owner: Owner, *, affinity: str | None = None, guest: bool = False
    ) -> AbstractAsyncContextManager[Lease[M_co]]:
        """Hold the right to use one ready instance for the length of the block.

        `affinity` names something that prefers one instance, such as a session: the
        instance that served it last is chosen again when it can be; or it is the label of
        that instance. A `guest` takes up no room: it may use an instance that is full.

        Raises:
            StartFailed: No instance could be made ready.
            QueueFull: Too many requests wait already.
            QueueTimeout: None came free within the queue's deadline.
            ShuttingDown: The lifecycle is draining.
        """

    async def drain(self, within: Seconds) -> None:
        """Take no new work; wait for the leases to end, at most `within`."""
