"""A call that goes wrong: its client is answered, others notice nothing, and the next one works."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import ClientSession, ClientTimeout, TCPConnector

from tests.e2e import wire
from tests.e2e.failing import config, error, text, tool
from tests.testbed.gateway import Gateway, running_gateway

EXITED: Final = -31020
DEADLINE: Final = -31030

PURPOSES: Final[dict[str, dict[str, Any]]] = {
    "plain": {},
    "dies": {},
    "effect": {},
    "batch": {},
    "shared": {"daemon": {"max": 2, "max_in_flight": 2}},
    "hangs": {
        "timeouts": {"call": "300ms"},
        "daemon": {"max": 1, "max_in_flight": 1},
        "launcher": {"max": 1},
    },
    "ticks": {"timeouts": {"call": "400ms", "call_max": "1500ms"}},
}
"""One tool for each, in each mode and era, so that no test meets what another has broken."""


class Scene:
    """One gateway for all these tests; what a tool has read is in the file of its name."""

    def __init__(self, gateway: Gateway, folder: Path) -> None:
        self.gateway = gateway
        self.folder = folder

    def url(self, purpose: str, mode: str, era: str) -> str:
        return self.gateway.url(f"{purpose}-{mode}-{era}")

    async def client(self, http: ClientSession, purpose: str, mode: str, era: str) -> wire.Wire:
        url = self.url(purpose, mode, era)
        return await wire.connect(http, url, modern=era == "modern")

    def heard(self, purpose: str, mode: str, era: str) -> list[bytes]:
        return (self.folder / f"{purpose}-{mode}-{era}").read_bytes().splitlines()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("heard")
    tools = {
        (name := f"{purpose}-{mode}-{era}"): tool(
            mode, era=era, env={"FAIL_HEARD": str(folder / name)}, **settings
        )
        for purpose, settings in PURPOSES.items()
        for mode in ("daemon", "launcher")
        for era in ("legacy", "modern")
    }
    with running_gateway(config(tools)) as gateway:
        yield Scene(gateway, folder)


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession(
        connector=TCPConnector(limit=0), timeout=ClientTimeout(total=30)
    ) as session:
        yield session


@pytest.fixture(params=["daemon", "launcher"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["legacy", "modern"])
def era(request: pytest.FixtureRequest) -> str:
    """The era of the client; the server's is the same unless a test says otherwise."""
    return str(request.param)


async def test_a_death_in_a_call_is_answered_and_forgotten(
    scene: Scene, http: ClientSession, mode: str, era: str
) -> None:
    bad = await scene.client(http, "dies", mode, era)
    good = await scene.client(http, "plain", mode, era)
    pid = text(await good.call(1, "pid", {}))
    async with asyncio.timeout(5):
        told = error(await bad.call(1, "die", {}))
    assert told["code"] == EXITED
    assert f"'dies-{mode}-{era}' exited with code 3" in told["message"]
    assert told["data"]["stderr"] == ["failing server: told to die"]
    assert text(await bad.call(2, "echo", {"text": "again"})) == "again"
    if mode == "daemon" or era == "legacy":
        assert text(await good.call(2, "pid", {})) == pid, "another tool was touched"


async def test_a_death_fails_the_calls_of_that_instance_and_no_other(
    scene: Scene, http: ClientSession, era: str
) -> None:
    clients = [await scene.client(http, "shared", "daemon", era) for _ in range(4)]
    async with asyncio.TaskGroup() as group:
        spared = [group.create_task(c.call(1, "slow", {"seconds": 1})) for c in clients[:2]]
        await asyncio.sleep(0.2)  # until they have filled one instance
        shared = group.create_task(clients[2].call(1, "slow", {"seconds": 20}))
        await asyncio.sleep(0.2)
        died = error(await clients[3].call(1, "die", {}))
    assert died["code"] == error(shared.result())["code"] == EXITED
    assert [text(task.result()) for task in spared] == ["slow but sure"] * 2


