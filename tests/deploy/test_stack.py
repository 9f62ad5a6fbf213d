"""The stack of `compose.yaml`, started for real, with a client on the other side of it."""

import asyncio
import json
import os
import secrets
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.edge import KEY, Client, client_of, events, free_port, leave
from tests.testbed import find, why_not
from tests.testbed.engine import Engine
from tests.testbed.images import BUSYBOX, CADDY, PYTHON

pytestmark = [pytest.mark.docker, pytest.mark.long]

ROOT = Path(__file__).parents[2]
PATIENCE = 180.0
TOKEN = {"_meta": {"progressToken": "t"}}


class Stack:
    """A running stack."""

    def __init__(self, engine: Engine, compose: str, env: dict[str, str], folder: Path) -> None:
        self.engine = engine
        self.folder = folder
        self.port = int(env["MCPGW_PORT"])
        self._project = f"mcpgw-test-{secrets.token_hex(3)}"
        self._command = [compose, "-p", self._project, "--project-directory", str(folder)]
        self._env = {**os.environ, **env, "DOCKER_HOST": engine.host}

    def run(self, *words: str) -> str:
        """Run a command of Compose; give what it says."""
        done = subprocess.run(
            [*self._command, *words],
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stdout + self.logs()
        return done.stdout

    def logs(self) -> str:
        words = [*self._command, "logs", "--no-color", "--tail", "80"]
        return subprocess.run(words, env=self._env, capture_output=True, text=True).stdout

    def container(self, service: str) -> str:
        """Give the name of a service's container."""
        return f"{self._project}-{service}-1"

    def root_certificate(self) -> Path:
        """Give the certificate of Caddy's own authority, which clients have to trust."""
        name = self.container("caddy")
        inside = "/data/caddy/pki/authorities/local/root.crt"
        path = self.folder / "root.crt"
        path.write_text(self.engine.docker("exec", name, "cat", inside))
        return path


@pytest.fixture(scope="module")
def stack(engine: Engine, built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack as a clone has it, but with images that this machine can make."""
    place = find("compose")
    if place is None:
        pytest.skip(why_not("compose"))
    for image in (BUSYBOX, PYTHON, CADDY):
        if (why := image.obstacle()) is not None:
            pytest.skip(why)
        engine.load(image)
    folder = tmp_path_factory.mktemp("stack")
    shutil.copy(ROOT / "compose.yaml", folder)
    shutil.copy(ROOT / "Caddyfile", folder)
    _configure(folder)
    (folder / "key").write_text(f"{KEY}\n")
    env = {
        "MCPGW_KEY_FILE": str(folder / "key"),
        "MCPGW_PORT": str(free_port()),
        "MCPGW_PYZ": str(built),
        "MCPGW_IMAGE": PYTHON.tag,
        "MCPGW_NATIVE_IMAGE": PYTHON.tag,
        "CADDY_IMAGE": CADDY.tag,
        "DOCKER_SOCKET": str(engine.path),
    }
    stack = Stack(engine, str(place / "docker-compose"), env, folder)
    try:
        stack.run("up", "-d", "--wait", "--wait-timeout", "120")
        yield stack
    finally:
        stack.run("down", "-v", "--timeout", "20")
        assert engine.containers(installation="stack-test") == []


def _configure(folder: Path) -> None:
    """Take deploy/config.yaml, and add tools that can be run here."""
    text = (ROOT / "deploy" / "config.yaml").read_text()
    server = "/app/servers/wire_server.py"
    boxed: dict[str, Any] = {
        "runtime": "container",
        "image": PYTHON.tag,
        "args": [server, "modern"],
        "mode": "daemon",
        "daemon": {"max": 1},
    }
    own: dict[str, Any] = {
        "runtime": "container",
        "image": PYTHON.tag,
        "args": [server, "modern"],
        "launcher": {"warm": 1},
    }
    native = {
        "cmd": "/usr/local/bin/python3",
        "args": ["-I", "-S", server, "modern"],
        "mode": "daemon",
    }
    tools = json.dumps({"boxed": boxed, "own": own, "native": native})[1:-1]
    text = text.replace("tools:\n", "tools:\n  <<: {" + tools + "}\n", 1)
    text += "\ninstallation: stack-test\nkeep_alive: 200ms\n"
    (folder / "deploy").mkdir()
    (folder / "deploy" / "config.yaml").write_text(text)
    (folder / "workspaces").mkdir()


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[Client]:
    """A client that shows the key, over TLS."""
    root = await asyncio.to_thread(stack.root_certificate)
    async with client_of(root, stack.port, X_API_Key=KEY) as client:
        yield client


@pytest.mark.parametrize("tool", ["demo", "native", "boxed", "own"])
async def test_every_kind_of_tool_answers(client: Client, tool: str) -> None:
    async with asyncio.timeout(30):
        result = await client.call(f"/mcp/{tool}", "echo", text="hello")
        assert result["content"][0]["text"] == "hello"
        async with client.request(f"/mcp/{tool}", "tools/list", {}) as answer:
            assert answer.status == 200


async def test_without_the_key_nobody_is_let_in(stack: Stack) -> None:
    root = await asyncio.to_thread(stack.root_certificate)
    for shown in ({}, {"X_API_Key": "x" * 40}):
        async with client_of(root, stack.port, **shown) as client:
            assert (await client.get("/mcp/demo"))[0] == 401


@pytest.mark.parametrize("tool", ["native", "boxed"])
async def test_progress_streams_and_a_quiet_stream_stays_open(client: Client, tool: str) -> None:
    params = {"name": "hold", "arguments": {"key": "k", "steps": 1}, **TOKEN}
    async with (
        asyncio.timeout(30),
        client.request(f"/mcp/{tool}", "tools/call", params) as answer,
    ):
        comments = 0
        progressed = False
        async for said in events(answer):
            progressed = progressed or "notifications/progress" in said
            comments += said.startswith(":")
            if comments >= 5 and progressed:
                break
        await client.call(f"/mcp/{tool}", "release", key="k")
        assert any([True async for said in events(answer) if '"result"' in said])


@pytest.mark.parametrize("tool", ["native", "boxed"])
async def test_leaving_cancels_at_the_server(client: Client, tool: str) -> None:
    params = {"name": "hold", "arguments": {"key": "gone", "steps": 1}, **TOKEN}
    async with asyncio.timeout(30):
        answer = await client.request(f"/mcp/{tool}", "tools/call", params)
        await anext(events(answer))
        leave(answer)
        result = await client.call(f"/mcp/{tool}", "await_cancel")
        assert "gone" in result["content"][0]["text"]


def test_tools_run_where_they_should_and_see_what_they_should(stack: Stack) -> None:
    top = {
        service: stack.engine.docker("top", stack.container(service), "-eo", "pid,uid,args")
        for service in ("gateway", "runner", "native")
    }
    assert "wire_server" not in top["gateway"]
    assert "demo-server" not in top["gateway"]
    assert "wire_server" in top["native"]
    for service, uid in (("gateway", "10001"), ("native", "10002"), ("runner", "0")):
        uids = {line.split()[1] for line in top[service].splitlines()[1:]}
        assert uids == {uid}, top[service]
    boxes = stack.engine.containers(installation="stack-test")
    assert {c["Labels"]["io.mcpgw.server"] for c in boxes} == {"boxed", "own"}
    workspace = stack.folder / "workspaces" / "boxed"
    for box in boxes:
        mounts = stack.engine.inspect(box["Id"])["Mounts"]
        assert [m["Destination"] for m in mounts if m["Type"] == "bind"] == ["/workspaces"]
    assert workspace.stat().st_uid == 65534


def test_the_gateway_cannot_reach_docker_nor_anything_else(stack: Stack) -> None:
    name = stack.container("gateway")
    script = (
        "import os, socket\n"
        "print(os.path.exists('/var/run/docker.sock'), os.access('/', os.W_OK))\n"
        "s = socket.socket(); s.settimeout(2)\n"
        "try: s.connect(('1.1.1.1', 53)); print('out')\n"
        "except OSError: print('shut')\n"
    )
    said = stack.engine.docker("exec", name, "python3", "-c", script)
    assert said.split() == ["False", "False", "shut"]


@pytest.mark.parametrize("service", ["runner", "native", "gateway", "caddy"])
async def test_any_part_may_be_restarted(stack: Stack, service: str) -> None:
    await asyncio.to_thread(stack.run, "restart", service)
    root = await asyncio.to_thread(stack.root_certificate)
    async with asyncio.timeout(60), client_of(root, stack.port, X_API_Key=KEY) as client:
        for tool in ("boxed", "native"):
            while not await _answers(client, tool):  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.2)


async def _answers(client: Client, tool: str) -> bool:
    params = {"name": "echo", "arguments": {"text": "x"}}
    try:
        async with client.request(f"/mcp/{tool}", "tools/call", params) as answer:
            return answer.status == 200 and '"result"' in await answer.text()
    except OSError:
        return False
