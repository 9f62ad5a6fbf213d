"""A container whose streams are somebody else's."""

import asyncio
from typing import Final

from mcpgw.aio import Tasks
from mcpgw.runtimes.containers.container import Container
from mcpgw.runtimes.detached import Carrier, End
from mcpgw.units import Seconds


class DetachedContainer:
    """See `mcpgw.runtimes.detached.Detached`."""

    carrier: Final = Carrier.ATTACHED

    def __init__(self, container: Container, label: str, fd: int, tasks: Tasks) -> None:
        self._container = container
        self._fds = [fd]
        self._tasks = tasks
        self._over = False
        self.label: Final = label
        """Its name in this process's log."""

    def take_fds(self) -> list[int]:
        """See `Detached.take_fds`."""
        fds, self._fds = self._fds, []
        return fds

    async def end(self, *, asked: bool) -> End | None:
        """See `Detached.end`: whoever has the streams sees the end first, so it has to ask."""
        if not asked:
            await asyncio.Event().wait()
        end = await self._container.end()
        self._over = self._over or end is not None
        return end

    def kill(self) -> None:
        """See `Detached.kill`."""
        _ = self._tasks.start(self._container.signal("SIGKILL"), name=f"kill:{self.label}")

    async def stop(self) -> None:
        """See `Detached.stop`."""
        await self._container.stop(self.label, self._ended_within)

    async def _ended_within(self, patience: Seconds) -> bool:
        if self._over:
            return True
        self._over = await self._container.over_within(patience)
        return self._over
