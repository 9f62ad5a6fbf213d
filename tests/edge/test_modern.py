"""The modern era on the wire: no session, every request checked, a closed connection cancels."""

import asyncio
import re

import pytest

from mcpgw import aio
from tests.edge.conftest import Running
from tests.edge.replies import PATIENCE, Json
from tests.edge.world import MODERN, PREFIX, Modern, tool

ONE = {"modern": tool("modern", daemon={"max": 1})}
BOTH_ERAS = {**ONE, "legacy": tool("legacy", daemon={"max": 1})}
TOKEN = {"progressToken": "t"}


@pytest.mark.spec("N2", "N3", "N4", "N5", "N7", "N9")
@pytest.mark.parametrize("name", ["modern", "legacy"])
async def test_refusals(running: Running, name: str) -> None:
    async with running(BOTH_ERAS) as world:
        client = world.modern(name)
        good: Json = {"name": "echo", "arguments": {}}
        bare = {"_meta": {PREFIX + "clientCapabilities": None}}
        for params, headers, status, code in (
            (good, {"MCP-Protocol-Version": "2025-06-18"}, 400, -32020),
            (good, {"Mcp-Method": "tools/list"}, 400, -32020),
            (good, {"Mcp-Name": "Echo"}, 400, -32020),
            (good, {"Mcp-Name": "=?base64?!?="}, 400, -32020),
            (good | bare, {}, 400, -32602),
            (good | later("2027-01-01"), {"MCP-Protocol-Version": "2027-01-01"}, 400, -32022),
        ):
            reply = await client.request("tools/call", params, id="x", headers=headers)
            assert (reply.status, reply.error["code"]) == (status, code)
            assert reply.answer["id"] == "x"
        for method in ("no/such", "initialize", "ping", "resources/subscribe", "logging/setLevel"):
            reply = await client.request(method, {}, id=7)
            assert (reply.status, reply.error["code"], reply.answer["id"]) == (404, -32601, 7)
        unread = await client.request("no/such", accept="text/event-stream")
        assert (unread.status, unread.is_stream) == (404, False)  # a stream could not say so
        named = await client.call("echo", text="x")
        assert named.text == "x"


def later(version: str) -> Json:
    return {"_meta": {PREFIX + "protocolVersion": version}}


@pytest.mark.spec("N8")
@pytest.mark.parametrize("name", ["modern", "legacy"])
async def test_arguments_that_headers_repeat(running: Running, name: str) -> None:
    async with running(BOTH_ERAS) as world:
        client = world.modern(name)
        call: Json = {"name": "params", "arguments": {"region": "us"}}
        assert (await client.request("tools/call", call)).status == 200  # nobody listed it yet
        listed = (await client.request("tools/list", {"cursor": "annotated"})).result["tools"]
        assert [tool["inputSchema"].get("items") for tool in listed] == [None, None, PLAIN]
        for headers, status in (
            ({}, 400),
            ({"Mcp-Param-Region": "eu"}, 400),
            ({"Mcp-Param-Region": "=?base64?!?="}, 400),
            ({"mcp-param-region": "us", "Mcp-Param-Other": "x"}, 200),
        ):
            reply = await client.request("tools/call", call, id="i", headers=headers)
            assert (reply.status, reply.answer["id"]) == (status, "i")
            assert status == 200 or reply.error["code"] == -32020
        session = await world.legacy(name)
        assert (await session.request("tools/call", call)).status == 200


PLAIN = {"type": "string"}


@pytest.mark.spec("N14")
async def test_sessions_are_neither_heeded_nor_made(running: Running) -> None:
    async with running(BOTH_ERAS) as world:
        for name in BOTH_ERAS:
            client = world.modern(name)
            headers = {"Mcp-Session-Id": "nonsense", "Last-Event-ID": "7"}
            reply = await client.request("tools/list", headers=headers)
            assert reply.result["tools"]
            assert "Mcp-Session-Id" not in reply.headers


@pytest.mark.spec("H5")
async def test_notifications_are_taken_and_reach_nobody(running: Running) -> None:
    """Ids belong to no connection: a cancellation could name somebody else's request."""
    async with running(ONE) as world:
        client = world.modern("modern")
        async with client.streaming("hold", id=5, key="k", steps=1, meta=TOKEN) as held:
            await held.message()
            params = client.params({"requestId": 5})
            body = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
            reply = await world.send("POST", client.path, body)
            assert (reply.status, reply.body) == (202, b"")
            await client.call("release", key="k")
            assert (await held.message())["result"]["content"][0]["text"] == "released k"
            assert await held.ended()


@pytest.mark.spec("H6")
async def test_responses_and_batches_are_refused(running: Running) -> None:
    async with running(ONE) as world:
        headers = {"MCP-Protocol-Version": MODERN}
        response = {"jsonrpc": "2.0", "id": 1, "result": {}}
        for body in (response, [response], []):
            reply = await world.send("POST", "/mcp/modern", body, headers)
            assert (reply.status, reply.error["code"]) == (400, -32600)


