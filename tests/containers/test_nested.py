"""mcpgw in a container itself: what it mounts is found by looking at its own mounts."""

import json
import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.testbed.engine import Engine
from tests.testbed.images import BUSYBOX, PYTHON, Image
from tests.testbed.parts import ROOT

pytestmark = pytest.mark.docker

SITE = Path(next(path for path in sys.path if path.endswith("site-packages")))


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """A folder of the host that is seen under another path inside."""
    folder = tmp_path / "host"
    (folder / "workspaces").mkdir(parents=True)
    yield folder


class Nested:
    """A runner in a container, with the engine's socket."""

    def __init__(self, engine: Engine, folder: Path, name: str) -> None:
        self.engine = engine
        self.folder = folder
        self.name = name

    def start(self, tool: str) -> dict[str, Any]:
        """Have it start a tool, and give its answer; what was started ends soon after."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            sock.settimeout(30)
            sock.connect(str(self.folder / "run.sock"))
            sock.send(json.dumps({"start": tool}).encode())
            answer: dict[str, Any] = json.loads(sock.recv(65536))
            return answer

    def log(self) -> str:
        return self.engine.docker("logs", self.name)


@contextmanager
def nested(engine: Engine, folder: Path, mounts: list[str], **settings: Any) -> Iterator[Nested]:
    name = f"mcpgw-test-{secrets.token_hex(4)}"
    tool = {
        "runtime": "container",
        "image": BUSYBOX.tag,
        "entrypoint": ["sh", "-c", "echo here > /workspaces/note; cat"],
        "user": "0",
        "workspace": "writer",
    }
    config = {"workspace_root": "/data/ws", "tools": {"writer": tool}, **settings}
    (folder / "config.json").write_text(json.dumps(config))
    binds = [
        *(f"{engine.path}:/var/run/docker.sock", f"{ROOT}:/src:ro", f"{SITE}:/site:ro"),
        *(f"{folder}:/shared", *mounts),
    ]
    options = [word for bind in binds for word in ("-v", bind)]
    engine.docker(
        *("run", "-d", "--name", name, "--network", "none", "-e", "PYTHONPATH=/src:/site"),
        *options,
        *("--entrypoint", "/usr/local/bin/python3", PYTHON.tag, "-s", "-m", "mcpgw", "runner"),
        *("--config", "/shared/config.json", "--socket", "/shared/run.sock"),
    )
    try:
        runner = Nested(engine, folder, name)
        until = time.monotonic() + 20
        while not (folder / "run.sock").exists():
            assert time.monotonic() < until, engine.docker("logs", name)
            time.sleep(0.05)
        yield runner
    finally:
        with suppress(AssertionError):
            engine.docker("stop", "-t", "10", name)
        engine.docker("rm", "-f", "-v", name)


@pytest.fixture
def ready(engine: Engine, image: Callable[[Image], str]) -> Engine:
    image(BUSYBOX)
    image(PYTHON)
    return engine


def note(folder: Path) -> str:
    until = time.monotonic() + 10
    while not (folder / "writer" / "note").exists():
        assert time.monotonic() < until
        time.sleep(0.02)
    return (folder / "writer" / "note").read_text()


def test_a_bind_under_another_path_is_translated(ready: Engine, shared: Path) -> None:
    with nested(ready, shared, [f"{shared}/workspaces:/data/ws"]) as runner:
        assert "started" in runner.start("writer")
        assert note(shared / "workspaces") == "here\n"
        assert f"the mounts of our own container {runner.name}" in runner.log()


def test_a_named_volume_is_found_and_only_the_tools_folder_of_it_mounted(
    ready: Engine, shared: Path
) -> None:
    volume = f"mcpgw-test-{secrets.token_hex(4)}"
    try:
        with nested(ready, shared, [f"{volume}:/data/ws"]) as runner:
            assert "started" in runner.start("writer")
            kept = Path(ready.ask("GET", f"/volumes/{volume}")[1]["Mountpoint"])
            assert note(kept) == "here\n"
            assert [entry.name for entry in kept.iterdir()] == ["writer"]
    finally:
        ready.ask("DELETE", f"/volumes/{volume}?force=1")


def test_what_is_on_no_mount_is_refused_with_what_to_do(ready: Engine, shared: Path) -> None:
    with nested(ready, shared, ["/data/ws"][:0], workspace_root="/tmp") as runner:
        text = runner.start("writer")["failed"]["text"]
        assert "inside the gateway's own container and on none of its mounts" in text
        assert "host_workspaces" in text


def test_what_is_configured_wins(ready: Engine, shared: Path) -> None:
    (shared / "elsewhere" / "writer").mkdir(parents=True)
    mounts = [f"{shared}/workspaces:/data/ws"]
    with nested(ready, shared, mounts, host_workspaces=f"{shared}/elsewhere") as runner:
        assert "started" in runner.start("writer")
        assert note(shared / "elsewhere") == "here\n"
        assert not (shared / "workspaces" / "writer" / "note").exists()


def test_it_leaves_nothing_when_its_container_is_killed_and_started_again(
    ready: Engine, shared: Path
) -> None:
    deaf = {
        "runtime": "container",
        "image": BUSYBOX.tag,
        "entrypoint": ["sh", "-c", "trap '' TERM; while :; do sleep 9 & wait $!; done"],
    }
    installation = f"t-{secrets.token_hex(4)}"
    settings = {"tools": {"deaf": deaf}, "installation": installation, "workspace_root": "/none"}
    with nested(ready, shared, [], **settings) as runner:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            sock.settimeout(30)
            sock.connect(str(shared / "run.sock"))
            sock.send(b'{"start": "deaf"}')
            assert b"started" in sock.recv(65536)
            ready.docker("kill", runner.name)  # the guard goes with the container
            assert len(ready.containers(installation=installation)) == 1
            (shared / "run.sock").unlink(missing_ok=True)
            ready.docker("start", runner.name)
        until = time.monotonic() + 20
        while ready.containers(installation=installation):
            assert time.monotonic() < until, runner.log()
            time.sleep(0.05)