async def test_the_death_of_a_sessions_instance_is_that_sessions_alone(
    scene: Scene, http: ClientSession
) -> None:
    mine, theirs = [await scene.client(http, "dies", "launcher", "legacy") for _ in range(2)]
    pids = [text(await client.call(1, "pid", {})) for client in (mine, theirs)]
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(theirs.call(2, "slow", {"seconds": 0.5}))
        assert error(await mine.call(2, "die", {}))["code"] == EXITED
        assert text(await mine.call(3, "pid", {})) not in pids
    assert text(waiting.result()) == "slow but sure"
    assert text(await theirs.call(3, "pid", {})) == pids[1]


async def test_a_call_with_an_effect_is_never_repeated(
    scene: Scene, http: ClientSession, mode: str, era: str, tmp_path: Path
) -> None:
    client = await scene.client(http, "effect", mode, era)
    effect = tmp_path / "effect"
    error(await client.call(1, "die", {"file": str(effect)}))
    assert text(await client.call(2, "echo", {"text": "alive"})) == "alive"
    assert effect.read_text() == "ran\n"


async def test_a_hung_call_ends_at_its_deadline_and_frees_its_place(
    scene: Scene, http: ClientSession, mode: str, era: str
) -> None:
    client = await scene.client(http, "hangs", mode, era)
    for id in (1, 2):
        async with asyncio.timeout(5):
            told = error(await client.call(id, "hang", {}))
        assert told["code"] == DEADLINE
        assert "did not answer tools/call within 0.3" in told["message"]
    assert text(await client.call(3, "echo", {"text": "free"})) == "free"
    lines = [json.loads(line) for line in scene.heard("hangs", mode, era)]
    hung = [line["id"] for line in lines if line.get("params", {}).get("name") == "hang"]
    ended = [line["params"] for line in lines if line["method"] == "notifications/cancelled"]
    assert [params["requestId"] for params in ended] == hung and len(hung) == 2


async def test_progress_keeps_a_call_alive_but_only_so_long(
    scene: Scene, http: ClientSession, era: str
) -> None:
    client = await scene.client(http, "ticks", "daemon", era)
    *progress, answer = await client.call(1, "tick", {"every": 0.15, "times": 6}, token=7)
    assert answer["result"]["content"][0]["text"] == "ticked"
    assert [message["params"]["progress"] for message in progress] == [1, 2, 3, 4, 5, 6]
    loop = asyncio.get_running_loop()
    began = loop.time()
    *progress, answer = await client.call(2, "tick", {"every": 0.15}, token=7)
    assert answer["error"]["code"] == DEADLINE and len(progress) >= 6
    assert 1.4 < loop.time() - began < 3


async def test_noise_is_skipped_and_never_taken_for_an_answer(
    scene: Scene, http: ClientSession, mode: str, era: str
) -> None:
    name = f"plain-{mode}-{era}"
    client = await scene.client(http, "plain", mode, era)
    assert text(await client.call(1, "noise", {})) == "genuine"
    logged = scene.gateway.wait_for(
        lambda e: e.get("event") == "instance.noise" and e["server"] == name
    )
    assert logged["line"] == "Failing MCP server running on stdio"
    assert logged["instance"].startswith(f"{name}#")


SPELLED = [
    '"\\u00e9 \\ud83d\\ude00"',
    '"\u2028\u2029\u00a0\u3000"',
    '"\U0001f468\u200d\U0001f469\u200d\U0001f467"',
    '"\\ud800 alone, and \\udc00"',
    '"\\u2028\\/\\b\\u0000"',
]


@pytest.mark.parametrize("crossed", [False, True])
async def test_text_keeps_its_bytes_both_ways(
    scene: Scene, http: ClientSession, era: str, crossed: bool
) -> None:
    server = era if not crossed else {"legacy": "modern", "modern": "legacy"}[era]
    url = scene.url("plain", "daemon", server)
    client = await wire.connect(http, url, modern=era == "modern")
    for id, spelled in enumerate(SPELLED, 1):
        wanted = spelled.encode()
        arguments = b'{"base64":"%b","also":%b}' % (base64.b64encode(wanted), wanted)
        body = await post_bytes(http, client, str(id).encode(), "spell", arguments)
        assert b'"text":' + wanted in body
        assert b'"also":' + wanted in scene.heard("plain", "daemon", server)[-1]


