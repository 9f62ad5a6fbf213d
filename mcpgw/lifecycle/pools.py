"""The instances of one server: a pool for each set of client capabilities, under one limit."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from mcpgw.aio import Tasks
from mcpgw.config.schema import ServerSpec
from mcpgw.lifecycle.capsets import PLAIN, Capset
from mcpgw.lifecycle.kin import Kin
from mcpgw.lifecycle.link import ServerLink
from mcpgw.lifecycle.modes import limits_for
from mcpgw.lifecycle.opening import ServerOpener
from mcpgw.lifecycle.pool import Pool
from mcpgw.lifecycle.states import SlotState
from mcpgw.units import Seconds


class Pools:
    """Made by `open_pools`. A pool comes to be when it is first needed; there are few sets."""

    def __init__(self, spec: ServerSpec, opener: ServerOpener, tasks: Tasks) -> None:
        self._spec = spec
        self._opener = opener
        self._tasks = tasks
        self._kin = Kin()
        self._pools: dict[Capset, Pool[ServerLink]] = {}
        self._favourite = PLAIN
        self._shutting_down = False
        self._add(PLAIN)

    def of(self, capset: Capset) -> Pool[ServerLink]:
        """The pool whose instances are told of these capabilities.

        The one that was needed last is where instances are kept ready (`min`, `warm`).
        """
        pool = self._pools.get(capset) or self._add(capset)
        if capset != self._favourite:
            self._pools[self._favourite].keep(0)
            self._favourite = capset
            pool.keep(limits_for(self._spec).keep)
        return pool

    @property
    def is_crowded(self) -> bool:
        """Whether there are as many instances as may be, and none of them will be free soon."""
        views = [pool.snapshot() for pool in self._pools.values()]
        slots = [slot for view in views for slot in view.slots]
        coming = sum(slot.state is not SlotState.DRAINING for slot in slots)
        waiting = sum(view.waiting for view in views)
        return len(slots) >= limits_for(self._spec).max and coming <= waiting

    async def drain(self, within: Seconds) -> None:
        """Take no new work; let what is in flight finish, at most that long."""
        self._shutting_down = True
        async with asyncio.TaskGroup() as group:
            for pool in self._pools.values():
                group.create_task(pool.drain(within))

    def close(self) -> None:
        """Stop every instance, even those in use; leaving `open_pools` waits for that."""
        for pool in self._pools.values():
            pool.close()

    def _add(self, capset: Capset) -> Pool[ServerLink]:
        limits = limits_for(self._spec, asking=not capset.is_plain)
        opener = partial(self._opener.open, capset)
        pool = Pool(self._spec.name, limits, opener, random.random, self._tasks, self._kin)
        self._pools[capset] = pool
        self._kin.join(pool)
        if not capset.is_plain:
            pool.keep(0)
        if self._shutting_down:
            pool.shut_down()
        else:
            pool.look_again()
        return pool


@asynccontextmanager
async def open_pools(spec: ServerSpec, opener: ServerOpener) -> AsyncIterator[Pools]:
    """The pools of a server, for the length of the block. See `open_pool`."""
    async with Tasks(f"pools:{spec.name}") as tasks:
        pools = Pools(spec, opener, tasks)
        try:
            yield pools
        finally:
            pools.close()