@pytest.mark.spec("N12", "CM4", "C6")
@pytest.mark.parametrize("name", ["modern", "legacy"])
async def test_a_closed_connection_cancels(running: Running, name: str) -> None:
    async with running(BOTH_ERAS) as world:
        client, other = world.modern(name), world.modern(name)
        async with client.streaming("hold", id=1, key="mine", steps=1, meta=TOKEN) as mine:
            await mine.message()
            async with other.streaming("hold", id=1, key="other", steps=1, meta=TOKEN) as theirs:
                await theirs.message()
                mine.response.close()
                assert (await client.call("await_cancel")).said == ["mine"]
                await client.call("release", key="other")
                assert "result" in await theirs.message()


@pytest.mark.spec("N12")
async def test_a_connection_closed_before_anything_was_sent_cancels(running: Running) -> None:
    async with running(ONE) as world:
        client = world.modern("modern")
        await client.call("echo", text="start")

        async def leave() -> None:
            async with asyncio.timeout(0.2):
                await client.call("hold", key="quiet")

        with pytest.raises(TimeoutError):
            await leave()
        assert (await client.call("await_cancel")).said == ["quiet"]


@pytest.mark.spec("C4", "X9")
async def test_a_deadline_cancels_and_says_so(running: Running) -> None:
    settings: Json = {"timeouts": {"call": "200ms", "call_max": "400ms"}}
    tools = {"modern": tool("modern", daemon={"max": 1}, **settings)}
    async with running(tools) as world, asyncio.timeout(PATIENCE):
        client = world.modern("modern")
        late = await client.call("hold", key="slow")
        assert (late.status, late.error["code"]) == (200, -31030)
        assert (await client.call("await_cancel")).said == ["slow"]
        async with client.streaming("hold", key="moving", steps=1, meta=TOKEN) as held:
            await held.message()
            async with aio.background(keep_moving(world.modern("modern")), name="moving"):
                while "error" not in (message := await held.message()):
                    pass
            assert message["error"]["code"] == -31030
            assert re.search(r"within 0\.[4-9]", message["error"]["message"])


async def keep_moving(client: Modern) -> None:
    """Report progress for as long as it is wanted, faster than patience ends."""
    while True:
        await client.call("push", key="moving", value=1)


@pytest.mark.spec("N10", "N11", "N18")
async def test_a_stream_carries_its_own_progress_and_nothing_else(running: Running) -> None:
    async with running(ONE) as world:
        client = world.modern("modern")
        meta = {"progressToken": "a", PREFIX + "logLevel": "debug"}
        async with (
            client.streaming("hold", key="a", steps=1, meta=meta) as a,
            client.streaming("hold", key="b", steps=1, meta=meta) as b,
        ):
            await a.message(), await b.message()
            log = {"level": "error", "data": "secret"}
            await client.call("news", method="notifications/message", params=log)
            await client.call("news", method="notifications/tools/list_changed")
            await client.call("push", key="a", value=41)
            await client.call("push", key="b", value=42)
            await client.call("release", key="a")
            await client.call("release", key="b")
            for events, value in ((a, 41), (b, 42)):
                assert (await events.message())["params"]["progress"] == value
                assert "result" in await events.message()
                assert await events.ended()


@pytest.mark.spec("N6")
async def test_a_server_may_miss_a_capability(running: Running) -> None:
    async with running(ONE) as world:
        for code, status in ((-32021, 400), (-32020, 400), (-32022, 400), (-32601, 404), (-5, 200)):
            reply = await world.modern("modern").call("fail", code=code)
            assert (reply.status, reply.error["code"]) == (status, code)
            assert reply.error["data"] == {"why": "told"}


@pytest.mark.spec("N24")
async def test_a_legacy_server_speaks_no_reserved_code(running: Running) -> None:
    async with running(BOTH_ERAS) as world:
        for code, seen in ((-32002, -32602), (-32042, -32603), (-32021, -32603), (-32000, -32000)):
            reply = await world.modern("legacy").call("fail", code=code)
            assert (reply.status, reply.error["code"]) == (200, seen)


@pytest.mark.spec("N23")
async def test_lists_are_the_same_on_every_connection(running: Running) -> None:
    async with running(BOTH_ERAS) as world:
        for name in BOTH_ERAS:
            lists = [(await world.modern(name).request("tools/list")).result for _ in range(3)]
            assert lists[0] == lists[1] == lists[2]


@pytest.mark.spec("N16")
async def test_hints_of_a_modern_server_pass(running: Running) -> None:
    async with running(ONE) as world:
        listed = (await world.modern("modern").request("tools/list")).result
        assert (listed["ttlMs"], listed["cacheScope"]) == (5, "public")


async def test_extensions_stay_within_an_era(running: Running) -> None:
    async with running(BOTH_ERAS) as world:
        extended = await world.modern("modern").request("com.example/extension")
        assert extended.answer["result"]["extended"] is True
        refused = await world.modern("legacy").request("com.example/extension")
        assert refused.status == 404


@pytest.mark.spec("X8")
async def test_equal_ids_never_meet(running: Running) -> None:
    async with running(BOTH_ERAS) as world, asyncio.timeout(PATIENCE):
        for name in BOTH_ERAS:
            client = world.modern(name)

            async with asyncio.TaskGroup() as group:
                for n in range(50):
                    group.create_task(echo_as_one(client, str(n)))


async def echo_as_one(client: Modern, text: str) -> None:
    params = {"name": "echo", "arguments": {"text": text}, "_meta": {"progressToken": 1}}
    assert (await client.request("tools/call", params, id=1)).text == text