IDS = [b"0", b'""', b'"1"', b"1", b"9007199254740993", b"-1", b'"\\u00e9\\ud800"', b'"a\\"b"']


async def test_ids_come_back_as_they_were_written(
    scene: Scene, http: ClientSession, era: str
) -> None:
    client = await scene.client(http, "plain", "daemon", era)

    async def one(id: bytes) -> None:
        answer = await post_bytes(http, client, id, "slow", b'{"seconds":0.2}')
        assert b'"id":%b,' % id in answer, (id, answer)
        assert b"slow but sure" in answer

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        for id in IDS:
            group.create_task(one(id))


async def test_an_id_in_flight_is_refused_at_once(
    scene: Scene, http: ClientSession, mode: str
) -> None:
    client = await scene.client(http, "plain", mode, "legacy")
    async with asyncio.TaskGroup() as group:
        first = group.create_task(client.call("a", "slow", {"seconds": 1}))
        await asyncio.sleep(0.3)  # until it is in flight; nothing tells
        told = json.loads(await post_bytes(http, client, b'"\\u0061"', "echo", b"{}"))
        assert not first.done()
    assert told["error"]["code"] == -32600 and "in flight" in told["error"]["message"]
    assert told["id"] == "a"
    assert text(first.result()) == "slow but sure"


@pytest.mark.parametrize("id", [b"null", b"true", b"{}", b"[]"])
async def test_what_is_no_id_is_refused(
    scene: Scene, http: ClientSession, era: str, id: bytes
) -> None:
    client = await scene.client(http, "plain", "daemon", era)
    async with asyncio.timeout(5):
        told = json.loads(await post_bytes(http, client, id, "echo", b'{"text":"ok"}'))
    assert told["error"]["code"] == -32600 and "id" not in told


async def test_a_batch_is_answered_even_if_some_of_it_dies(
    scene: Scene, http: ClientSession, mode: str
) -> None:
    url = scene.url("batch", mode, "legacy")
    hello = {"protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": INFO}
    first = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}
    async with http.post(url, json=first, headers=wire.ACCEPT) as response:
        session = {"Mcp-Session-Id": response.headers["Mcp-Session-Id"], **wire.ACCEPT}
    ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    batch = [ready, _call(1, "echo", text="one"), _call("1", "echo", text="two"), _call(2, "nope")]
    async with asyncio.timeout(5), http.post(url, json=batch, headers=session) as response:
        answers = {json.dumps(a["id"]): a for a in _flat(await wire.messages(response))}
    assert {id: "result" in a for id, a in answers.items()} == {"1": True, '"1"': True, "2": False}
    deadly = [_call(3, "hang"), _call(4, "die")]
    async with asyncio.timeout(5), http.post(url, json=deadly, headers=session) as response:
        dead = {a["id"]: a["error"]["code"] for a in _flat(await wire.messages(response))}
    assert dead == {3: EXITED, 4: EXITED}


INFO = {"name": "wire", "version": "1"}


def _call(id: int | str, name: str, **arguments: Any) -> dict[str, Any]:
    params = {"name": name, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}


def _flat(messages: list[Any]) -> list[dict[str, Any]]:
    return [m for entry in messages for m in (entry if isinstance(entry, list) else [entry])]


async def post_bytes(
    http: ClientSession, client: wire.Wire, id: bytes, name: str, arguments: bytes
) -> bytes:
    """Call a tool with a body written by hand; give the bytes of the answer."""
    meta = b'"_meta":%b,' % json.dumps(wire._envelope()).encode() if client.modern else b""
    params = b'{%b"name":"%b","arguments":%b}' % (meta, name.encode(), arguments)
    data = b'{"jsonrpc":"2.0","id":%b,"method":"tools/call","params":%b}' % (id, params)
    headers = {**client._headers("tools/call", {"name": name}), "Content-Type": "application/json"}
    async with http.post(client.url, data=data, headers=headers) as response:
        return await response.read()
