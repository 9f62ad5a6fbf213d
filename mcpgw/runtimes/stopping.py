"""Stopping a native instance: politely, then firmly, and leaving nothing behind."""

import asyncio
import signal
from typing import Final

import structlog

from mcpgw.config.schema import Timeouts
from mcpgw.runtimes.orphans import Leftovers
from mcpgw.runtimes.process import NativeInstance
from mcpgw.units import Seconds

_KILL_TIMEOUT: Final = Seconds(5)
"""How long killed processes may take to vanish; one that hangs in the kernel does not."""

_POLL: Final = Seconds(0.005)
"""How often to look whether descendants have ended: adopted ones announce nothing."""

_log = structlog.get_logger()


async def stop(instance: NativeInstance, timeouts: Timeouts) -> None:
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


async def _end(instance: NativeInstance, leftovers: Leftovers, term: Seconds) -> None:
    facts = {"server": instance.server, "instance": instance.label, "pid": instance.pid}
    facts["leftovers"] = instance.exited.is_set()
    if await _killed_within(instance, leftovers, term, signal.SIGTERM):
        _log.warning("instance.killed", **facts, signal="SIGTERM")
    elif await _killed_within(instance, leftovers, _KILL_TIMEOUT, signal.SIGKILL):
        _log.warning("instance.killed", **facts, signal="SIGKILL")
    else:
        _log.error("instance.survived", **facts)


async def _killed_within(
    instance: NativeInstance, leftovers: Leftovers, within: Seconds, number: signal.Signals
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


async def _exits_within(instance: NativeInstance, within: Seconds) -> bool:
    try:
        async with asyncio.timeout(within):
            await instance.exited.wait()
    except TimeoutError:
        return False
    return True


async def _hear_out(instance: NativeInstance) -> None:
    """Wait until the receiver has had all there is; the last words are still on their way."""
    if instance.exited.is_set():
        # Bounded: with the process gone, the report comes when the pipes end, or without.
        await instance.reported.wait()
