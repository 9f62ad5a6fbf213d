"""Small real processes for pools to keep, and short settings to keep them by."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

from mcpgw import aio
from mcpgw.config.schema import Backoff
from mcpgw.errors import GatewayError, StartFailed
from mcpgw.lifecycle.base import Owner
from mcpgw.lifecycle.plan import PoolLimits
from mcpgw.lifecycle.pool import Pool
from mcpgw.lifecycle.states import SlotState
from mcpgw.runtimes.base import Exit
from mcpgw.units import Seconds

ALICE, BOB = Owner("alice"), Owner("bob")
LONG: Final = Seconds(30)
"""Longer than any test."""
SOON: Final = Seconds(0.05)

DAEMON: Final = PoolLimits(
    max=4,
    keep=0,
    max_in_flight=2,
    max_leases=None,
    max_age=None,
    idle_timeout=LONG,
    queue_size=100,
    queue_timeout=LONG,
    backoff=Backoff(initial=SOON, max=LONG, failures=3),
    isolated=False,
)
LAUNCHER: Final = replace(DAEMON, max_in_flight=1, max_leases=1, isolated=True)


def limits(base: PoolLimits = DAEMON, **changes: Any) -> PoolLimits:
    """Settings that differ from `base` in `changes`."""
    return replace(base, **changes)


@dataclass(eq=False)
class Program:
    """A running `cat`, which says back what it is told."""

    label: str
    process: asyncio.subprocess.Process
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    exit: Exit | None = None
    unfit: bool = False

    async def echo(self, text: bytes) -> bytes:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(text + b"\n")
        return (await self.process.stdout.readline()).rstrip()

    def crash(self) -> None:
        self.process.send_signal(signal.SIGKILL)

    async def watch(self) -> None:
        code = await self.process.wait()
        self.exit = Exit("was killed" if code < 0 else f"exited with code {code}", code, ("bye",))
        self.lost.set()


class Programs:
    """Opens programs, as slow and as broken as a test wants them, and counts them."""

    def __init__(self) -> None:
        self.pids: list[int] = []
        self.alive = 0
        self.peak = 0
        self.broken = 0.0
        """How many of the next ones exit instead of becoming ready."""
        self.as_one_gets_ready: Callable[[], object] = int
        """Called after a pool granted a new instance, before whoever got it goes on."""
        self.may_be_ready = asyncio.Event()
        self.may_be_ready.set()
        self.may_be_gone = asyncio.Event()
        self.may_be_gone.set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Program]:
        command = ["sh", "-c", "echo no backend >&2; exit 3"] if self.broken > 0 else ["cat"]
        self.broken -= 1
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=pipe
        )
        self.pids.append(process.pid)
        self.alive += 1
        self.peak = max(self.peak, self.alive)
        program = Program(f"cat#{len(self.pids)}", process)
        try:
            await self.may_be_ready.wait()
            await self._handshake(program)
            async with aio.background(program.watch(), name=program.label):
                asyncio.get_running_loop().call_soon(self.as_one_gets_ready)
                yield program
        finally:
            await aio.unhurried(self._stop(process), name="stop")

    async def _handshake(self, program: Program) -> None:
        if await program.echo(b"hello") != b"hello":
            assert program.process.stderr is not None
            said = (await program.process.stderr.read()).decode().split("\n")
            raise StartFailed("'cat' exited before it was ready", stderr=tuple(said[:-1]))

    async def _stop(self, process: asyncio.subprocess.Process) -> None:
        await self.may_be_gone.wait()
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
        self.alive -= 1

    def leftovers(self) -> list[int]:
        """The processes that are still there."""
        return [pid for pid in self.pids if _exists(pid)]


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@asynccontextmanager
async def watched_programs() -> AsyncIterator[Programs]:
    """Programs of which nothing may be left, and a loop in which nothing may go wrong unseen."""
    wrong: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: wrong.append(what))
    programs = Programs()
    yield programs
    assert wrong == []
    assert programs.alive == 0
    assert programs.leftovers() == []


class Broken(AbstractAsyncContextManager[Program]):
    """A start that ends with `error`."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    async def __aenter__(self) -> Program:
        raise self._error

    async def __aexit__(self, *exc_info: object) -> None:
        raise AssertionError("it was never entered")


class Client:
    """A request: holds a lease from when it gets one until it is told to `leave`."""

    def __init__(
        self, pool: Pool[Program], tasks: aio.Tasks, owner: Owner, affinity: str | None = None
    ) -> None:
        self._leave = asyncio.Event()
        self._holding: asyncio.Future[Program] = asyncio.get_running_loop().create_future()
        self.task = tasks.start(self._run(pool, owner, affinity), name=owner)

    async def _run(self, pool: Pool[Program], owner: Owner, affinity: str | None) -> None:
        try:
            async with pool.lease(owner, affinity=affinity) as lease:
                self._holding.set_result(lease.member)
                await self._leave.wait()
        except GatewayError as exc:
            self._holding.set_exception(exc)
            self._holding.exception()  # a test need not ask for it

    @property
    def is_waiting(self) -> bool:
        return not self._holding.done()

    async def program(self) -> Program:
        """The instance it was given.

        Raises:
            GatewayError: It was refused.
        """
        async with asyncio.timeout(5):
            return await asyncio.shield(self._holding)

    async def leave(self) -> None:
        self._leave.set()
        async with asyncio.timeout(5):
            await self.task

    async def cancel(self) -> None:
        self.task.cancel()
        async with asyncio.timeout(5):
            await asyncio.wait([self.task])


async def reached(pool: Pool[Any], **counts: int) -> None:
    """Wait until the pool has so many slots in the states named, and requests `waiting`."""
    async with asyncio.timeout(5):
        await pool.until(
            lambda now: all(
                (now.waiting if name == "waiting" else now.count(SlotState(name))) == count
                for name, count in counts.items()
            )
        )
