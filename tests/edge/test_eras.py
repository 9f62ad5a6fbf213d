"""Every revision of client, before a server of either era, in both modes."""

import json
from typing import Any

import pytest

from tests.edge.conftest import Running
from tests.edge.world import DATES, MODERN, PREFIX, Client, Legacy, World, sse_client
from tests.schema import validator

CELLS = [
    (date, server, mode) for date in DATES for server in ("legacy", "modern") for mode in ("", "-l")
]


async def connect(world: World, date: str, tool: str) -> Client:
    return world.modern(tool) if date == MODERN else await world.legacy(tool, date)


@pytest.mark.spec(
    "H4", "H7", "N15", "N16", "CM2", "CL1", "CL3", "X8", "N26", "N1", "L15", "CL10", "N25"
)
@pytest.mark.parametrize(("date", "server", "mode"), CELLS)
async def test_every_cell(running: Running, date: str, server: str, mode: str) -> None:
    async with running() as world:
        client = await connect(world, date, server + mode)
        modern = date == MODERN
        if modern:
            found = (await client.request("server/discover")).result
            assert found["supportedVersions"] == [MODERN]
            assert found["_meta"][PREFIX + "serverInfo"]["name"] == "wire"
        await walk(client)
        await read(client, missing=-32602 if modern or server == "modern" else -32002)
        await progress(client)
        await errors(client, modern=modern)
        await levels(client, carried=(server, mode) != ("legacy", ""))
        await cancelled(world, client, modern=modern, launcher=mode == "-l")
    assert any(m.get("method") == "notifications/cancelled" for m in world.transcript(server))


async def walk(client: Client) -> None:
    tools, cursor = [], None
    while True:
        page = (await client.request("tools/list", {"cursor": cursor} if cursor else {})).result
        tools += [tool["name"] for tool in page["tools"]]
        if (cursor := page.get("nextCursor")) is None:
            break
    assert tools == ["t-plain", "t-odd", "t-two", "t-three"]
    assert (await client.request("prompts/list")).result["prompts"] == [{"name": "greet"}]
    for method in ("resources/list", "resources/templates/list"):
        await client.request(method)


async def read(client: Client, missing: int) -> None:
    assert (await client.call("echo", text="olá \u2028☕")).text == "olá \u2028☕"
    contents = (await client.request("resources/read", {"uri": "wire://a"})).result["contents"]
    assert contents == [{"uri": "wire://a", "text": "hello\u2028there"}]
    gone = await client.request("resources/read", {"uri": "wire://missing"})
    assert gone.error["code"] == missing
    prompt = await client.request("prompts/get", {"name": "greet", "arguments": {"name": "Ada"}})
    assert prompt.result["messages"][0]["content"]["text"] == "Hi, Ada"
    ref = {"type": "ref/prompt", "name": "greet"}
    argument = {"name": "name", "value": "o"}
    completed = await client.request("completion/complete", {"ref": ref, "argument": argument})
    assert completed.result["completion"]["values"] == ["one", "two"]


async def progress(client: Client) -> None:
    for token in ("t", "1", 1, 0):
        reply = await client.call("flood", meta={"progressToken": token}, count=3, size=1)
        told = [message["params"] for message in reply.messages[:-1]]
        assert [(p["progress"], p["progressToken"]) for p in told] == [(n, token) for n in range(3)]
        assert all(type(p["progressToken"]) is type(token) for p in told)
        assert reply.is_stream
    quiet = await client.call("flood", count=3, size=1)
    assert (len(quiet.messages), quiet.is_stream) == (1, False)


async def errors(client: Client, *, modern: bool) -> None:
    told = await client.call("fail", code=-5)
    assert told.error == {"code": -5, "message": "as told", "data": {"why": "told"}}
    unknown = await client.call("no-such-tool")
    assert (unknown.status, unknown.error["code"]) == (200, -32602)
    refused = await client.request("no/such/method")
    assert (refused.status, refused.error["code"]) == (404 if modern else 200, -32601)
    ping = await client.request("ping")
    assert (ping.status, "error" in ping.answer) == ((404, True) if modern else (200, False))
    for id in (0, "", "1", 1, 2**53 + 1):
        assert (await client.request("tools/list", id=id)).result["tools"]


async def levels(client: Client, *, carried: bool) -> None:
    """Where log messages name nobody, and many share an instance, there are none."""
    if client.revision == MODERN:
        assert (await client.request("logging/setLevel", {"level": "debug"})).status == 404
        return
    assert isinstance(client, Legacy)
    assert (await client.request("subscriptions/listen")).error["code"] == -32601
    assert ("logging" in client.introduction["capabilities"]) is carried
    told = await client.request("logging/setLevel", {"level": "debug"})
    assert told.result == {} if carried else told.error["code"] == -32601
    if carried:
        bad = await client.request("logging/setLevel", {"level": "loud"})
        assert bad.error["code"] == -32602


async def cancelled(world: World, client: Client, *, modern: bool, launcher: bool) -> None:
    meta = {"progressToken": "p"}
    async with client.streaming("hold", id="held", meta=meta, key="k", steps=1) as events:
        assert (await events.message())["params"]["progress"] == 1
        if not modern:
            params = {"requestId": "held", "reason": "bored"}
            body = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
            reply = await world.send("POST", client.path, body, client.headers("", {}))
            assert reply.status == 202
            assert await events.ended()
    if not (modern and launcher):  # where each call has a server of its own, and its end is it
        assert (await client.call("await_cancel")).said == ["k"]


@pytest.mark.parametrize("tool", ["legacy", "modern"])
async def test_the_first_transport_reaches_both_eras(running: Running, tool: str) -> None:
    async with running() as world, sse_client(world, tool) as client:
        await walk(client)
        assert (await client.call("echo", text="x")).text == "x"
        assert (await client.request("ping")).result == {}


@pytest.mark.parametrize("date", DATES)
@pytest.mark.parametrize("mode", ["daemon", "launcher"])
async def test_the_demo_server_serves_every_revision(
    running: Running, date: str, mode: str
) -> None:
    demo = {"cmd": "mcpgw", "args": ["demo-server"], "mode": mode}
    async with running({"demo": demo}) as world:
        client = await connect(world, date, "demo")
        assert (await client.call("echo", text="olá \u2028☕")).text == "olá \u2028☕"
        uris, cursor = [], None
        while True:
            page = await client.request("resources/list", {"cursor": cursor} if cursor else {})
            uris += [resource["uri"] for resource in page.result["resources"]]
            if (cursor := page.result.get("nextCursor")) is None:
                break
        assert len(uris) == len(set(uris)) > 20
        slow = await client.call("slow", meta={"progressToken": "t"}, seconds=0.05, steps=3)
        assert [m["params"]["progress"] for m in slow.messages[:-1]] == [1, 2, 3]
        assert (await client.call("fail")).result["isError"] is True


def test_the_check_can_fail() -> None:
    bad: Any = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {}}
    assert not validator("2025-11-25", "ClientRequest").is_valid(bad)
    assert json.dumps(bad)
