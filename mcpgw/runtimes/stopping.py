"""Stopping a native instance: politely, then firmly, and leaving nothing behind."""

import asyncio
import signal
from typing import Final, Protocol

import structlog

from mcpgw.config.schema import Timeouts
from mcpgw.runtimes.orphans import Leftovers
from mcpgw.units import Seconds

_KILL_TIMEOUT: Final = Seconds(5)
"""How long killed processes may take to vanish; one that hangs in the kernel does not."""

_POLL: Final = Seconds(0.005)
"""How often to look whether descendants have ended: adopted ones announce nothing."""

_log = structlog.get_logger()


class Stoppable(Protocol):
    """A process that leads its own session, with whoever else is in it."""

    @property
    def server(self) -> str:
        """The name of the tool it runs for."""

    @property
    def label(self) -> str:
        """The name of the instance."""

    @property
    def pid(self) -> int:
        """Its id, and that of its group and session."""

    @property
    def exited(self) -> asyncio.Event:
        """Set once it has ended."""

    @property
    def reported(self) -> asyncio.Event:
        """Set once whoever listens to it has had all there is."""

    def close_stdin(self) -> None:
        """Let it read what is queued, and then the end."""

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and its group."""

    def close(self) -> None:
        """Let go of it."""


async def stop(instance: Stoppable, timeouts: Timeouts) -> None:
    """End `instance` and every descendant, taking no longer than its timeouts and 6 s.

    stdin closes first; SIGTERM goes to what is left after `timeouts.stop`, or as soon as
    the first process has left others behind, and SIGKILL `timeouts.term` later.
    """
    leftovers = Leftovers(instance.label, instance.pid)
    instance.close_stdin()
    if not await _exits_within(instance, timeouts.stop) or leftovers.find():
        await _end(instance, leftovers, timeouts.term)
    await _hear_out(instance)
    instance.close()


async def _end(instance: Stoppable, leftovers: Leftovers, term: Seconds) -> None:
    facts = {"server": instance.server, "instance": instance.label, "pid": instance.pid}
    facts["leftovers"] = instance.exited.is_set()
    if await _killed_within(instance, leftovers, term, signal.SIGTERM):
        _log.warning("instance.killed", **facts, signal="SIGTERM")
    elif await _killed_within(instance, leftovers, _KILL_TIMEOUT, signal.SIGKILL):
        _log.warning("instance.killed", **facts, signal="SIGKILL")
    else:
        _log.error("instance.survived", **facts)


async def _killed_within(
    instance: Stoppable, leftovers: Leftovers, within: Seconds, number: signal.Signals
) -> bool:
    instance.signal(number)
    try:
        async with asyncio.timeout(within):
            await instance.exited.wait()
            while leftovers.find():
                leftovers.signal(number)
                await asyncio.sleep(_POLL)
    except TimeoutError:
        return False
    return True


async def _exits_within(instance: Stoppable, within: Seconds) -> bool:
    try:
        async with asyncio.timeout(within):
            await instance.exited.wait()
    except TimeoutError:
        return False
    return True


async def _hear_out(instance: Stoppable) -> None:
    """Wait until the receiver has had all there is; the last words are still on their way."""
    if instance.exited.is_set():
        # Bounded: with the process gone, the report comes when the pipes end, or without.
        await instance.reported.wait()
