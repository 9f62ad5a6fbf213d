import asyncio
import errno
import os
import signal
import time

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


async def test_what_is_written_arrives_and_what_it_answers_is_received(
    runtime: NativeRuntime, receiver: Recorder, scene: Scene
) -> None:
    async with runtime.start(scene.shell(ECHO), receiver) as instance:
        instance.write(b"hello\n")
        await receiver.received(b"hello\n")


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


async def test_the_last_words_after_the_end_of_stdin_are_received(
    runtime: NativeRuntime, receiver: Recorder, scene: Scene
) -> None:
    async with runtime.start(scene.shell("cat >/dev/null; echo bye", timeouts=PATIENT), receiver):
        pass
    assert bytes(receiver.data) == b"bye\n"


async def test_what_is_queued_still_reaches_a_server_that_is_being_stopped(
    runtime: NativeRuntime, receiver: Recorder, scene: Scene
) -> None:
    async with runtime.start(scene.shell("sleep 0.2; wc -c", timeouts=PATIENT), receiver) as it:
        it.write(b"x" * MIB)
    assert bytes(receiver.data).strip() == str(MIB).encode()


async def test_writing_to_an_exited_server_says_how_it_ended(
    runtime: NativeRuntime, receiver: Recorder, scene: Scene
) -> None:
    async with runtime.start(scene.shell("echo broken >&2; exit 3"), receiver) as instance:
        await receiver.ended()
        for message in (b"x", b"y"):
            with pytest.raises(InstanceExited, match=r"srv: .*exited with code 3.*srv#1") as caught:
                instance.write(message)
            assert caught.value.stderr == ("broken",)
        with pytest.raises(InstanceExited):
            await instance.drain()


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


async def test_a_writer_waits_for_a_server_that_does_not_read(
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


async def test_a_writer_goes_on_when_the_server_reads_again(
    runtime: NativeRuntime, receiver: Recorder, scene: Scene
) -> None:
    async with runtime.start(scene.shell("sleep 0.2; wc -c", timeouts=PATIENT), receiver) as it:
        async with asyncio.timeout(10):
            for _ in range(64):
                await it.drain()
                it.write(b"x" * 64 * 1024)
    assert bytes(receiver.data).strip() == str(64 * 64 * 1024).encode()


async def test_long_messages_both_ways_at_once_do_not_deadlock(
    runtime: NativeRuntime, receiver: Recorder, scene: Scene
) -> None:
    size = 5 * MIB
    async with runtime.start(scene.python("exchange", str(size)), receiver) as instance:
        instance.write(b"y" * size + b"\n")
        await receiver.received(f"read {size + 1}\n".encode())
    assert receiver.data.count(b"x") == size


async def test_many_small_messages_arrive_whole_and_in_order(
    runtime: NativeRuntime, receiver: Recorder, scene: Scene
) -> None:
    lines = [b"%d\n" % number for number in range(50_000)]
    async with runtime.start(scene.spec("cat"), receiver) as instance:
        for line in lines:
            instance.write(line)
        await receiver.until(lambda: len(receiver.data) == sum(map(len, lines)))
    assert bytes(receiver.data) == b"".join(lines)


async def test_partial_lines_are_passed_on_at_once(
    runtime: NativeRuntime, receiver: Recorder, scene: Scene
) -> None:
    async with runtime.start(scene.shell("printf half; read -r l; echo done"), receiver) as it:
        await receiver.received(b"half")
        it.write(b"\n")
        await receiver.received(b"halfdone\n")


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


@pytest.mark.parametrize(
    ("ignored", "code", "at_least", "at_most"),
    [
        ((), -signal.SIGTERM, 0.3, 1.5),
        (("SIGTERM",), -signal.SIGKILL, 0.6, 2.0),
    ],
)
async def test_a_server_that_ignores_the_end_of_stdin_is_ended_by_signals_in_time(
    runtime: NativeRuntime,
    receiver: Recorder,
    scene: Scene,
    ignored: tuple[str, ...],
    code: int,
    at_least: float,
    at_most: float,
) -> None:
    async with runtime.start(scene.python("stubborn", *ignored), receiver):
        await receiver.received(b"ready")
        begun = time.monotonic()
    assert at_least <= time.monotonic() - begun <= at_most
    assert receiver.exit.code == code


async def test_kill_ends_a_stubborn_server_at_once(
    runtime: NativeRuntime, receiver: Recorder, scene: Scene
) -> None:
    spec = scene.python("stubborn", "SIGTERM", timeouts=PATIENT)
    async with runtime.start(spec, receiver) as instance:
        await receiver.received(b"ready")
        instance.kill()
        assert (await receiver.ended()).reason == "was killed by SIGKILL"
    instance.kill()  # harmless afterwards


async def test_cancelling_the_user_stops_the_instance(
    runtime: NativeRuntime, receiver: Recorder, scene: Scene
) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2), runtime.start(scene.spec("cat"), receiver):
            await asyncio.Event().wait()
    assert receiver.exit.code == 0


async def test_cancelling_a_stop_does_not_cut_it_short(
    runtime: NativeRuntime, receiver: Recorder, scene: Scene
) -> None:
    with pytest.raises(TimeoutError):
        async with (
            asyncio.timeout(None) as deadline,
            runtime.start(scene.python("stubborn", "SIGTERM"), receiver),
        ):
            await receiver.received(b"ready")
            deadline.reschedule(asyncio.get_running_loop().time() + 0.1)
    assert receiver.exit.code == -signal.SIGKILL


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
