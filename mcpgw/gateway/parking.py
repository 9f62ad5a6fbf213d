"""Instances that serve one request only, kept while its client asks its user."""

import asyncio
import secrets
from contextlib import AsyncExitStack

from mcpgw import aio
from mcpgw.gateway.held import Suspended
from mcpgw.lifecycle.base import Lease
from mcpgw.lifecycle.link import ServerLink
from mcpgw.units import Seconds


class Parking:
    """Leases that wait for the next round of a request, each for a limited time."""

    def __init__(self, suspended: Suspended, tasks: aio.Tasks, patience: Seconds) -> None:
        self._suspended = suspended
        self._tasks = tasks
        self._patience = patience
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._leases: dict[str, tuple[Lease[ServerLink], AsyncExitStack]] = {}

    def park(self, lease: Lease[ServerLink], held: AsyncExitStack) -> str:
        """Keep a lease; give the word it is kept under. `held` ends it.

        Raises:
            TooManySuspended: As many wait as may.
        """
        self._suspended.take()
        key = secrets.token_urlsafe(16)
        self._leases[key] = (lease, held)
        self._waiting[key] = asyncio.get_running_loop().create_future()
        _ = self._tasks.start(self._keep(key), name="parked")
        return key

    def take(self, key: str) -> tuple[Lease[ServerLink], AsyncExitStack] | None:
        """Take a lease back, with what ends it; only once, and only while it is kept."""
        found = self._leases.pop(key, None)
        if found is not None:
            self._waiting[key].set_result(None)
        return found

    def drain(self) -> None:
        """Let go of all: nobody can come back for them."""
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.cancel()

    async def _keep(self, key: str) -> None:
        try:
            await asyncio.wait([self._waiting[key]], timeout=self._patience)
        finally:
            del self._waiting[key]
            self._suspended.give()
            found = self._leases.pop(key, None)
            if found is not None:
                await found[1].aclose()
