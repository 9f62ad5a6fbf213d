"""One container instance."""

import asyncio
from typing import Final

from mcpgw.aio import Tasks
from mcpgw.config.schema import ServerSpec
from mcpgw.runtimes.base import Receiver
from mcpgw.runtimes.containers.container import Container
from mcpgw.runtimes.instance import StreamedInstance, Waits
from mcpgw.units import Seconds

_WAITS: Final = Waits(exit_after_output=Seconds(2))
"""Asking the engine how it ended takes some time, and is bounded by itself."""


class ContainerInstance(StreamedInstance):
    """A running container; see `mcpgw.runtimes.base.Instance`."""

    def __init__(
        self, container: Container, spec: ServerSpec, receiver: Receiver, label: str, tasks: Tasks
    ) -> None:
        super().__init__(spec, receiver, label, _WAITS)
        self._container = container
        self._tasks = tasks
        self._asked = False

    def kill(self) -> None:
        """See `Instance.kill`."""
        _ = self._tasks.start(self._container.signal("SIGKILL"), name=f"kill:{self.label}")

    def _settle(self) -> None:
        if not self._streams.has_output and not self._asked:
            self._asked = True
            _ = self._tasks.start(self._learn_end(), name=f"end:{self.label}")
        super()._settle()

    async def _learn_end(self) -> None:
        if (end := await self._container.end()) is not None:
            self.end(*end)

    async def stop(self) -> None:
        """End it, taking no longer than its timeouts and some seconds."""
        self.close_stdin()
        await self._container.stop(self.label, self._ended_within)
        if self.exited.is_set():
            await self.reported.wait()
        self.close()

    async def _ended_within(self, patience: Seconds) -> bool:
        """Wait until its container is over, also where its streams can tell no more."""
        if self.reported.is_set() and not self.exited.is_set():
            return await self._container.over_within(patience)
        try:
            async with asyncio.timeout(patience):
                await self.exited.wait()
        except TimeoutError:
            return False
        return True

    def _reason(self) -> str:
        if not self.exited.is_set() and not self._streams.has_output:
            return "was cut off: its streams ended while its container goes on"
        return super()._reason()
