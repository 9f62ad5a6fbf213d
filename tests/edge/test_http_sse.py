"""HTTP+SSE, the transport of 2024-11-05, at its own address and by the GET rule."""

import asyncio
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.edge.conftest import Running
from tests.edge.replies import PATIENCE, Events, Json
from tests.edge.world import Sse, sse_client, tool

ONE = {"legacy": tool("legacy", daemon={"max": 1}), "modern": tool("modern", daemon={"max": 1})}
TOKEN = {"progressToken": "t"}


@pytest.mark.spec("L18")
@pytest.mark.parametrize(
    ("path", "endpoint"),
    [
        ("/mcp/legacy/sse", "/mcp/legacy/sse"),
        ("/mcp/legacy", "/mcp/legacy"),
        ("/legacy/sse", "/legacy/sse"),
        ("/legacy", "/legacy"),
    ],
)
async def test_the_first_event_says_where_to_post(
    running: Running, path: str, endpoint: str
) -> None:
    async with running(ONE) as world, sse_client(world, "legacy", path) as client:
        assert urlsplit(client.endpoint).path == endpoint
        (id,) = parse_qs(urlsplit(client.endpoint).query)["session_id"]
        assert len(id) >= 22
        headers = client.events.response.headers
        assert headers["Content-Type"] == "text/event-stream"
        assert headers["X-Accel-Buffering"] == "no"
        assert (await client.call("echo", text="x")).text == "x"


async def test_behind_a_proxy_the_public_url_tells_where(running: Running) -> None:
    async with (
        running(ONE, public_url="https://mcp.example.com/tools/mcp") as world,
        world.http.get(world.url("/legacy/sse")) as response,
    ):
        found = await Events(response).event()
        assert found is not None
        assert found[1].startswith("/tools/mcp/legacy/sse?session_id=")


async def test_a_get_that_is_for_something_else(running: Running) -> None:
    async with running(ONE) as world:
        for headers in ({}, {"Accept": "*/*"}, {"Accept": "application/json"}):
            reply = await world.send("GET", "/mcp/legacy", headers=headers)
            assert reply.status in (405, 406)
        stream = {"Accept": "text/event-stream", "MCP-Protocol-Version": "2025-06-18"}
        assert (await world.send("GET", "/mcp/legacy", headers=stream)).status == 405
        assert (await world.send("POST", "/mcp/legacy/sse", {})).status == 405


@pytest.mark.parametrize("name", ["legacy", "modern"])
async def test_concurrent_calls_are_each_answered(running: Running, name: str) -> None:
    async with running(ONE) as world, sse_client(world, name) as client:
        for id, key in ((101, "a"), ("101", "b")):
            body = hold(id, key)
            body["params"]["_meta"] = {"progressToken": id}
            assert (await client.post(body)).status == 202
        told = [(await client.events.message())["params"]["progressToken"] for _ in range(2)]
        assert sorted(told, key=str) == [101, "101"]
        assert (await client.call("release", key="b")).text == "done"
        assert (await client.answer("101"))["result"]["content"][0]["text"] == "released b"
        assert (await client.call("release", key="a")).text == "done"
        assert (await client.answer(101))["result"]["content"][0]["text"] == "released a"


async def test_two_clients_hear_their_own(running: Running) -> None:
    async with (
        running(ONE) as world,
        sse_client(world, "legacy") as alice,
        sse_client(world, "legacy") as bob,
    ):
        for n in range(5):
            for client, text in ((alice, f"a{n}"), (bob, f"b{n}")):
                assert (await client.call("echo", text=text)).text == text
        await alice.call("news", method="notifications/tools/list_changed")
        for client in (alice, bob):
            message = client.early.pop(0) if client.early else await client.events.message()
            assert message["method"] == "notifications/tools/list_changed"


async def test_errors_of_a_call_come_on_the_stream(running: Running) -> None:
    async with running(ONE) as world, sse_client(world, "legacy") as client:
        assert (await client.call("fail", code=-5)).error["code"] == -5
        assert (await client.request("no/such")).error["code"] == -32601
        assert (await client.call("die", code=3)).error["code"] == -31020
        assert (await client.request("ping")).result == {}
        await post_hold(client, id="h")
        await client.post(hold("h"))
        assert (await client.answer("h"))["error"]["code"] == -32600


def hold(id: object, key: str = "k") -> Json:
    params = {"name": "hold", "arguments": {"key": key, "steps": 1}, "_meta": TOKEN}
    return {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}


async def post_hold(client: Sse, id: object) -> None:
    """Begin a call that is not answered, and see that the server has it."""
    assert (await client.post(hold(id))).status == 202
    while (message := await client.events.message()).get("method") != "notifications/progress":
        client.early.append(message)


async def test_posts_that_are_wrong_are_refused_at_once(running: Running) -> None:
    async with running(ONE) as world, sse_client(world, "legacy") as client:
        for body, status in ((b"{", 400), (b"[]", 400), ({"jsonrpc": "2.0"}, 400)):
            reply = await world.send("POST", client.endpoint, body)
            assert (reply.status, "error" in reply.answer) == (status, True)
        for path in (
            "/mcp/legacy/sse?session_id=nobody",
            "/mcp/legacy/sse?session_id=",
            client.endpoint.replace("legacy", "modern"),
        ):
            assert (await world.send("POST", path, hold(1))).status == 404
        plain = await world.legacy("legacy")
        path = f"/mcp/legacy/sse?session_id={plain.session}"
        assert (await world.send("POST", path, hold(1))).status == 404


@pytest.mark.spec("X4")
async def test_a_second_initialize_is_refused(running: Running) -> None:
    async with running(ONE) as world, sse_client(world, "legacy") as client:
        again = await client.request("initialize", {"protocolVersion": "2025-11-25"})
        assert again.error["code"] == -32600
        assert (await client.call("echo", text="x")).text == "x"


async def test_a_cancellation_is_not_answered(running: Running) -> None:
    async with running(ONE) as world, sse_client(world, "legacy") as client:
        await post_hold(client, id=7)
        params = {"requestId": 7}
        body = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
        assert (await client.post(body)).status == 202
        assert (await client.call("await_cancel")).said == ["k"]
        assert not [message for message in client.early if message.get("id") == 7]


async def test_closing_the_stream_ends_everything(running: Running) -> None:
    async with running(ONE) as world:
        async with sse_client(world, "legacy") as client:
            await post_hold(client, id=7)
            endpoint = client.endpoint
        other = await world.legacy("legacy")
        assert (await other.call("await_cancel")).said == ["k"]
        async with asyncio.timeout(PATIENCE):
            while (await world.send("POST", endpoint, hold(8))).status != 404:
                pass
