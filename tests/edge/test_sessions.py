"""Legacy sessions on the wire: who they belong to, what they carry, how they end."""

import asyncio
import json

import pytest

from mcpgw import aio
from tests.edge.conftest import Running
from tests.edge.replies import PATIENCE, Json
from tests.edge.world import LEGACY_DATES, Legacy, sse_client, tool
from tests.schema import check_message

ONE = {"legacy": tool("legacy", daemon={"max": 1})}
TWO = {**ONE, "other": tool("legacy"), "modern": tool("modern")}
TOKEN = {"progressToken": "t"}
ECHO = {"name": "echo", "arguments": {"text": "x"}}


def request(id: object, method: str = "tools/call", params: Json | None = None) -> Json:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params or ECHO}


@pytest.mark.spec("L7")
async def test_session_ids_cannot_be_guessed(running: Running) -> None:
    async with running(ONE) as world:
        ids = {(await world.legacy("legacy")).session for _ in range(5)}
        assert len(ids) == 5
        for id in ids:
            assert id is not None and len(id) >= 22  # 128 bits, six to a character
            assert all(0x21 <= ord(char) <= 0x7E for char in id)


@pytest.mark.spec("L8", "L9")
async def test_hostile_session_ids(running: Running) -> None:
    async with running(TWO) as world:
        client = await world.legacy("legacy")
        elsewhere = await world.legacy("other")
        assert client.session is not None and elsewhere.session is not None
        for id in ("x", "", "x" * 4000, elsewhere.session, client.session[:-1], "../" * 9, "é"):
            for method in ("POST", "GET", "DELETE"):
                headers = {"Mcp-Session-Id": id}
                if method == "GET":
                    headers["Accept"] = "text/event-stream"
                reply = await world.send(method, client.path, request(7), headers)
                assert reply.status == 404, (method, id)
                if method == "POST":
                    assert (reply.answer["id"], reply.error["code"]) == (7, -31006)
        for body in ({"jsonrpc": "2.0", "method": "x"}, {"jsonrpc": "2.0", "id": 1, "result": {}}):
            reply = await world.send("POST", client.path, body, {"Mcp-Session-Id": "x"})
            assert (reply.status, "id" in reply.answer) == (404, False)
        assert (await client.call("echo", text="alive")).text == "alive"
        assert (await elsewhere.call("echo", text="alive")).text == "alive"


@pytest.mark.spec("L9", "L10")
async def test_a_deleted_session_is_gone(running: Running) -> None:
    async with running(ONE) as world:
        client, other = await world.legacy("legacy"), await world.legacy("legacy")
        headers = client.headers("", {})
        async with (
            client.streaming("hold", key="k", steps=1, meta=TOKEN) as held,
            client.listening() as news,
        ):
            await held.message()
            deleted = await world.send("DELETE", client.path, headers=headers)
            assert (deleted.status, deleted.body) == (204, b"")
            assert await held.ended()
            assert await news.ended()
        for method in ("POST", "DELETE"):
            assert (await world.send(method, client.path, request(1), headers)).status == 404
        assert (await other.call("await_cancel")).said == ["k"]


async def test_a_session_is_not_idle_while_its_server_starts(running: Running) -> None:
    tools = {"legacy": tool("legacy", "silence", timeouts={"probe": "1500ms"})}
    async with running(tools, session_idle="1s") as world:
        await world.legacy("legacy")


async def test_an_idle_session_ends_and_a_busy_one_does_not(running: Running) -> None:
    async with running(ONE, session_idle="300ms") as world:
        idle, busy = await world.legacy("legacy"), await world.legacy("legacy")
        async with busy.listening() as news, asyncio.timeout(PATIENCE):
            # To ask is to be seen, so each question comes later than the session may be idle.
            while (await idle.request("ping")).status != 404:  # noqa: ASYNC110
                await asyncio.sleep(0.5)
            await busy.call("news", method="notifications/tools/list_changed")
            assert (await news.message())["method"] == "notifications/tools/list_changed"


