"""What every runtime does alike: processes, containers, and both through the runner."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from mcpgw.config.schema import Timeouts
from mcpgw.errors import InstanceExited, StartFailed
from mcpgw.units import MIB, Seconds
from tests.runtimes.conftest import Recorder, Scene
from tests.runtimes.worlds import WORLDS, World, open_world
from tests.testbed.engine import Engine
from tests.testbed.images import BUSYBOX

PATIENT = Timeouts(stop=Seconds(30), term=Seconds(30))
"""For stops that must not need their timeouts."""

ECHO = "while read -r line; do echo $line; done"


@pytest.fixture(
    params=[
        pytest.param(name, marks=_marks)
        for name, _marks in (
            (name, pytest.mark.docker if "container" in name else ()) for name in WORLDS
        )
    ]
)
async def world(
    request: pytest.FixtureRequest, tmp_path: Path, scene: Scene
) -> AsyncIterator[World]:
    """A runtime that leaves nothing behind: that is a claim of every test here."""
    engine: Engine | None = None
    if request.param.endswith("container"):
        engine = request.getfixturevalue("engine")
        if (why := BUSYBOX.obstacle()) is not None:
            pytest.skip(why)
        engine.load(BUSYBOX)
    async with open_world(request.param, tmp_path, engine, scene.mark) as world:
        yield world
    if engine is not None and world.containers is not None:
        assert engine.containers(run=world.containers.engine.run) == []


async def test_what_is_written_arrives_and_what_it_answers_is_received(
    world: World, receiver: Recorder
) -> None:
    async with world.start(world.shell(ECHO), receiver) as instance:
        assert instance.label == "srv#1"
        instance.write(b"hello\n")
        await receiver.received(b"hello\n")


@pytest.mark.parametrize(
    ("script", "reason", "code"),
    [
        ("exit 0", "exited with code 0", 0),
        ("exit 3", "exited with code 3", 3),
        ("kill -SEGV $$", "was killed by SIGSEGV", -signal.SIGSEGV),
        ("kill -KILL $$", "was killed by SIGKILL", -signal.SIGKILL),
    ],
)
async def test_an_exit_is_told_once_with_its_reason_and_code(
    world: World, receiver: Recorder, script: str, reason: str, code: int
) -> None:
    async with world.start(world.shell(script), receiver):
        exit = await receiver.ended()
        assert (exit.reason, exit.code) == (reason, code)


async def test_everything_written_before_an_exit_is_received_and_stderr_quoted(
    world: World, receiver: Recorder
) -> None:
    script = f"head -c {5 * MIB} /dev/zero; echo oops >&2; echo why >&2; exit 1"
    async with world.start(world.shell(script), receiver):
        exit = await receiver.ended(within=30)
    assert len(receiver.data) == 5 * MIB
    assert exit.stderr == ("oops", "why")


async def test_the_last_words_after_the_end_of_stdin_are_received(
    world: World, receiver: Recorder
) -> None:
    spec = world.shell("cat >/dev/null; echo bye", timeouts=PATIENT)
    async with world.start(spec, receiver):
        pass
    assert bytes(receiver.data) == b"bye\n"
    assert receiver.exit.reason == "exited with code 0"


async def test_what_is_queued_still_reaches_a_server_that_is_being_stopped(
    world: World, receiver: Recorder
) -> None:
    async with world.start(world.shell("sleep 0.2; wc -c", timeouts=PATIENT), receiver) as it:
        it.write(b"x" * MIB)
    assert bytes(receiver.data).strip() == str(MIB).encode()


async def test_writing_to_an_exited_server_says_how_it_ended(
    world: World, receiver: Recorder
) -> None:
    async with world.start(world.shell("echo broken >&2; exit 3"), receiver) as instance:
        await receiver.ended()
        for message in (b"x", b"y"):
            with pytest.raises(InstanceExited, match=r"srv: .*exited with code 3.*srv#1") as caught:
                instance.write(message)
            assert caught.value.stderr == ("broken",)
        with pytest.raises(InstanceExited):
            await instance.drain()


async def test_a_writer_waits_for_a_server_that_does_not_read(
    world: World, receiver: Recorder
) -> None:
    async with world.start(world.shell("exec sleep 1000"), receiver) as instance:
        with pytest.raises(TimeoutError):
            for _ in range(256):  # an engine takes some as well, but not without end
                instance.write(b"x" * 64 * 1024)
                async with asyncio.timeout(0.2):
                    await instance.drain()
        assert instance.congested
        instance.kill()
        with pytest.raises(InstanceExited):
            async with asyncio.timeout(10):
                await instance.drain()
        assert (await receiver.ended()).reason == "was killed by SIGKILL"


async def test_a_writer_goes_on_when_the_server_reads_again(
    world: World, receiver: Recorder
) -> None:
    async with world.start(world.shell("sleep 0.2; wc -c", timeouts=PATIENT), receiver) as it:
        async with asyncio.timeout(20):
            for _ in range(64):
                await it.drain()
                it.write(b"x" * 64 * 1024)
    assert bytes(receiver.data).strip() == str(64 * 64 * 1024).encode()


async def test_long_messages_both_ways_at_once_do_not_deadlock(
    world: World, receiver: Recorder
) -> None:
    size = 20 * MIB
    async with world.start(world.python("exchange", str(size)), receiver) as instance:
        instance.write(b"y" * size + b"\n")
        await receiver.received(f"read {size + 1}\n".encode(), within=60)
    assert receiver.data.count(b"x") == size


async def test_many_small_messages_arrive_whole_and_in_order(
    world: World, receiver: Recorder
) -> None:
    lines = [b"%d\n" % number for number in range(20_000)]
    async with world.start(world.shell("exec cat"), receiver) as instance:
        for line in lines:
            instance.write(line)
        await receiver.until(lambda: len(receiver.data) == sum(map(len, lines)), within=60)
    assert bytes(receiver.data) == b"".join(lines)


async def test_partial_lines_are_passed_on_at_once(world: World, receiver: Recorder) -> None:
    async with world.start(world.shell("printf half; read -r l; echo done"), receiver) as it:
        await receiver.received(b"half")
        it.write(b"\n")
        await receiver.received(b"halfdone\n")


@pytest.mark.parametrize(
    ("ignored", "code", "at_least", "at_most"),
    [
        ((), -signal.SIGTERM, 0.3, 3),
        (("SIGTERM",), -signal.SIGKILL, 0.6, 3.5),
    ],
)
async def test_a_server_that_ignores_the_end_of_stdin_is_ended_by_signals_in_time(
    world: World,
    receiver: Recorder,
    ignored: tuple[str, ...],
    code: int,
    at_least: float,
    at_most: float,
) -> None:
    async with world.start(world.python("stubborn", *ignored), receiver):
        await receiver.received(b"ready")
        begun = time.monotonic()
    assert at_least <= time.monotonic() - begun <= at_most
    assert receiver.exit.code == code


async def test_kill_ends_a_stubborn_server_at_once(world: World, receiver: Recorder) -> None:
    spec = world.python("stubborn", "SIGTERM", timeouts=PATIENT)
    async with world.start(spec, receiver) as instance:
        await receiver.received(b"ready")
        instance.kill()
        assert (await receiver.ended()).reason == "was killed by SIGKILL"
        instance.kill()  # harmless afterwards


async def test_kill_ends_a_server_that_floods(world: World, receiver: Recorder) -> None:
    async with world.start(world.shell("exec yes", timeouts=PATIENT), receiver) as instance:
        await receiver.received(b"y\ny\n")
        instance.kill()
        await receiver.ended(within=20)


async def test_cancelling_the_user_stops_the_instance(world: World, receiver: Recorder) -> None:
    started = asyncio.Event()

    async def use() -> None:
        async with world.start(world.shell("exec cat", timeouts=PATIENT), receiver):
            started.set()
            await asyncio.Event().wait()

    await _cancelled_once(started, use)
    assert receiver.exit.code == 0


async def test_cancelling_a_stop_does_not_cut_it_short(world: World, receiver: Recorder) -> None:
    stopping = asyncio.Event()

    async def use() -> None:
        async with world.start(world.python("stubborn", "SIGTERM"), receiver):
            await receiver.received(b"ready")
            stopping.set()

    await _cancelled_once(stopping, use)
    assert receiver.exit.code == -signal.SIGKILL


async def test_cancelling_a_start_leaves_nothing(world: World, receiver: Recorder) -> None:
    for turns in range(8):

        async def use() -> None:
            async with world.start(world.shell("exec cat", timeouts=PATIENT), Recorder()):
                await asyncio.Event().wait()

        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            task = group.create_task(use())
            for _ in range(3**turns if turns < 6 else 300 * turns):
                await asyncio.sleep(0)
            task.cancel()


async def test_a_program_that_is_not_there_is_a_clear_failure(
    world: World, receiver: Recorder
) -> None:
    fields = {"entrypoint": ("/nowhere",)} if world.contained else {"cmd": "/nowhere"}
    spec = world.shell(ECHO).model_copy(update=fields)
    if world.contained:  # its init starts, and says that it found no program
        async with world.start(spec, receiver):
            exit = await receiver.ended()
        assert exit.code == 127
        assert "/nowhere" in exit.stderr[-1]
    else:
        with pytest.raises(StartFailed, match=r"^srv: there is no program /nowhere"):
            async with world.start(spec, receiver):
                pass


async def test_many_instances_at_once(world: World) -> None:
    async def use(receiver: Recorder) -> None:
        async with world.start(world.shell(ECHO, timeouts=PATIENT), receiver) as instance:
            instance.write(b"ping\n")
            await receiver.received(b"ping\n", within=60)

    async with asyncio.timeout(90), asyncio.TaskGroup() as group:
        for _ in range(12):
            group.create_task(use(Recorder()))


async def _cancelled_once(
    happened: asyncio.Event, use: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        task = group.create_task(use())
        await happened.wait()
        await asyncio.sleep(0)
        task.cancel()
