"""Ends: of the gateway with work in flight, of a client that says nothing, of a session."""

import asyncio
import json
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientSession, ClientTimeout

from tests.e2e import wire
from tests.e2e.failing import config, descriptors, servers_of, text, tool
from tests.testbed.gateway import Gateway, running_gateway

Start = Callable[..., Gateway]
SHUTTING_DOWN: Final = -31012
UNKNOWN_SESSION: Final = -31006


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession(timeout=ClientTimeout(total=30)) as session:
        yield session


class EventSource:
    """A client of the HTTP+SSE transport."""

    def __init__(self, http: ClientSession, url: str) -> None:
        self.http = http
        self.url = url
        self.events: list[tuple[str, str]] = []

    async def __aenter__(self) -> "EventSource":
        self.response = await self.http.get(self.url, headers={"Accept": "text/event-stream"})
        assert self.response.status == 200
        name, path = await self.event()
        assert name == "endpoint"
        parts = urlsplit(self.url)
        self.endpoint = f"{parts.scheme}://{parts.netloc}{path}"
        hello = {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {}}
        assert "result" in await self.ask(0, "initialize", hello)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.response.close()

    async def event(self) -> tuple[str, str]:
        """The next event: its name and data; raises at the end of the stream."""
        name = "message"
        while line := (await self.response.content.readline()).decode():
            if line.startswith("event: "):
                name = line[7:].strip()
            elif line.startswith("data: "):
                return name, line[6:].strip()
        raise EOFError

    async def post(self, id: int, method: str, params: dict[str, Any]) -> None:
        message = {"jsonrpc": "2.0", "id": id, "method": method, "params": params}
        async with self.http.post(self.endpoint, json=message) as response:
            assert response.status == 202

    async def ask(self, id: int, method: str, params: dict[str, Any]) -> dict[str, Any]:
        await self.post(id, method, params)
        answer: dict[str, Any] = json.loads((await self.event())[1])
        assert answer["id"] == id
        return answer


SLOW = {"name": "slow", "arguments": {"seconds": 1.0}}
HANG: dict[str, Any] = {"name": "hang", "arguments": {}}


@pytest.mark.parametrize("mode", ["daemon", "launcher"])
async def test_calls_in_flight_are_answered_before_the_gateway_ends(
    gateway: Start, http: ClientSession, mode: str
) -> None:
    running = gateway(config({"l": tool(mode), "m": tool(mode, era="modern")}, shutdown_grace="5s"))
    modern = await wire.connect(http, running.url("m"), modern=True)
    legacy = await wire.connect(http, running.url("l"), modern=False)
    listening = await http.get(legacy.url, headers=legacy._headers("", {}))
    assert listening.status == 200
    async with EventSource(http, running.url("l") + "/sse") as old, asyncio.TaskGroup() as group:
        calls = [group.create_task(c.ask(1, "tools/call", SLOW)) for c in (modern, legacy)]
        await old.post(1, "tools/call", SLOW)
        await asyncio.sleep(0.4)  # until all are in flight
        assert len(servers_of(running.process.pid)) >= 2
        began = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        _, data = await old.event()
        answer = json.loads(data)
    assert answer["result"]["content"][0]["text"] == "slow but sure"
    assert [text(call.result()) for call in calls] == ["slow but sure"] * 2
    assert await asyncio.to_thread(running.process.wait, 10) == 0
    assert time.monotonic() - began < 4
    left = await listening.content.read()
    assert b"data: {" not in left  # only the event that a stream begins with


@pytest.mark.parametrize("mode", ["daemon", "launcher"])
async def test_calls_that_outlast_the_grace_are_told_so(
    gateway: Start, http: ClientSession, mode: str
) -> None:
    tools = {"l": tool(mode), "m": tool(mode, era="modern")}
    running = gateway(config(tools, shutdown_grace="500ms"))
    modern = await wire.connect(http, running.url("m"), modern=True)
    legacy = await wire.connect(http, running.url("l"), modern=False)
    async with EventSource(http, running.url("l") + "/sse") as old, asyncio.TaskGroup() as group:
        calls = [group.create_task(c.ask(1, "tools/call", HANG)) for c in (modern, legacy)]
        await old.post(1, "tools/call", HANG)
        await asyncio.sleep(0.4)  # until all are in flight
        began = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        answers = [json.loads((await old.event())[1])]
    answers += [call.result()[-1] for call in calls]
    assert [answer["error"]["code"] for answer in answers] == [SHUTTING_DOWN] * 3
    assert answers[0]["error"]["message"] == "the gateway stopped while 'l' worked on tools/call"
    assert await asyncio.to_thread(running.process.wait, 10) == 0
    assert time.monotonic() - began < 4