async def test_there_is_room_for_so_many_sessions(running: Running) -> None:
    async with running(ONE, limits={"sessions": 2}) as world:
        first = await world.legacy("legacy")
        await world.legacy("legacy")
        third = Legacy(world, "legacy", "2025-11-25")
        refused = await third.request("initialize", {"protocolVersion": "2025-11-25"})
        assert (refused.status, refused.error["code"]) == (200, -31004)
        assert "Mcp-Session-Id" not in refused.headers
        assert refused.headers["Retry-After"] == "30"
        await world.send("DELETE", first.path, headers=first.headers("", {}))
        await world.legacy("legacy")


@pytest.mark.spec("X4", "L14")
async def test_initialize_comes_first_and_once(running: Running) -> None:
    async with running(ONE) as world:
        client = await world.legacy("legacy", "2025-03-26")
        again = await client.request("initialize", {"protocolVersion": "2025-03-26"})
        assert (again.status, again.error["code"]) == (400, -32600)
        batch = [request(1), request(2, "initialize", {"protocolVersion": "2025-03-26"})]
        refused = await world.send("POST", client.path, batch, client.headers("", {}))
        assert (refused.status, refused.error["code"]) == (400, -32600)
        assert (await client.call("echo", text="x")).text == "x"
        sent = [message["method"] for message in world.transcript()]
        assert sent.count("initialize") == 1


