"""One container instance, and how it is stopped."""

import asyncio
from typing import Final

import structlog

from mcpgw.aio import Tasks
from mcpgw.config.schema import ServerSpec, Timeouts
from mcpgw.runtimes.base import Receiver
from mcpgw.runtimes.containers.container import Container
from mcpgw.runtimes.instance import StreamedInstance, Waits
from mcpgw.units import Seconds

_WAITS: Final = Waits(exit_after_output=Seconds(2))
"""Asking the engine how it ended takes some time, and is bounded by itself."""

_KILL: Final = Seconds(5)

log = structlog.get_logger()


class ContainerInstance(StreamedInstance):
    """A running container; see `mcpgw.runtimes.base.Instance`."""

    def __init__(
        self, container: Container, spec: ServerSpec, receiver: Receiver, label: str, tasks: Tasks
    ) -> None:
        super().__init__(
            receiver,
            server=spec.name,
            label=label,
            stderr_rate=spec.limits.stderr_rate,
            waits=_WAITS,
        )
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

    async def ended_within(self, patience: Seconds) -> bool:
        """Wait until its container is over, also where its streams can tell no more."""
        if self.is_cut_off:
            return await self._container.over_within(patience)
        try:
            async with asyncio.timeout(patience):
                await self.exited.wait()
        except TimeoutError:
            return False
        return True

    @property
    def is_cut_off(self) -> bool:
        """Whether its streams have ended without a word about its end."""
        return self.reported.is_set() and not self.exited.is_set()

    def _reason(self) -> str:
        if not self.exited.is_set() and not self._streams.has_output:
            return "was cut off: its streams ended while its container goes on"
        return super()._reason()


async def stop(instance: ContainerInstance, container: Container, timeouts: Timeouts) -> None:
    """End `instance`, taking no longer than its timeouts and some seconds.

    Its container is still to be removed, which ends whatever is left in it.
    """
    instance.close_stdin()
    facts = {"server": instance.server, "instance": instance.label, "container": container.name}
    if not await instance.ended_within(timeouts.stop):
        for signal, patience in (("SIGTERM", timeouts.term), ("SIGKILL", _KILL)):
            await container.signal(signal)
            if await instance.ended_within(patience):
                log.warning("instance.killed", **facts, signal=signal)
                break
        else:
            log.error("instance.survived", **facts)
    if instance.exited.is_set():
        await instance.reported.wait()
    instance.close()
