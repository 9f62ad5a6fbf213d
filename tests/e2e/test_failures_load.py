"""Too much: of clients, of bytes, of bad timing. The gateway stays small and serves the others."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import pytest
from aiohttp import ClientSession, ClientTimeout, TCPConnector

from tests.e2e import wire
from tests.e2e.failing import config, error, memory, servers_of, text, tool
from tests.testbed.gateway import Gateway

Start = Callable[..., Gateway]
SESSION_LIMIT: Final = -31004
QUEUE_TIMEOUT: Final = -31011
EXITED: Final = -31020
LINE_TOO_LONG: Final = -31021
MIB: Final = 1024 * 1024


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    connector = TCPConnector(limit=0)
    async with ClientSession(connector=connector, timeout=ClientTimeout(total=60)) as session:
        yield session


@pytest.mark.parametrize("mode", ["daemon", "launcher"])
async def test_a_storm_of_initialize_costs_little_and_meets_its_limit(
    gateway: Start, http: ClientSession, mode: str
) -> None:
    limits = {"sessions": 500}
    running = gateway(config({"t": tool(mode)}, limits=limits, log={"access": False}))
    url, pid = running.url("t"), running.process.pid
    first = await wire.connect(http, url, modern=False)
    assert text(await first.call(1, "echo", {"text": "before"})) == "before"
    before = memory(pid)
    outcomes = []
    tickets = iter(range(1000))

    async def storm() -> None:
        for _ in tickets:
            async with http.post(url, json=HELLO, headers=wire.ACCEPT) as response:
                (answer,) = await wire.messages(response)
                outcomes.append((response.status, answer.get("error", {}).get("code")))

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(storm())
    assert outcomes.count((200, None)) == 499
    assert outcomes.count((200, SESSION_LIMIT)) == 501
    assert len(servers_of(pid)) <= 2
    assert memory(pid) - before < 12 * MIB
    assert text(await first.call(2, "echo", {"text": "after"})) == "after"
    await first.close()
    await wire.connect(http, url, modern=False)


PARAMS: dict[str, Any] = {
    "protocolVersion": wire.LEGACY_REVISION,
    "capabilities": {},
    "clientInfo": {"name": "storm", "version": "1"},
}
HELLO = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": PARAMS}


async def test_clients_that_left_without_a_word_do_not_keep_others_out(
    gateway: Start, http: ClientSession
) -> None:
    bad = tool("launcher", launcher={"max": 3}, queue={"timeout": "300ms"})
    running = gateway(config({"t": bad}, session_idle="2s"))
    url = running.url("t")
    listening, gone, busy = [await wire.connect(http, url, modern=False) for _ in range(3)]
    pids = [text(await client.call(1, "pid", {})) for client in (listening, gone, busy)]
    new = await wire.connect(http, url, modern=False)
    told = error(await new.call(1, "pid", {}))
    assert told["code"] == QUEUE_TIMEOUT, "nobody was quiet for long enough"
    async with http.get(url, headers=listening._headers("", {})), asyncio.TaskGroup() as group:
        call = group.create_task(busy.call(2, "slow", {"seconds": 1.5}))
        await asyncio.sleep(1.1)
        assert text(await new.call(2, "pid", {})) not in pids
        ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
        async with http.post(url, json=ping, headers=gone._headers("", {})) as response:
            assert response.status == 404
    assert text(call.result()) == "slow but sure"
    assert text(await listening.call(2, "pid", {})) == pids[0]


@pytest.mark.filterwarnings("ignore:Sending a large body")  # the client's concern
@pytest.mark.parametrize("modern", [False, True])
async def test_large_messages_cross_on_one_pipe(
    gateway: Start, http: ClientSession, modern: bool
) -> None:
    era = "modern" if modern else "legacy"
    running = gateway(config({"t": tool(era=era, daemon={"max": 1})}, limits={"body": "8MiB"}))
    client = await wire.connect(http, running.url("t"), modern=modern)
    size = 5 * MIB
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        down = [group.create_task(client.call(i, "big", {"bytes": size})) for i in (1, 2, 3)]
        long = {"text": "y" * size}
        up = [group.create_task(client.call(i, "length", long)) for i in (4, 5, 6)]
    assert [len(text(task.result())) for task in down] == [size] * 3
    assert [text(task.result()) for task in up] == [str(size)] * 3


@pytest.mark.parametrize("modern", [False, True])
@pytest.mark.parametrize(("limit", "memory_bound"), [("1MiB", 4 * MIB), ("64MiB", 100 * MIB)])
async def test_a_line_without_end_is_cut_off_and_its_server_replaced(
    gateway: Start, http: ClientSession, modern: bool, limit: str, memory_bound: int
) -> None:
    era = "modern" if modern else "legacy"
    tools = {"bad": tool(era=era, limits={"line": limit}), "good": tool(era=era)}
    running = gateway(config(tools))
    pid = running.process.pid
    bad = await wire.connect(http, running.url("bad"), modern=modern)
    good = await wire.connect(http, running.url("good"), modern=modern)
    old = text(await bad.call(0, "pid", {}))
    await good.call(0, "echo", {})
    before = memory(pid)
    slowest = 0.0
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        flood = group.create_task(bad.call(1, "flood", {"bytes": 300 * MIB}))
        beside = group.create_task(bad.call(2, "slow", {"seconds": 50}))
        while not flood.done():
            began = time.monotonic()
            await good.call(1, "echo", {})
            slowest = max(slowest, time.monotonic() - began)
    told = error(flood.result())
    assert told["code"] == error(beside.result())["code"] == LINE_TOO_LONG
    assert "'bad' wrote a message longer than" in told["message"]
    assert "limits.line" in told["message"]
    assert slowest < 0.5
    assert memory(pid, "VmHWM") - before < memory_bound
    assert text(await bad.call(3, "pid", {})) != old
    running.wait_for(lambda e: e.get("event") == "instance.killed")


@pytest.mark.parametrize("modern", [False, True])
async def test_calls_that_meet_an_idle_stop_are_served(
    gateway: Start, http: ClientSession, modern: bool
) -> None:
    era = "modern" if modern else "legacy"
    running = gateway(config({"t": tool(era=era, daemon={"idle_timeout": "50ms"})}))
    client = await wire.connect(http, running.url("t"), modern=modern)
    pids = set()
    async with asyncio.timeout(30):
        for i in range(14):
            pids.add(text(await client.call(i, "pid", {})))
            await asyncio.sleep(0.046 + 0.0007 * i)
    assert len(pids) > 3, "the stop was to be met"


async def test_many_that_meet_a_dying_server_are_all_answered(
    gateway: Start, http: ClientSession
) -> None:
    daemon = {"max": 2, "backoff": {"initial": "10ms", "max": "50ms", "failures": 100}}
    running = gateway(config({"t": tool(daemon=daemon)}, log={"access": False}))
    clients = [await wire.connect(http, running.url("t"), modern=False) for _ in range(10)]
    codes = []

    async def one(number: int, client: wire.Wire) -> None:
        for i in range(20):
            name = "die" if (i + number) % 7 == 0 else "echo"
            answer = (await client.call(i, name, {}))[-1]
            codes.append(answer.get("error", {}).get("code"))

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        for number, client in enumerate(clients):
            group.create_task(one(number, client))
    assert len(codes) == 200
    assert set(codes) <= {None, EXITED, -31010}
    assert codes.count(None) > 50