@pytest.mark.spec("L14", "H7")
@pytest.mark.parametrize("accept", ["application/json", "text/event-stream", "*/*"])
async def test_a_batch_is_answered_as_one(running: Running, accept: str) -> None:
    async with running(ONE) as world:
        client = await world.legacy("legacy", "2025-03-26")
        body = [
            request(1),
            {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"},
            request("1", "ping"),
            request(1.5, "no/such"),
            request(1),
        ]
        headers = {**client.headers("", {}), "Accept": accept}
        reply = await world.send("POST", client.path, body, headers)
        assert reply.status == 200
        assert reply.is_stream is (accept == "text/event-stream")
        answers = [(m["id"], "result" in m) for m in reply.messages]
        assert sorted(answers, key=str) == [("1", True), (1, False), (1, True), (1.5, False)]
        if not reply.is_stream:
            assert isinstance(json.loads(reply.body), list)


@pytest.mark.spec("L14", "H5")
async def test_a_batch_of_nothing_to_answer(running: Running) -> None:
    async with running(ONE) as world:
        client = await world.legacy("legacy", "2025-03-26")
        note = {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"}
        response = {"jsonrpc": "2.0", "id": 1, "result": {}}
        for body in ([note], [note, note], [response]):
            reply = await world.send("POST", client.path, body, client.headers("", {}))
            assert (reply.status, reply.body) == (202, b"")


@pytest.mark.parametrize("date", [d for d in LEGACY_DATES if d != "2025-03-26"])
async def test_other_revisions_have_no_batches(running: Running, date: str) -> None:
    async with running(ONE) as world:
        client = await world.legacy("legacy", date)
        reply = await world.send("POST", client.path, [request(1)], client.headers("", {}))
        assert (reply.status, reply.error["code"]) == (400, -32600)


async def test_a_batch_with_progress_is_a_stream(running: Running) -> None:
    async with running(ONE) as world:
        client = await world.legacy("legacy", "2025-03-26")
        params = {"name": "flood", "arguments": {"count": 2, "size": 1}, "_meta": TOKEN}
        body = [request(1, params=params), request(2)]
        reply = await world.send("POST", client.path, body, client.headers("", {}))
        assert reply.is_stream
        assert {m.get("id") for m in reply.messages} == {None, 1, 2}
        for message in reply.messages:
            check_message("2025-03-26", message, "tools/call")


@pytest.mark.spec("L17")
@pytest.mark.parametrize("name", ["legacy", "modern"])
async def test_ping_is_answered_while_others_wait(running: Running, name: str) -> None:
    async with running(TWO) as world:
        client = await world.legacy(name)
        async with client.streaming("hold", key="k", steps=1, meta=TOKEN) as held:
            await held.message()
            assert (await client.request("ping", id="p")).result == {}


async def test_an_id_in_flight_cannot_be_used_again(running: Running) -> None:
    async with running(ONE) as world:
        client, other = await world.legacy("legacy"), await world.legacy("legacy")
        async with client.streaming("hold", id="a", key="k", steps=1, meta=TOKEN) as held:
            await held.message()
            for spelling in ('"a"', '"\\u0061"'):
                body = json.dumps(request("@")).replace('"@"', spelling).encode()
                reply = await world.send("POST", client.path, body, client.headers("", {}))
                assert (reply.status, reply.error["code"]) == (400, -32600)
                assert reply.answer["id"] == "a"
            assert (await other.request("tools/call", ECHO, id="a")).text == "x"
            await client.call("release", key="k")
            assert "result" in await held.message()
        assert (await client.request("tools/call", ECHO, id="a")).text == "x"


@pytest.mark.spec("L6")
async def test_a_disconnect_is_no_cancellation(running: Running) -> None:
    async with running(ONE) as world:
        client = await world.legacy("legacy")
        async with client.streaming("hold", id="gone", key="k", steps=1, meta=TOKEN) as held:
            await held.message()
        async with client.streaming("hold", id="bored", key="k2", steps=1, meta=TOKEN) as held:
            await held.message()
            await client.notify("notifications/cancelled", {"requestId": "bored"})
            assert await held.ended()
        assert (await client.call("await_cancel", count=1)).said == ["k2"]
        assert (await client.call("release", key="k")).text == "done"
        heard = (await client.call("heard")).said
        assert len([m for m in heard if m["method"] == "notifications/cancelled"]) == 1


@pytest.mark.spec("C6", "X8")
async def test_a_cancellation_touches_ones_own_request_only(running: Running) -> None:
    async with running(ONE) as world:
        alice, bob = await world.legacy("legacy"), await world.legacy("legacy")
        async with (
            alice.streaming("hold", id=1, key="alice", steps=1, meta=TOKEN) as a,
            bob.streaming("hold", id=1, key="bob", steps=1, meta=TOKEN) as b,
        ):
            await a.message(), await b.message()
            for id in ("1", 2, None, [1], "secret-1", 1.0):
                assert (
                    await bob.notify("notifications/cancelled", {"requestId": id})
                ).status == 202
            await bob.notify("notifications/cancelled")
            await bob.notify("notifications/cancelled", {"requestId": 1})
            assert await b.ended()
            assert (await alice.call("await_cancel")).said == ["bob"]
            await alice.call("release", key="alice")
            assert "result" in await a.message()


async def test_a_cancelled_request_is_answered_where_silence_is_not_possible(
    running: Running,
) -> None:
    async with running(ONE) as world:
        client = await world.legacy("legacy")
        ask = client.request(
            "tools/call",
            {"name": "hold", "arguments": {"key": "k"}},
            id=9,
            accept="application/json",
        )
        async with aio.background(ask, name="ask") as asked, asyncio.timeout(PATIENCE):
            while (await client.call("release", key="none")).text != "done" or not held(
                (await client.call("heard")).said
            ):
                pass
            await client.notify("notifications/cancelled", {"requestId": 9})
            reply = await asked
        assert (reply.status, reply.error["code"]) == (200, -31040)


def held(heard: list[Json]) -> bool:
    return any(m.get("params", {}).get("name") == "hold" for m in heard)


@pytest.mark.spec("L1", "L2", "L3")
async def test_news_goes_to_one_stream_of_each_session(running: Running) -> None:
    async with running(ONE) as world:
        alice, bob = await world.legacy("legacy"), await world.legacy("legacy")
        async with (
            alice.listening() as first,
            bob.listening() as bobs,
            alice.listening() as second,
        ):
            assert await first.ended()  # the newest gets it, and only that one
            await alice.call("news", method="notifications/tools/list_changed")
            await alice.call("news", method="notifications/prompts/list_changed")
            for stream in (second, bobs):
                methods = [(await stream.message())["method"] for _ in range(2)]
                assert methods == [
                    "notifications/tools/list_changed",
                    "notifications/prompts/list_changed",
                ]


@pytest.mark.spec("L3", "L19")
async def test_what_names_nobody_reaches_nobody(running: Running) -> None:
    async with running({"legacy": tool("legacy")}) as world:
        client = await world.legacy("legacy")
        async with client.listening() as news:
            for method, params in (
                ("notifications/message", {"level": "info", "data": "secret"}),
                ("notifications/resources/updated", {"uri": "wire://a"}),
                ("notifications/progress", {"progressToken": "t", "progress": 1}),
                ("notifications/cancelled", {"requestId": 1}),
                ("notifications/elicitation/complete", {"elicitationId": "e"}),
                ("notifications/tasks/status", {"taskId": "t"}),
            ):
                await client.call("news", method=method, params=params)
            await client.call("twice", meta=TOKEN)
            await client.call("news", method="notifications/tools/list_changed")
            assert (await news.message())["method"] == "notifications/tools/list_changed"


@pytest.mark.spec("L4", "L5")
async def test_what_belongs_to_a_request_comes_with_its_answer(running: Running) -> None:
    async with running(ONE) as world:
        client = await world.legacy("legacy")
        async with (
            client.listening() as news,
            client.streaming("hold", key="k", steps=2, meta=TOKEN) as held,
        ):
            assert [(await held.message())["params"]["progress"] for _ in range(2)] == [1, 2]
            await client.call("release", key="k")
            assert "result" in await held.message()
            assert await held.ended()
            await client.call("news", method="notifications/tools/list_changed")
            assert (await news.message())["method"] == "notifications/tools/list_changed"


@pytest.mark.spec("L11")
async def test_without_a_version_header_a_session_is_what_it_negotiated(running: Running) -> None:
    async with running(ONE) as world:
        client = await world.legacy("legacy", "2025-03-26")
        assert "MCP-Protocol-Version" not in client.headers("", {})
        assert (await client.call("echo", text="x")).text == "x"


async def test_a_session_has_so_many_requests_in_flight(running: Running) -> None:
    async with running(ONE, limits={"in_flight_per_session": 1}) as world:
        client = await world.legacy("legacy")
        async with client.streaming("hold", key="k", steps=1, meta=TOKEN) as held:
            await held.message()
            full = await client.call("echo", text="x")
            assert (full.status, full.error["code"]) == (200, -31005)
        other = await world.legacy("legacy")
        assert (await other.call("release", key="k")).text == "done"


async def test_a_session_of_a_launcher_has_an_instance_of_its_own(running: Running) -> None:
    async with running({"legacy": tool("legacy", mode="launcher")}) as world:
        alice, bob = await world.legacy("legacy"), await world.legacy("legacy")
        pids = [(await client.call("pid")).said for client in (alice, bob, alice, bob)]
        assert pids[0] == pids[2] != pids[1] == pids[3]
        died = await alice.call("die", code=4)
        assert (died.status, died.error["code"]) == (200, -31020)
        assert "exited with code 4" in died.error["message"]
        assert (await alice.call("pid")).said not in pids
        assert (await bob.call("pid")).said == pids[1]


async def test_per_request_a_session_has_a_new_instance_each_time(running: Running) -> None:
    launcher = {"per": "request"}
    async with running({"legacy": tool("legacy", mode="launcher", launcher=launcher)}) as world:
        client = await world.legacy("legacy")
        assert (await client.call("pid")).said != (await client.call("pid")).said


async def test_a_stop_answers_whoever_waits(running: Running) -> None:
    async with running(TWO) as world:
        client = await world.legacy("legacy")
        async with (
            client.listening() as news,
            client.streaming("hold", key="k", steps=1, meta=TOKEN) as session,
            world.modern("modern").streaming("hold", key="k", steps=1, meta=TOKEN) as modern,
            sse_client(world, "other") as sse,
        ):
            await session.message(), await modern.message()
            params = {"name": "hold", "arguments": {"key": "k", "steps": 1}, "_meta": TOKEN}
            await sse.post(request("s", params=params))
            await sse.events.message()
            world.stop.set()
            assert await news.ended()
            for stream in (session, modern, sse.events):
                message = await stream.message()
                assert message["error"]["code"] == -31012
                assert await stream.ended()


async def test_a_stop_lets_calls_finish(running: Running) -> None:
    async with running(ONE, shutdown_grace="10s") as world:
        client = await world.legacy("legacy")
        async with (
            client.streaming("hold", key="a", steps=1, meta=TOKEN) as session,
            sse_client(world, "legacy") as sse,
        ):
            await session.message()
            params = {"name": "await_cancel", "arguments": {}}
            await sse.post(request("s", params=params))
            assert (await sse.request("ping")).result == {}
            ended = world.stopped
            world.stop.set()
            await client.notify("notifications/cancelled", {"requestId": 2})
            assert await session.ended()
            assert (await sse.answer("s"))["result"]
            assert await sse.events.ended()
        async with asyncio.timeout(PATIENCE):
            await ended
