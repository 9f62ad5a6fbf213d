"""Many clients at once: answers find their askers, and processes stay within their bounds."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import ClientSession, ClientTimeout, TCPConnector

from tests.e2e import wire
from tests.testbed.gateway import Gateway, started_by, wait_until_gone

SMALL = Path(__file__).parent / "servers" / "small.py"
CLIENTS = 50
CALLS = 5
LAUNCHES = 1000
AT_ONCE = 10


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession(
        connector=TCPConnector(limit=0), timeout=ClientTimeout(total=60)
    ) as session:
        yield session


def config(mode: str, era: str, **settings: object) -> str:
    # -I -S: without site-packages it starts in a fraction of the time.
    args = ["-I", "-S", str(SMALL), era]
    tool = {"mode": mode, "cmd": sys.executable, "args": args, "protocol": era, **settings}
    return json.dumps({"tools": {"small": tool}, "log": {"access": False}})


@pytest.mark.parametrize("clients_are_modern", [False, True])
@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_clients_with_equal_ids_and_tokens_never_see_each_other(
    gateway: Callable[[str], Gateway], http: ClientSession, era: str, clients_are_modern: bool
) -> None:
    url = gateway(config("daemon", era, daemon={"max": 1, "max_in_flight": 256})).url("small")
    pids = set()

    async def one(me: int) -> None:
        client = await wire.connect(http, url, modern=clients_are_modern)
        for id in range(1, CALLS + 1):
            mine = {"me": f"client {me} call {id}"}
            *progress, answer = await client.call(id, "mix", mine, token=1)
            assert answer["id"] == id
            assert json.loads(answer["result"]["content"][0]["text"]) == mine
            heard = [message["params"] for message in progress]
            assert [(p["progressToken"], p["message"]) for p in heard] == [(1, mine["me"])]
        (answer,) = await client.call("p", "pid", {})
        pids.add(answer["result"]["content"][0]["text"])
        await client.close()

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for me in range(CLIENTS):
            group.create_task(one(me))
    assert len(pids) == 1, "they were to share one process"


async def test_a_thousand_launches_stay_within_bounds_and_leave_nothing(
    gateway: Callable[[str], Gateway], http: ClientSession
) -> None:
    running = gateway(config("launcher", "modern", launcher={"max": AT_ONCE}))
    client = await wire.connect(http, running.url("small"), modern=True)
    pids: set[str] = set()
    most = 0
    tickets = iter(range(LAUNCHES))

    async def launch() -> None:
        nonlocal most
        for ticket in tickets:
            (answer,) = await client.call(ticket, "pid", {})
            pids.add(answer["result"]["content"][0]["text"])
            if ticket % 50 == 0:
                most = max(most, len(started_by(running.process.pid)))

    async with asyncio.timeout(240), asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(launch())
    assert len(pids) > LAUNCHES * 0.99, "each call was to have a process of its own"
    assert most <= AT_ONCE + 2, "more processes than `launcher.max`, the guard and a probe explain"
    leftover = wait_until_gone(running.process.pid, within=15)
    assert not [entry for entry in leftover if "small.py" in entry]
