import asyncio
import errno
import os
import signal

import pytest

from mcpgw.config.schema import Timeouts
from mcpgw.errors import InstanceExited
from mcpgw.runtimes import procfs
from mcpgw.runtimes.native import NativeRuntime
from mcpgw.runtimes.pipes import HIGH_WATER
from mcpgw.units import MIB, Seconds
from tests.runtimes.conftest import Recorder, Scene, open_descriptors

PATIENT = Timeouts(stop=Seconds(30), term=Seconds(30))
"""For stops that must not need their timeouts."""

ECHO = "while read -r line; do echo $line; done"


async def test_labels_count_the_instances_of_each_tool(
    runtime: NativeRuntime, scene: Scene
) -> None:
    labels = []
    for name in ("a", "b", "a"):
        async with runtime.start(scene.shell(ECHO, name=name), Recorder()) as instance:
            labels.append(instance.label)
    assert labels == ["a#1", "b#1", "a#2"]


@pytest.mark.parametrize(
    ("script", "reason", "code"),
    [
        ("exit 0", "exited with code 0", 0),
        ("exit 3", "exited with code 3", 3),
        ("kill -SEGV $$", "was killed by SIGSEGV", -signal.SIGSEGV),
        ("kill -KILL $$", "was killed by SIGKILL", -signal.SIGKILL),
        ("exec >&-; exec sleep 1000", "closed its stdout", None),
    ],
)
async def test_an_end_is_reported_with_its_reason(
    runtime: NativeRuntime,
    receiver: Recorder,
    scene: Scene,
    script: str,
    reason: str,
    code: int | None,
) -> None:
    async with runtime.start(scene.shell(script), receiver):
        exit = await receiver.ended()
    assert (exit.reason, exit.code) == (reason, code)


async def test_ends_are_learnt_without_pidfds_too(
    monkeypatch: pytest.MonkeyPatch, runtime: NativeRuntime, receiver: Recorder, scene: Scene
) -> None:
    """Old kernels and other systems have none; here the system is made to refuse one."""
    monkeypatch.setattr(os, "pidfd_open", refuse)
    async with runtime.start(scene.shell("read -r l; exit 3"), receiver) as instance:
        instance.write(b"\n")
        assert (await receiver.ended()).reason == "exited with code 3"


def refuse(pid: int) -> int:
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


async def test_everything_it_wrote_comes_before_the_report_of_its_exit(
    runtime: NativeRuntime, receiver: Recorder, scene: Scene
) -> None:
    script = f"head -c {5 * MIB} /dev/zero; echo oops >&2; printf why >&2; exit 1"
    async with runtime.start(scene.shell(script), receiver):
        exit = await receiver.ended()
    assert len(receiver.data) == 5 * MIB
    assert exit.stderr == ("oops", "why")


async def test_a_report_does_not_wait_for_a_descendant_that_holds_stdout(
    runtime: NativeRuntime, receiver: Recorder, scene: Scene
) -> None:
    async with runtime.start(scene.shell("sleep 1000 & echo bye; exit 4"), receiver):
        exit = await receiver.ended(within=3)
        assert exit.reason == "exited with code 4"
        assert bytes(receiver.data) == b"bye\n"


async def test_a_stop_is_reported_once_too(
    runtime: NativeRuntime, receiver: Recorder, scene: Scene
) -> None:
    async with runtime.start(scene.shell(ECHO, timeouts=PATIENT), receiver):
        assert not receiver.exits
    assert receiver.exit.reason == "exited with code 0"


async def test_a_server_that_closes_its_stdin_is_lost(
    runtime: NativeRuntime, receiver: Recorder, scene: Scene
) -> None:
    script = "exec <&-; echo closed; exec sleep 1000"
    async with runtime.start(scene.shell(script), receiver) as instance:
        await receiver.received(b"closed")
        with pytest.raises(InstanceExited, match="closed its stdin"):
            instance.write(b"x")
        assert (await receiver.ended()).reason == "closed its stdin"


async def test_a_server_that_closes_its_stdin_with_messages_queued_is_lost(
    runtime: NativeRuntime, receiver: Recorder, scene: Scene
) -> None:
    script = "echo ready; read -r line; exec <&-; exec sleep 1000"
    async with runtime.start(scene.shell(script), receiver) as instance:
        await receiver.received(b"ready")
        instance.write(b"x" * MIB + b"\n")
        instance.write(b"x" * MIB + b"\n")
        with pytest.raises(InstanceExited):
            async with asyncio.timeout(5):
                await instance.drain()
        assert (await receiver.ended()).reason == "closed its stdin"


async def test_no_more_is_queued_for_a_server_that_does_not_read_than_should_be(
    runtime: NativeRuntime, receiver: Recorder, scene: Scene
) -> None:
    async with runtime.start(scene.shell("exec sleep 1000"), receiver) as instance:
        sent = 0
        while not instance.congested:
            instance.write(b"x" * 4096)
            sent += 4096
        assert sent <= 64 * 1024 + HIGH_WATER + 2 * 4096
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await instance.drain()
        instance.kill()
        with pytest.raises(InstanceExited):
            await instance.drain()


async def test_a_server_inherits_nothing_but_its_three_pipes(
    runtime: NativeRuntime, receiver: Recorder, scene: Scene
) -> None:
    inherited = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(inherited, True)
    try:
        async with runtime.start(scene.shell("ls -l /proc/self/fd; echo end"), receiver):
            await receiver.received(b"end")
    finally:
        os.close(inherited)
    targets = [line.split()[-1] for line in receiver.data.decode().splitlines() if "->" in line]
    assert len([t for t in targets if t.startswith("pipe:")]) == 3
    assert len(targets) == 4  # and the folder that ls itself has open


async def test_a_server_leads_its_own_session_so_that_ctrl_c_misses_it(
    runtime: NativeRuntime, receiver: Recorder, scene: Scene
) -> None:
    async with runtime.start(scene.shell("echo $$; cat"), receiver):
        await receiver.received(b"\n")
        pid = int(receiver.data)
        status = procfs.status(pid)
        assert status is not None
        assert status.session == status.group == pid


async def test_a_server_that_obeys_the_end_of_stdin_gets_no_signal(
    runtime: NativeRuntime, receiver: Recorder, scene: Scene
) -> None:
    async with runtime.start(scene.spec("cat", timeouts=PATIENT), receiver):
        pass
    assert receiver.exit.code == 0


async def test_a_cancellation_that_is_pending_at_the_start_leaves_nothing(
    runtime: NativeRuntime, receiver: Recorder, scene: Scene
) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with runtime.start(scene.spec("cat"), receiver):
            await asyncio.sleep(0)
    task.uncancel()
    assert receiver.exit.code == 0


async def test_a_hundred_instances_at_once_leave_no_descriptor(
    runtime: NativeRuntime, scene: Scene
) -> None:
    async def use(receiver: Recorder) -> None:
        async with runtime.start(scene.shell(ECHO, timeouts=PATIENT), receiver) as instance:
            instance.write(b"ping\n")
            await receiver.received(b"ping\n", within=30)

    await use(Recorder())  # opens what the loop keeps for itself
    before = open_descriptors()
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for _ in range(100):
            group.create_task(use(Recorder()))
    assert open_descriptors() == before


async def test_one_runtime_holds_no_descriptor_for_a_failed_start(
    runtime: NativeRuntime, scene: Scene
) -> None:
    before = open_descriptors()
    for _ in range(3):
        with pytest.raises(Exception, match="srv"):
            async with runtime.start(scene.spec("/nowhere/at-all"), Recorder()):
                pass
    assert open_descriptors() == before
