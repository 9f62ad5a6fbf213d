"""A tool that cannot be started: it alone fails, says why to those who may know, and recovers."""

import asyncio
import json
import resource
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import ClientSession, ClientTimeout

from tests.e2e import wire
from tests.e2e.failing import config, descriptors, error, servers_of, text, tool
from tests.testbed.gateway import Gateway, running_gateway

START_FAILED: Final = -31010
SECRET: Final = "canary-7f3a"
STDERR: Final = "failing server: cannot find the database at /secret/place"


def start_failures(folder: Path, mode: str) -> dict[str, dict[str, Any]]:
    """Tools that never become ready; see `TOLD` for what each says."""
    unrunnable = folder / "unrunnable.sh"
    unrunnable.write_text("#!/bin/sh\n")
    short = {"start": "500ms"}
    return {
        "missing": {"mode": mode, "cmd": "no-such-program"},
        "unrunnable": {"mode": mode, "cmd": str(unrunnable)},
        "exits": tool(mode, "exit"),
        "silent": tool(mode, "silent", timeouts=short),
        "unset": tool(mode, env={"TOKEN": "${NOT_SET_ANYWHERE}"}),
    }


TOLD: Final = {
    "missing": "the program 'no-such-program' was found neither on PATH",
    "unrunnable": "chmod +x",
    "exits": "exited with code 1",
    "silent": "did not answer initialize within 0.5",
    "unset": "the variable NOT_SET_ANYWHERE is not set where the gateway runs",
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway whose tools cannot be started, but for one."""
    folder = tmp_path_factory.mktemp("programs")
    tools = {
        f"{name}-{mode}": settings
        for mode in ("daemon", "launcher")
        for name, settings in start_failures(folder, mode).items()
    }
    backoff = {"backoff": {"initial": "1ms", "max": "2ms", "failures": 1000}}
    for settings in tools.values():
        settings["daemon"] = backoff
    with running_gateway(config({**tools, "good": tool()}), env={"SECRET": SECRET}) as gateway:
        yield gateway


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession(timeout=ClientTimeout(total=30)) as session:
        yield session


async def hello(http: ClientSession, url: str, *, modern: bool, **more: str) -> dict[str, Any]:
    """The answer to the first request a client makes."""
    client = wire.Wire(http, url, modern=True)
    if modern:
        params: dict[str, Any] = {"_meta": wire._envelope()}
        headers, method = client._headers("server/discover", {}), "server/discover"
    else:
        params = {"protocolVersion": wire.LEGACY_REVISION, "capabilities": {}, "clientInfo": {}}
        headers, method = dict(wire.ACCEPT), "initialize"
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    async with http.post(url, json=message, headers={**headers, **more}) as response:
        assert response.status == (503 if modern else 200), await response.text()
        assert "Mcp-Session-Id" not in response.headers
        return error(await wire.messages(response))


@pytest.mark.parametrize("modern", [False, True])
@pytest.mark.parametrize("mode", ["daemon", "launcher"])
@pytest.mark.parametrize("name", TOLD)
async def test_only_that_tool_fails_and_it_says_why(
    broken: Gateway, http: ClientSession, name: str, mode: str, modern: bool
) -> None:
    url = broken.url(f"{name}-{mode}")
    async with asyncio.timeout(10):
        told = await hello(http, url, modern=modern)
        strangers = await hello(http, url, modern=modern, **{"X-Forwarded-For": "203.0.113.9"})
    assert told["code"] == strangers["code"] == START_FAILED
    assert TOLD[name] in told["message"]
    assert f"{name}-{mode}" in told["message"]
    if name == "exits":
        assert told["data"]["stderr"] == [STDERR]
    for leak in ("/", "python", "stderr", "PATH", "NOT_SET", "no-such"):
        assert leak not in json.dumps(strangers), strangers
    client = await wire.connect(http, broken.url("good"), modern=modern)
    assert text(await client.call(1, "echo", {"text": "fine"})) == "fine"


@pytest.mark.parametrize("name", ["missing", "exits", "silent"])
async def test_trying_again_and_again_costs_nothing_that_lasts(
    broken: Gateway, http: ClientSession, name: str
) -> None:
    pid = broken.process.pid
    urls = [broken.url(f"{name}-{mode}") for mode in ("daemon", "launcher")]
    counts = []
    for _ in range(2 if name == "silent" else 20):
        for url in urls:
            await hello(http, url, modern=False)
        counts.append(descriptors(pid))
    assert counts[-1] <= counts[0], counts
    deadline = time.monotonic() + 5
    while [entry for entry in servers_of(pid) if "silent" in entry or "exit" in entry]:
        assert time.monotonic() < deadline, servers_of(pid)
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("modern", [False, True])
async def test_a_crash_loop_backs_off_gives_up_and_recovers(
    gateway: Callable[..., Gateway], http: ClientSession, tmp_path: Path, modern: bool
) -> None:
    broken, starts = tmp_path / "broken", tmp_path / "starts"
    broken.touch()
    backoff = {"initial": "100ms", "max": "1s", "failures": 3}
    settings: dict[str, Any] = {"daemon": {"min": 1, "backoff": backoff}}
    settings["env"] = {"FAIL_STARTS": str(starts)}
    running = gateway(config({"t": tool("daemon", "exit-while", str(broken), **settings)}))
    first = running.wait_for(lambda e: e.get("event") == "pool.backoff")
    second = running.wait_for(lambda e: e.get("event") == "pool.backoff" and e["failures"] == 2)
    failed = running.wait_for(lambda e: e.get("event") == "pool.failed")
    assert 0.07 < first["retry_in_s"] <= 0.1 < second["retry_in_s"] <= 0.2
    assert failed["failures"] == 3 and "exited with code 1" in failed["error"]
    before = len(starts.read_text().splitlines())
    async with asyncio.timeout(0.5):
        told = await hello(http, running.url("t"), modern=modern)
    assert "keeps failing" in told["message"] and told["data"]["stderr"] == [
        "failing server: not yet"
    ]
    assert 0 < told["data"]["retryAfter"] <= 1
    assert before <= 4, "it was to be started rarely"
    broken.unlink()
    running.wait_for(lambda e: e.get("event") == "instance.ready")
    client = await wire.connect(http, running.url("t"), modern=modern)
    assert text(await client.call(1, "echo", {"text": "up again"})) == "up again"
    running.wait_for(lambda e: e.get("event") == "pool.recovered")


async def test_a_system_without_descriptors_left_fails_that_request_only(
    gateway: Callable[..., Gateway], http: ClientSession
) -> None:
    quick = {"initial": "1ms", "max": "10ms"}
    tools = {"up": tool(daemon={"min": 1}), "t": tool(daemon={"backoff": quick})}
    running = gateway(config(tools))
    pid = running.process.pid
    running.wait_for(lambda e: e.get("event") == "instance.ready")
    usual = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (descriptors(pid) + 3, usual[1]))
    told = await hello(http, running.url("t"), modern=False)
    assert told["code"] == START_FAILED and "ulimit -n" in told["message"]
    client = await wire.connect(http, running.url("up"), modern=False)
    assert text(await client.call(1, "echo", {"text": "fine"})) == "fine"
    resource.prlimit(pid, resource.RLIMIT_NOFILE, usual)
    client = await wire.connect(http, running.url("t"), modern=False)
    assert text(await client.call(1, "echo", {"text": "fine"})) == "fine"


@pytest.mark.parametrize("mode", ["daemon", "launcher"])
async def test_a_server_sees_what_it_was_given_and_secrets_are_seen_nowhere(
    gateway: Callable[..., Gateway], http: ClientSession, mode: str, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(f"{SECRET}-file\n")
    env = {"FROM_ENV": "${GIVEN}", "FROM_FILE": f"file:{file}", "PLAIN": "costs $$5"}
    tools = {"t": tool(mode, env=env), "dies": tool(mode, "exit", env=env)}
    running = gateway(
        config(tools, log={"level": "debug"}),
        env={"GIVEN": f"{SECRET}-env", "NOT_FOR_SERVERS": "canary", "AWS_SECRET_ACCESS_KEY": "x"},
    )
    client = await wire.connect(http, running.url("t"), modern=False)
    seen = json.loads(text(await client.call(1, "environment", {})))
    assert (seen["FROM_ENV"], seen["FROM_FILE"]) == (f"{SECRET}-env", f"{SECRET}-file")
    assert seen["PLAIN"] == "costs $5"
    own = {"PATH", "HOME", "LANG", "TMPDIR", "LC_CTYPE"}  # the last is Python's own doing
    assert {name for name in seen if not name.startswith("MCPGW_")} <= own | set(env)
    assert error(await client.call(2, "die", {}))
    told = await hello(http, running.url("dies"), modern=False)
    running.stop()
    assert SECRET not in json.dumps(told)
    assert SECRET not in "\n".join(running.log)
    assert len(running.log) > 10, "the log was to be checked"


def test_what_cannot_start_is_told_before_anybody_asks(gateway: Callable[..., Gateway]) -> None:
    running = gateway(config({"t": {"cmd": "no-such-program"}, "good": tool()}))
    doubted = [e for e in map(json.loads, running.log) if e["event"] == "server.doubted"]
    assert [e["server"] for e in doubted] == ["t"]
    assert "'no-such-program' was found neither on PATH" in doubted[0]["reason"]