async def test_new_calls_during_the_grace_are_refused(gateway: Start, http: ClientSession) -> None:
    running = gateway(config({"t": tool()}, shutdown_grace="5s"))
    client = await wire.connect(http, running.url("t"), modern=False)
    async with asyncio.TaskGroup() as group:  # so that there are two connections
        for id in (0, 1):
            group.create_task(client.call(id, "slow", {"seconds": 0.1}))
    async with asyncio.TaskGroup() as group:
        slow = group.create_task(client.ask(2, "tools/call", SLOW))
        await asyncio.sleep(0.3)
        running.process.send_signal(signal.SIGTERM)
        running.wait_for(lambda e: e.get("event") == "gateway.stopping")
        async with http.post(client.url, json=PING, headers=client._headers("", {})) as response:
            assert "result" in (await wire.messages(response))[0]
        (refused,) = await client.call(3, "echo", {})
    assert refused["error"]["code"] == SHUTTING_DOWN
    assert text(slow.result()) == "slow but sure"
    assert await asyncio.to_thread(running.process.wait, 10) == 0


PING = {"jsonrpc": "2.0", "id": "p", "method": "ping"}


async def test_a_second_signal_cuts_the_grace_short_and_who_waits_is_told(
    http: ClientSession,
) -> None:
    manager = running_gateway(config({"t": tool()}, shutdown_grace="60s"))
    running = manager.__enter__()
    with closing(running):
        async with asyncio.TaskGroup() as group:
            client = await wire.connect(http, running.url("t"), modern=False)
            call = group.create_task(client.ask(1, "tools/call", HANG))
            await asyncio.sleep(0.3)  # until it is in flight
            running.process.send_signal(signal.SIGINT)
            running.wait_for(lambda e: e.get("event") == "gateway.stopping")
            running.process.send_signal(signal.SIGINT)
            assert await asyncio.to_thread(running.process.wait, 3) == 1
        assert call.result()[-1]["error"]["code"] == SHUTTING_DOWN
        running._drain()
        assert "Traceback" not in "\n".join(running.log)
        assert servers_of(running.process.pid) == []


@pytest.mark.parametrize("mode", ["daemon", "launcher"])
async def test_the_session_of_a_client_that_vanished_expires(gateway: Start, mode: str) -> None:
    running = gateway(config({"t": tool(mode)}, session_idle="1s", keep_alive="200ms"))
    pid = running.process.pid
    async with ClientSession() as http:
        client = await wire.connect(http, running.url("t"), modern=False)
        await client.call(1, "echo", {})
    before = descriptors(pid)
    parts = urlsplit(client.url)
    with socket.create_connection((parts.hostname, parts.port)) as raw:
        head = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        headers = {**client._headers("", {}), "Accept": "text/event-stream"}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        raw.sendall((head + lines + "\r\n").encode())
        assert raw.recv(9) == b"HTTP/1.1 "
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    if mode == "launcher":  # its instance goes with the session
        deadline = time.monotonic() + 6
        while servers_of(pid):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
    else:
        await asyncio.sleep(1.6)
    headers = client._headers("", {})
    async with ClientSession() as http, http.post(client.url, json=PING, headers=headers) as gone:
        assert gone.status == 404
        assert (await gone.json())["error"]["code"] == UNKNOWN_SESSION
    assert descriptors(pid) <= before


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
async def test_sessions_of_an_earlier_life_are_unknown_and_a_new_one_begins(
    gateway: Start, http: ClientSession, method: str
) -> None:
    async with ClientSession() as before:
        with running_gateway(config({"t": tool()})) as earlier:
            port = urlsplit(earlier.url("t")).port
            stale = await wire.connect(before, earlier.url("t"), modern=False)
            await stale.call(1, "echo", {})
    running = gateway(config({"t": tool()}), "--port", str(port))
    body = PING if method == "POST" else None
    headers = stale._headers("", {})
    async with http.request(method, stale.url, json=body, headers=headers) as response:
        assert response.status == 404
        assert (await response.json())["error"]["code"] == UNKNOWN_SESSION
    fresh = await wire.connect(http, running.url("t"), modern=False)
    assert text(await fresh.call(1, "echo", {"text": "again"})) == "again"


async def test_session_ids_that_are_hostile_or_anothers_change_nothing(
    gateway: Start, http: ClientSession
) -> None:
    running = gateway(config({"one": tool(), "two": tool()}))
    mine = await wire.connect(http, running.url("one"), modern=False)
    guesses = ["", "x", "x" * 7000, "%0d%0aX: y", "../one", "é", (mine.session or "")[:-1]]
    for url, id in [(running.url("two"), mine.session), *[(mine.url, g) for g in guesses]]:
        headers = {**mine._headers("", {}), "Mcp-Session-Id": id or ""}
        for method in ("POST", "GET", "DELETE"):
            body = PING if method == "POST" else None
            async with http.request(method, url, json=body, headers=headers) as response:
                assert response.status == 404, (id, method, await response.text())
    assert text(await mine.call(1, "echo", {"text": "still mine"})) == "still mine"
