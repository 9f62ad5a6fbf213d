import asyncio
import os
import signal
import subprocess
from pathlib import Path

import pytest
import structlog

from mcpgw.config.schema import Timeouts
from mcpgw.runtimes import orphans, procfs
from mcpgw.runtimes.native import NativeRuntime
from tests.runtimes.conftest import Recorder, Scene, eventually, gateway


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("sleep 1000 & cat", id="child"),
        pytest.param("sh -c 'sleep 1000 & sleep 1000 & wait' & cat", id="grandchildren"),
        pytest.param("setsid sleep 1000 & cat", id="child in a session of its own"),
        pytest.param("setsid sh -c 'sleep 1000 & sleep 1000 & wait' & cat", id="session of three"),
        pytest.param("setsid -f env -u RT_MARK sleep 1000; cat", id="adopted daemon"),
        pytest.param("env -i sleep 1000 & cat", id="child without environment"),
        pytest.param("trap '' TERM; sleep 1000 & sleep 1000 & cat", id="deaf to SIGTERM"),
        pytest.param("setsid sh -c 'trap \"\" TERM; sleep 1000; :' & cat", id="deaf session"),
    ],
)
async def test_a_stop_ends_descendants_wherever_they_moved(
    runtime: NativeRuntime, receiver: Recorder, scene: Scene, script: str
) -> None:
    before = set(procfs.children())
    async with runtime.start(scene.shell(f"echo up; {script}"), receiver) as instance:
        await receiver.received(b"up")
        instance.write(b"all up\n")
        await receiver.received(b"all up")
    assert receiver.exit.code == 0
    assert scene.alive() == []
    assert set(procfs.children()) == before


async def test_a_descendant_is_found_while_it_changes_programs(
    runtime: NativeRuntime, scene: Scene, tmp_path: Path
) -> None:
    """Between two programs a process shows no environment; this one is always between two."""
    restless = tmp_path / "restless.sh"
    restless.write_text('exec sh "$0"')
    for _ in range(20):
        async with runtime.start(
            scene.shell(f"setsid -f sh {restless}; echo up; cat"), receiver := Recorder()
        ):
            await receiver.received(b"up")
        assert scene.alive() == []


async def test_a_daemon_forked_twice_ends_with_its_instance(
    runtime: NativeRuntime, receiver: Recorder, scene: Scene
) -> None:
    async with runtime.start(scene.python("daemon"), receiver):
        await receiver.received(b"daemon")
        await scene.counts(2)
    assert scene.alive() == []


async def test_descendants_of_a_server_that_died_by_itself_end_with_its_instance(
    runtime: NativeRuntime, receiver: Recorder, scene: Scene
) -> None:
    async with runtime.start(scene.shell("setsid -f sleep 1000; kill -9 $$"), receiver):
        await receiver.ended()
        await scene.counts(1)
    assert scene.alive() == []


async def test_descendants_get_the_chance_to_end_by_themselves(
    runtime: NativeRuntime, receiver: Recorder, scene: Scene
) -> None:
    script = "(trap 'echo cleaned; exit' TERM; echo up; while :; do sleep 0.01; done) & cat"
    async with runtime.start(scene.shell(script), receiver):
        await receiver.received(b"up")
    assert b"cleaned" in receiver.data


async def test_a_stop_leaves_the_descendants_of_other_instances_alone(
    runtime: NativeRuntime, scene: Scene
) -> None:
    script = "setsid -f sleep 1000; echo up; cat"
    first, second = Recorder(), Recorder()
    async with runtime.start(scene.shell(script), first):
        async with runtime.start(scene.shell(script), second):
            for receiver in (first, second):
                await receiver.received(b"up")
            await scene.counts(6)
        await scene.counts(3)
        assert not first.exits


async def test_escalation_is_logged_and_an_orderly_stop_is_not(
    runtime: NativeRuntime, scene: Scene
) -> None:
    with structlog.testing.capture_logs() as logs:
        async with runtime.start(scene.spec("cat"), Recorder()):
            pass
        assert [entry for entry in logs if entry["event"] == "instance.killed"] == []
        async with runtime.start(scene.python("stubborn"), receiver := Recorder()):
            await receiver.received(b"ready")
    [entry] = [entry for entry in logs if entry["event"] == "instance.killed"]
    assert (entry["log_level"], entry["signal"]) == ("warning", "SIGTERM")
    assert (entry["server"], entry["instance"]) == ("srv", "srv#2")


async def test_adopted_processes_that_end_are_reaped_while_the_instance_runs(
    monkeypatch: pytest.MonkeyPatch, runtime: NativeRuntime, receiver: Recorder, scene: Scene
) -> None:
    monkeypatch.setattr(orphans, "REAP_EVERY", 0.05)
    before = len(procfs.children())
    daemon = "setsid -f sh -c 'echo daemon'"
    async with runtime.start(scene.shell(f"{daemon}; {daemon}; echo up; cat"), receiver):
        await receiver.until(lambda: receiver.data.count(b"daemon") == 2 and b"up" in receiver.data)
        await eventually(lambda: len(procfs.children()) == before + 1)


async def test_reaping_outlasts_the_last_instance_until_nothing_is_left(
    monkeypatch: pytest.MonkeyPatch, runtime: NativeRuntime, receiver: Recorder, scene: Scene
) -> None:
    monkeypatch.setattr(orphans, "REAP_EVERY", 0.05)
    before = len(procfs.children())
    spec = scene.shell("setsid -f true; setsid -f true", timeouts=Timeouts())
    async with runtime.start(spec, receiver):
        await receiver.ended()
    await eventually(lambda: len(procfs.children()) == before)


async def test_the_exit_status_of_other_children_is_left_to_whoever_started_them(
    runtime: NativeRuntime, receiver: Recorder, scene: Scene
) -> None:
    own = dead_child(7)
    other = await asyncio.create_subprocess_exec("sleep", "0.2")
    async with runtime.start(scene.shell("sleep 1000 & cat"), receiver):
        orphans.reap_unclaimed(frozenset())
    assert own.wait() == 7
    assert await other.wait() == 0


async def test_the_exit_status_of_an_instance_is_left_to_the_instance(
    runtime: NativeRuntime, receiver: Recorder, scene: Scene
) -> None:
    async with runtime.start(scene.shell("echo $$; cat"), receiver):
        await receiver.received(b"\n")
        kill_unnoticed(int(receiver.data))
        orphans.reap_unclaimed(orphans.reap_unclaimed(frozenset()))
        assert (await receiver.ended()).reason == "was killed by SIGKILL"


def test_leftovers_of_nobody_cost_less_than_a_millisecond(scene: Scene) -> None:
    begun = os.times().user + os.times().system
    leftovers = orphans.Leftovers("srv#1", 2**22 + 1)
    for _ in range(200):
        assert not leftovers.find()
    assert os.times().user + os.times().system - begun < 0.2


async def test_signals_of_a_terminal_reach_the_gateway_only(scene: Scene) -> None:
    """Ctrl-C signals the whole foreground group, which is that of the gateway."""
    script = "trap 'echo hit' INT; echo up; while read -r l; do :; done; echo ended"
    async with gateway(scene, script) as parent:
        os.killpg(parent.pid, signal.SIGINT)
        assert parent.stdout is not None
        async with asyncio.timeout(10):
            assert await parent.stdout.read() == b"ended\n"


def kill_unnoticed(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def dead_child(code: int) -> "subprocess.Popen[bytes]":
    child = subprocess.Popen(["sh", "-c", f"exit {code}"], start_new_session=True)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    return child
