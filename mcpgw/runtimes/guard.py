"""The guard: a small process that outlives the gateway, should the gateway be killed.

It holds the reading end of a pipe whose writing end only the gateway has. When that
ends without a goodbye, it kills every process that carries the gateway's mark. It also
looks, once at its start, for processes that gateways which are no more have left.
"""

import asyncio
import inspect
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import structlog

from mcpgw import aio
from mcpgw.errors import StartFailed
from mcpgw.runtimes import orphans, procfs
from mcpgw.runtimes.exits import ExitWatch, describe
from mcpgw.runtimes.pipes import ReadPipe, WritePipe
from mcpgw.runtimes.spawn import Program, spawn
from mcpgw.units import KIB, Seconds

_BOOTSTRAP: Final = """
import json
guard, *errands = json.loads(input())
names = {'__name__': 'guard'}
exec(guard, names)
if names['stand_guard'](%r):
    for source, function, settings in errands:
        names = {'__name__': 'errand'}
        exec(source, names)
        names[function](settings)
"""
"""The program comes through the pipe, because it may live inside a zip file."""

_RETRY_FIRST: Final = Seconds(0.5)
"""How long to wait before a guard that died is replaced; the wait doubles each time."""

_RETRY_LAST: Final = Seconds(60)
"""The longest such wait."""

_NEEDED: Final = ("LD_LIBRARY_PATH",)
"""What an interpreter may need to find its own library."""

_GOODBYE_TIMEOUT: Final = Seconds(2)
"""How long the guard may take to leave after the goodbye."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Errand:
    """Something more for the guard to do when the gateway was killed."""

    module: ModuleType
    """Needs the standard library only: the guard has nothing else."""

    function: str
    """Which of its functions to call."""

    settings: Mapping[str, Any]
    """With what; anything that JSON can say."""


@asynccontextmanager
async def open_guard(*errands: Errand) -> AsyncIterator[None]:
    """Have a guard watch this process until the block ends. Does nothing but on Linux.

    Enter it before anything that starts processes: leaving it stops nothing.
    """
    if not orphans.IS_LINUX:
        yield
        return
    async with aio.background(_keep_guard(errands), name="guard"):
        yield


async def _keep_guard(errands: Sequence[Errand]) -> None:
    retry = _RETRY_FIRST
    while True:
        try:
            guard = _Guard(errands)
        except (OSError, StartFailed) as exc:  # OSError: the package came without its source
            _log.error("guard.failed", reason=str(exc))
        else:
            try:
                await guard.ended.wait()
                _log.warning("guard.exited", reason=guard.reason)
            finally:
                await aio.unhurried(guard.dismiss(), name="guard:dismiss")
        await asyncio.sleep(retry)
        retry = Seconds(min(2 * retry, _RETRY_LAST))


class _Guard:
    """One guard process."""

    def __init__(self, errands: Sequence[Errand]) -> None:
        task = [inspect.getsource(procfs), *map(_told, errands)]
        spawned = spawn(_program())
        self.ended: Final = asyncio.Event()
        self.reason = ""
        self._stderr = b""
        self._process = spawned.process
        self._watch = ExitWatch(spawned.process, self._end)
        self._lifeline = WritePipe(spawned.stdin, on_broken=lambda: None)
        self._outputs = (
            ReadPipe(spawned.stdout, on_data=self._report, on_end=lambda: None),
            ReadPipe(spawned.stderr, on_data=self._keep, on_end=lambda: None),
        )
        self._tell(json.dumps(task))

    async def dismiss(self) -> None:
        """Tell it that nothing is left to guard, and let go of it."""
        self._tell("goodbye")
        self._lifeline.close()
        try:
            async with asyncio.timeout(_GOODBYE_TIMEOUT):
                await self.ended.wait()
        except TimeoutError:
            self._process.kill()
            await self.ended.wait()
        self._lifeline.abort()
        for pipe in self._outputs:
            pipe.close()

    def _tell(self, line: str) -> None:
        with suppress(BrokenPipeError):
            if self._lifeline.is_open:
                self._lifeline.write(f"{line}\n".encode())

    def _report(self, data: bytes) -> None:
        for label in data.decode(errors="replace").split():
            _log.warning("orphan.killed", instance=label)

    def _keep(self, data: bytes) -> None:
        self._stderr = (self._stderr + data)[-KIB:]

    def _end(self, code: int) -> None:
        orphans.disclaim(self._process.pid)
        last = self._stderr.decode(errors="replace").strip().rpartition("\n")[2]
        self.reason = f"{describe(code)}: {last}" if last else describe(code)
        self.ended.set()


def _told(errand: Errand) -> list[Any]:
    return [inspect.getsource(errand.module), errand.function, errand.settings]


def _program() -> Program:
    # Not our environment: a mark in it, from a gateway above us, would be the guard's end.
    environment = {name: os.environ[name] for name in _NEEDED if name in os.environ}
    code = _BOOTSTRAP % procfs.owner()
    # Isolated and without site-packages: it starts in 15 ms and holds few megabytes.
    return Program("guard", (sys.executable, "-I", "-S", "-c", code), environment, Path("/"))
