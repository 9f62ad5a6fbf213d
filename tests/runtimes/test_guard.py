import asyncio
import os
import signal
import subprocess
import sys
from asyncio.subprocess import PIPE
from contextlib import suppress
from pathlib import Path

import pytest
import structlog
from structlog.typing import EventDict

from mcpgw.runtimes import procfs
from mcpgw.runtimes.guard import open_guard
from mcpgw.runtimes.native import NativeRuntime
from tests.runtimes.conftest import (
    Recorder,
    Scene,
    eventually,
    gateway,
    open_descriptors,
    reaped_adopted,
)

HARD_TO_END = "trap '' TERM HUP; sleep 1000 & setsid sleep 1000 & echo up; sleep 1000; :"
"""Four processes, which mind neither the end of their stdin nor a polite signal."""


async def test_nothing_survives_the_killing_of_the_gateway(scene: Scene) -> None:
    async with gateway(scene, HARD_TO_END) as process:
        await scene.counts(4)
        [guard] = guards(process.pid)
        process.kill()
        await scene.counts(0)
    await gone(guard)


async def test_what_a_killed_gateway_and_guard_left_is_swept_by_the_next(scene: Scene) -> None:
    async with gateway(scene, HARD_TO_END) as process:
        await scene.counts(4)
        [guard] = guards(process.pid)
        os.kill(process.pid, signal.SIGSTOP)  # so that it starts no other guard
        os.kill(guard, signal.SIGKILL)
        process.kill()
        await process.wait()
        await scene.counts(4)
        with structlog.testing.capture_logs() as logs:
            async with open_guard():
                await scene.counts(0)
                await eventually(lambda: reported(logs))
    assert reported(logs) == {"srv#1"}


async def test_a_guard_leaves_living_gateways_alone(
    runtime: NativeRuntime, receiver: Recorder, scene: Scene
) -> None:
    async with gateway(scene, "echo up; cat; :"), runtime.start(scene.spec("cat"), receiver):
        await scene.counts(3)
        async with open_guard():
            await until_guarded()
            [guard] = guards(os.getpid())
            await swept(guard)
        await gone(guard)
        assert len(scene.alive()) == 3
        assert not receiver.exits


async def test_a_guard_that_dies_is_replaced(scene: Scene) -> None:
    with structlog.testing.capture_logs() as logs:
        async with open_guard():
            await until_guarded()
            [first] = guards(os.getpid())
            os.kill(first, signal.SIGKILL)
            await gone(first)
            await until_guarded()
    assert [e["reason"] for e in logs if e["event"] == "guard.exited"] == ["was killed by SIGKILL"]


@pytest.mark.parametrize(("last_words", "survivors"), [(b"", 0), (b"good", 0), (b"goodbye\n", 3)])
async def test_a_guard_that_hears_no_goodbye_ends_what_bears_its_mark(
    scene: Scene, last_words: bytes, survivors: int
) -> None:
    """Apart from a gateway, with a mark that the guards of this machine's gateways ignore."""
    before = set(procfs.children())
    environment = {procfs.OWNER_VARIABLE: scene.mark, "RT_MARK": scene.mark}
    marked = await asyncio.create_subprocess_shell(
        "sleep 1000 & sleep 1000; :", env=environment, start_new_session=True
    )
    try:
        await scene.counts(3)
        code = f"from mcpgw.runtimes.procfs import stand_guard; stand_guard({scene.mark!r})"
        guard = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdin=PIPE)
        async with asyncio.timeout(10):
            await guard.communicate(last_words)
        assert len(scene.alive()) == survivors
    finally:
        with suppress(ProcessLookupError):
            os.killpg(marked.pid, signal.SIGKILL)
        await marked.wait()
        await eventually(lambda: reaped_adopted() <= before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_guard_outlives_signals_meant_for_the_gateway(
    scene: Scene, number: signal.Signals
) -> None:
    async with open_guard():
        await until_guarded()
        [guard] = guards(os.getpid())
        await swept(guard)
        os.kill(guard, number)
        await asyncio.sleep(0.05)
        assert guards(os.getpid()) == [guard]


async def test_leaving_a_guard_leaves_nothing(scene: Scene) -> None:
    before = open_descriptors()
    async with open_guard():
        await until_guarded()
    assert guards(os.getpid()) == []
    assert open_descriptors() == before


@pytest.mark.parametrize(
    ("marker", "orphaned"),
    [
        ("1:1:{namespace}", True),  # the process exists, but started at another time
        ("4194305:1:{namespace}", True),  # beyond any process id
        ("{self}", False),
        ("1:1:7", False),  # another namespace: its process ids mean nothing here
        ("nonsense", False),
        ("1:-1:x", False),
        ("", False),
    ],
)
def test_only_gateways_of_this_namespace_that_are_gone_count_as_gone(
    marker: str, orphaned: bool
) -> None:
    own = procfs.owner()
    namespace = int(own.rpartition(":")[2])
    marker = marker.format(namespace=namespace, self=own)
    assert procfs.is_orphaned(marker, namespace) is orphaned


def test_a_gateway_that_is_dead_but_not_reaped_counts_as_gone() -> None:
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    status = procfs.status(child.pid)
    assert status is not None
    assert procfs.is_orphaned(f"{child.pid}:{status.started}:1", 1)
    child.wait()


def test_a_program_name_with_brackets_and_blanks_does_not_mislead() -> None:
    fields = b" ".join([b"S 1 2 3", *[b"0"] * 15, b"99", b"0"])
    status = procfs.Status(b"7 (a) b (c) ) " + fields)
    assert (status.parent, status.group, status.session, status.started) == (1, 2, 3, 99)


def guards(gateway_pid: int) -> list[int]:
    marker = f"stand_guard']('{gateway_pid}:".encode()
    return [pid for pid in procfs.pids() if marker in _command(pid)]


def reported(logs: list[EventDict]) -> set[str]:
    return {entry["instance"] for entry in logs if entry["event"] == "orphan.killed"}


async def until_guarded() -> None:
    await eventually(lambda: guards(os.getpid()))


async def swept(guard: int) -> None:
    """Wait until the guard has finished its first sweep: it closes its stdout then."""
    await eventually(lambda: not Path(f"/proc/{guard}/fd/1").exists())


async def gone(pid: int) -> None:
    await eventually(lambda: (status := procfs.status(pid)) is None or status.ended)


def _command(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""
