"""The runner: what it refuses, and what happens when either side goes away."""

import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.containers.conftest import eventually
from tests.testbed.engine import Engine
from tests.testbed.gateway import Gateway, running_gateway
from tests.testbed.images import BUSYBOX, PYTHON, Image
from tests.testbed.runner import Runner, running_runner, socket_path
from tests.testbed.wire import call_echo

pytestmark = pytest.mark.docker

NOBODY = 65534


class Setup:
    """One configuration, for both sides."""

    def __init__(self, folder: Path, engine: Engine, image: Callable[[Image], str]) -> None:
        self.installation = f"t-{secrets.token_hex(4)}"
        self.path = socket_path()
        self.engine = engine
        server = "/app/servers/wire_server.py"
        tools: dict[str, Any] = {
            "boxed": {
                "runtime": "container",
                "image": image(PYTHON),
                "args": [server, "modern"],
                "mode": "daemon",
                "daemon": {"max": 1},
            },
            "deaf": {
                "runtime": "container",
                "image": image(BUSYBOX),
                "entrypoint": ["sh", "-c", "trap '' TERM; while :; do sleep 9 & wait $!; done"],
                "timeouts": {"stop": "300ms", "term": "300ms"},
                "launcher": {"max": 1},
            },
            "local": {"cmd": "mcpgw", "args": ["demo-server"], "mode": "daemon"},
        }
        config = {"docker_host": engine.host, "installation": self.installation, "tools": tools}
        self.config = folder / "config.yaml"
        self.config.write_text(json.dumps({**config, "runner": {"socket": str(self.path)}}))

    def containers(self) -> list[dict[str, Any]]:
        return self.engine.containers(installation=self.installation)

    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.settimeout(20)
        sock.connect(str(self.path))
        return sock

    def ask(self, message: object) -> dict[str, Any]:
        with self.connect() as sock:
            return self.say(sock, message)

    def say(self, sock: socket.socket, message: object) -> dict[str, Any]:
        sock.send(message if isinstance(message, bytes) else json.dumps(message).encode())
        data, fds, _, _ = socket.recv_fds(sock, 65536, 3)
        for fd in fds:
            os.close(fd)
        answer: dict[str, Any] = json.loads(data) if data else {"closed": True}
        return answer


@pytest.fixture
def setup(tmp_path: Path, engine: Engine, image: Callable[[Image], str]) -> Iterator[Setup]:
    setup = Setup(tmp_path, engine, image)
    yield setup
    assert setup.containers() == []


@pytest.fixture
def runner(setup: Setup) -> Iterator[Runner]:
    with running_runner(setup.config, path=setup.path) as runner:
        yield runner


def test_it_tells_what_it_runs(setup: Setup, runner: Runner) -> None:
    status = setup.ask({"status": True})["status"]
    assert status["tools"]["boxed"] == {"runtime": "container", "instances": 0}
    assert status["engine"] == setup.engine.host
    with setup.connect() as sock:
        assert "started" in setup.say(sock, {"start": "local"})
        assert setup.ask({"status": True})["status"]["tools"]["local"]["instances"] == 1


def test_it_starts_nothing_but_what_is_configured(setup: Setup, runner: Runner) -> None:
    failed = setup.ask({"start": "other"})["failed"]
    assert failed["kind"] == "StartFailed"
    assert "knows no tool 'other'" in failed["text"]


def test_nothing_about_a_tool_can_be_chosen(setup: Setup, runner: Runner) -> None:
    wish = {
        "image": "evil",
        "args": ["sh"],
        "user": "0",
        "mounts": [{"path": "/"}],
        "env": {"A": "1"},
    }
    with setup.connect() as sock:
        assert "started" in setup.say(sock, {"start": "boxed", **wish})
        [found] = setup.containers()
        body = setup.engine.inspect(found["Id"])
        assert found["Image"] == PYTHON.tag
        assert body["Config"]["User"] != "0"
        assert body["Mounts"] == []
        assert not any(line.startswith("A=") for line in body["Config"]["Env"])


@pytest.mark.parametrize(
    "message",
    [b"garbage", b"[]", b"{}", b'{"start": 1}', b'{"start": {"image": "x"}}', b"x" * 70000],
)
def test_what_it_does_not_understand_ends_the_connection(
    setup: Setup, runner: Runner, message: bytes
) -> None:
    assert setup.ask(message) == {"closed": True}
    assert "status" in setup.ask({"status": True})


def test_descriptors_that_are_sent_to_it_are_closed(setup: Setup, runner: Runner) -> None:
    with Path(os.devnull).open() as file:
        for _ in range(50):
            with setup.connect() as sock:
                socket.send_fds(sock, [b'{"status": true}'], [file.fileno()] * 3)
                assert sock.recv(65536)
    opened = list(Path(f"/proc/{runner.process.pid}/fd").iterdir())
    assert len(opened) < 40


