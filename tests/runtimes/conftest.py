"""Real processes for the runtime tests, on both event loops, and proof that none stay behind."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import uvloop

from mcpgw.config.schema import Config, ServerSpec, Timeouts
from mcpgw.runtimes import orphans, procfs
from mcpgw.runtimes.base import Exit
from mcpgw.runtimes.native import NativeRuntime
from mcpgw.units import Seconds

SERVERS = Path(__file__).parent.parent / "servers"

QUICK = Timeouts(stop=Seconds(0.3), term=Seconds(0.3))

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, LoopFactory]:
    return {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.new_event_loop}


class Recorder:
    """A receiver that keeps what it is told."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.exits: list[Exit] = []
        self.lost = asyncio.Event()
        self._news = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        assert not self.exits, "data after the end"
        self.data += data
        self._news.set()

    def instance_lost(self, exit: Exit) -> None:
        self.exits.append(exit)
        self.lost.set()
        self._news.set()

    @property
    def exit(self) -> Exit:
        [exit] = self.exits
        return exit

    async def received(self, text: bytes, *, within: float = 10) -> None:
        """Wait until `text` has come."""
        await self.until(lambda: text in self.data, within=within)

    async def until(self, holds: Callable[[], bool], *, within: float = 10) -> None:
        async with asyncio.timeout(within):
            while not holds():
                assert not self.exits, self.exits
                self._news.clear()
                await self._news.wait()

    async def ended(self, *, within: float = 10) -> Exit:
        async with asyncio.timeout(within):
            await self.lost.wait()
        return self.exit


class Scene:
    """Makes specs whose processes all carry one mark, by which they are counted."""

    def __init__(self) -> None:
        self.mark = uuid4().hex

    def shell(self, script: str, **fields: Any) -> ServerSpec:
        return self.spec("sh", "-c", script, **fields)

    def python(self, name: str, *args: str, **fields: Any) -> ServerSpec:
        return self.spec(
            sys.executable, "-I", "-S", str(SERVERS / f"rt_{name}.py"), *args, **fields
        )

    def spec(self, cmd: str, *args: str, **fields: Any) -> ServerSpec:
        fields = {"name": "srv", "timeouts": QUICK, **fields}
        return ServerSpec(cmd=cmd, args=args, env={"RT_MARK": self.mark}, **fields)

    def alive(self) -> list[int]:
        """Give the marked processes that run."""
        found = []
        for pid in procfs.pids():
            status = procfs.status(pid)
            if status and not status.ended and self.mark.encode() in environ(pid):
                found.append(pid)
        return found

    async def counts(self, wanted: int, *, within: float = 5) -> None:
        """Wait until so many run."""
        await eventually(lambda: len(self.alive()) == wanted, within=within)


async def eventually(holds: Callable[[], object], *, within: float = 5) -> None:
    """Wait for what announces itself to nobody, such as the death of somebody's process."""
    async with asyncio.timeout(within):
        while not holds():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)


def open_descriptors() -> set[str]:
    """Give what this process has open, as `fd -> target`."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the listing's own
            found.add(f"{entry.name} -> {entry.readlink()}")
    return found


@asynccontextmanager
async def gateway(scene: Scene, script: str) -> AsyncIterator[Process]:
    """Run a gateway in a process of its own, from when its server says that it is up."""
    before = set(procfs.children())
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.servers.rt_gateway", scene.mark, script),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=DEVNULL,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(10):
            assert await process.stdout.readline() == b"up\n"
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await scene.counts(0)
        await eventually(lambda: reaped_adopted() <= before)


def reaped_adopted() -> set[int]:
    """Reap what a killed gateway left to this process, which adopts orphans as well."""
    orphans.reap_unclaimed(orphans.reap_unclaimed(frozenset()))
    return set(procfs.children())


def environ(pid: int) -> bytes:
    return procfs.environment(pid).get(b"RT_MARK", b"")


@pytest.fixture
def receiver() -> Recorder:
    return Recorder()


@pytest.fixture
def scene() -> Iterator[Scene]:
    """Nothing it started outlives the test: that is a claim of every test here."""
    scene = Scene()
    before = set(procfs.children())
    yield scene
    leaked = scene.alive()
    zombies = set(procfs.children()) - before - set(leaked)
    for pid in leaked:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert not leaked
    assert not zombies


@pytest.fixture
def runtime(tmp_path: Path) -> NativeRuntime:
    return NativeRuntime(Config(base_dir=tmp_path, tools_root=tmp_path / "tools"))