def test_no_more_than_a_gateway_could_need_run_at_once(setup: Setup, runner: Runner) -> None:
    socks = [setup.connect() for _ in range(5)]
    try:
        answers = [setup.say(sock, {"start": "local"}) for sock in socks]
        assert all("started" in answer for answer in answers)
        more = [setup.connect() for _ in range(6)]
        socks += more
        last = [setup.say(sock, {"start": "local"}) for sock in more][-1]
        assert "the runner runs 10 of it already" in last["failed"]["text"]
    finally:
        for sock in socks:
            sock.close()


PROBE = """
import socket, sys, os
os.setgid({gid}); os.setgroups([]); os.setuid({uid})
sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
sock.settimeout(10)
sock.connect(sys.argv[1])
sock.send(b'{{"status": true}}')
print("answered" if sock.recv(65536) else "closed")
"""


def probe(path: Path, *, uid: int, gid: int) -> str:
    program = PROBE.format(uid=uid, gid=gid)
    done = subprocess.run(
        ["/usr/bin/python3", "-c", program, str(path)], capture_output=True, text=True, timeout=30
    )
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_only_those_who_may_ask_are_answered(setup: Setup) -> None:
    with running_runner(setup.config, path=setup.path):
        assert "Permission denied" in probe(setup.path, uid=NOBODY, gid=NOBODY)
    with running_runner(setup.config, "--group", str(NOBODY), path=setup.path) as runner:
        try:
            assert probe(setup.path, uid=NOBODY, gid=NOBODY) in REFUSED
        finally:
            assert runner.wait_for("runner.refused")["uid"] == NOBODY
    allowed = ("--group", str(NOBODY), "--allow-uid", str(NOBODY))
    with running_runner(setup.config, *allowed, path=setup.path):
        assert probe(setup.path, uid=NOBODY, gid=NOBODY) == "answered"


REFUSED = (
    "closed",
    "ConnectionResetError: [Errno 104] Connection reset by peer",
    "BrokenPipeError: [Errno 32] Broken pipe",
)
"""Depending on who is first."""


def test_a_second_runner_at_the_same_place_is_told_so(setup: Setup, runner: Runner) -> None:
    command = [sys.executable, "-m", "mcpgw", "runner", "--config", str(setup.config)]
    done = subprocess.run(
        [*command, "--socket", str(setup.path)], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 1
    assert f"mcpgw: cannot listen at {setup.path}: another runner does" in done.stderr
    assert "status" in setup.ask({"status": True})


def test_what_a_killed_runner_has_left_is_no_obstacle(setup: Setup) -> None:
    with running_runner(setup.config, path=setup.path) as first:
        first.process.kill()
        first.process.wait()
        assert setup.path.exists()
        with running_runner(setup.config, path=setup.path):
            assert "status" in setup.ask({"status": True})


def served(setup: Setup) -> str:
    return setup.config.read_text()


async def test_every_tool_is_run_by_the_runner(setup: Setup, runner: Runner) -> None:
    def check(gateway: Gateway) -> None:
        assert call_echo(gateway.url("boxed"), "one") == "one"
        assert call_echo(gateway.url("local"), "two") == "two"
        children = _children(gateway.process.pid)
        assert len(children) == 1  # the guard

    await asyncio.to_thread(_with_gateway, served(setup), check)


async def test_a_runner_that_goes_away_is_told_at_once_and_found_again(setup: Setup) -> None:
    def check(gateway: Gateway) -> None:
        with running_runner(setup.config, path=setup.path) as first:
            assert call_echo(gateway.url("boxed"), "one") == "one"
            first.process.kill()
            first.process.wait()
        with pytest.raises(AssertionError, match=r"-310(13|20)"):
            call_echo(gateway.url("boxed"), "two")
        with running_runner(setup.config, path=setup.path):
            assert call_echo(gateway.url("boxed"), "three", within=20) == "three"

    await asyncio.to_thread(_with_gateway, served(setup), check)
    await eventually(lambda: setup.containers() == [])


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_a_gateway_that_goes_away_leaves_no_instance_at_the_runner(
    setup: Setup, runner: Runner, how: signal.Signals
) -> None:
    def use() -> None:
        with pytest.raises(AssertionError), running_gateway(served(setup)) as gateway:
            assert call_echo(gateway.url("boxed"), "one") == "one"
            assert call_echo(gateway.url("local"), "two") == "two"
            assert len(setup.containers()) == 1
            gateway.process.send_signal(how)
            gateway.process.wait()
            raise AssertionError

    await asyncio.to_thread(use)
    await eventually(lambda: setup.containers() == [])
    await eventually(lambda: _instances(setup) == {"boxed": 0, "deaf": 0, "local": 0})


async def test_a_deaf_server_is_ended_when_its_gateway_goes(setup: Setup, runner: Runner) -> None:
    sock = setup.connect()
    assert "started" in setup.say(sock, {"start": "deaf"})
    assert len(setup.containers()) == 1
    sock.close()
    await eventually(lambda: setup.containers() == [])


def _instances(setup: Setup) -> dict[str, int]:
    tools = setup.ask({"status": True})["status"]["tools"]
    return {name: tool["instances"] for name, tool in tools.items()}


def _with_gateway(config: str, check: Callable[[Gateway], None]) -> None:
    with running_gateway(config) as gateway:
        check(gateway)


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
