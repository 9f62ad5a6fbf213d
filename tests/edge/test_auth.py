"""Who is calling: keys, what they open, and that nothing is somebody else's."""

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from mcpgw.access.keys import digest, new_key
from tests.edge.asking import ANSWERS, CAN, FORM, answers_to, quiz
from tests.edge.conftest import Running
from tests.edge.replies import Json
from tests.edge.world import World, sse_client, tool

ALICE, BOB, EVE = new_key(), new_key(), new_key()
AUTH: Json = {
    "keys": [
        {"name": "alice", "key": digest(ALICE), "groups": ["staff"]},
        {"name": "bob", "key": digest(BOB)},
        {"name": "eve", "key": digest(EVE), "expires": "2020-01-01"},
    ]
}
TOOLS: Json = {
    "modern": tool("modern", daemon={"max": 1}),
    "legacy": tool("legacy", daemon={"max": 2}),
    "hers": tool("modern", allow=["alice"]),
    "staff": tool("modern", allow=["staff", "carol"]),
    "nobodys": tool("modern", allow=[]),
}
ECHO = {"name": "echo", "arguments": {"text": "x"}}


@asynccontextmanager
async def acting(world: World, **headers: str) -> AsyncIterator[World]:
    """The same gateway, as somebody with these headers."""
    shown = {name.replace("_", "-"): value for name, value in headers.items()}
    async with aiohttp.ClientSession(headers=shown, auto_decompress=False) as http:
        yield dataclasses.replace(world, http=http)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def test_without_a_key_there_is_nothing_and_it_is_said_how_to_get_in(
    running: Running,
) -> None:
    async with running(TOOLS, auth=AUTH) as world:
        for path in ("modern", "nothing", "../x"):
            reply = await world.send("POST", f"/mcp/{path}", {"jsonrpc": "2.0"}, {})
            assert (reply.status, reply.error["code"]) == (401, -31001)
            assert reply.headers["WWW-Authenticate"] == 'Bearer realm="mcpgw"'
            assert "Authorization: Bearer" in reply.error["message"]
        assert (await world.send("GET", "/mcp/modern", None, {})).status == 401
        assert (await world.send("DELETE", "/mcp/modern", None, {})).status == 401
        assert (await world.send("OPTIONS", "/mcp/modern", None, {})).status == 204


@pytest.mark.parametrize(
    "headers", [bearer(ALICE), {"X_API_Key": ALICE}, {"Authorization": f"bearer {ALICE}"}]
)
async def test_a_key_opens(running: Running, headers: dict[str, str]) -> None:
    async with running(TOOLS, auth=AUTH) as world, acting(world, **headers) as alice:
        assert (await alice.modern("modern").call("echo", text="hi")).text == "hi"
        legacy = await alice.legacy("legacy")
        assert (await legacy.call("echo", text="hi")).text == "hi"
        async with sse_client(alice, "legacy") as old:
            assert (await old.call("echo", text="hi")).text == "hi"


@pytest.mark.parametrize(
    ("headers", "status", "challenge"),
    [
        (bearer("wrong" * 10), 401, 'Bearer realm="mcpgw", error="invalid_token"'),
        (bearer(EVE), 401, 'Bearer realm="mcpgw", error="invalid_token"'),
        ({"Authorization": f"Basic {ALICE}"}, 401, 'Bearer realm="mcpgw", error="invalid_token"'),
        ({**bearer(ALICE), "X_API_Key": ALICE}, 400, None),
    ],
)
async def test_other_credentials_do_not(
    running: Running, headers: dict[str, str], status: int, challenge: str | None
) -> None:
    async with running(TOOLS, auth=AUTH) as world, acting(world, **headers) as stranger:
        reply = await stranger.modern("modern").request("tools/call", ECHO)
        assert reply.status == status
        assert reply.headers.get("WWW-Authenticate") == challenge


async def test_a_key_in_the_address_is_no_key(running: Running) -> None:
    async with running(TOOLS, auth=AUTH) as world:
        reply = await world.send("POST", f"/mcp/modern?key={ALICE}&access_token={ALICE}", {}, {})
        assert reply.status == 401


async def test_allow_names_people_and_groups(running: Running) -> None:
    async with (
        running(TOOLS, auth=AUTH) as world,
        acting(world, **bearer(ALICE)) as alice,
        acting(world, **bearer(BOB)) as bob,
    ):
        may = {
            (who, name): (await client.modern(name).request("tools/call", ECHO)).status == 200
            for who, client in (("alice", alice), ("bob", bob))
            for name in ("modern", "hers", "staff", "nobodys")
        }
        assert {key for key, allowed in may.items() if allowed} == {
            *(("alice", "modern"), ("alice", "hers"), ("alice", "staff")),
            ("bob", "modern"),
        }
        refused = await bob.modern("hers").request("tools/call", ECHO)
        assert (refused.status, refused.error["code"]) == (403, -31002)
        assert (await bob.modern("nothing").request("tools/call", ECHO)).status == 404


async def test_a_session_is_of_no_use_to_somebody_else(running: Running) -> None:
    async with (
        running(TOOLS, auth=AUTH) as world,
        acting(world, **bearer(ALICE)) as alice,
        acting(world, **bearer(BOB)) as bob,
    ):
        hers = await alice.legacy("legacy")
        his = await bob.legacy("legacy")
        his.session, own = hers.session, his.session
        stolen = await his.request("tools/call", ECHO)
        assert (stolen.status, stolen.error["code"]) in ((404, -31006), (200, -31006))
        told = await his.world.send("GET", his.path, None, {**his.headers("", {}), **EVENTS})
        assert told.status == 404
        assert (await his.world.send("DELETE", his.path, None, his.headers("", {}))).status == 404
        his.session = own
        assert (await hers.call("echo", text="still")).text == "still"


EVENTS = {"Accept": "text/event-stream"}


async def test_an_event_stream_is_not_resumed_by_somebody_else(running: Running) -> None:
    async with (
        running(TOOLS, auth=AUTH) as world,
        acting(world, **bearer(ALICE)) as alice,
        acting(world, **bearer(BOB)) as bob,
    ):
        hers = await alice.legacy("modern")
        async with hers.streaming("hold", key="k", steps=1, meta={"progressToken": "t"}) as events:
            await events.message()
            headers = {**hers.headers("", {}), **EVENTS, "Last-Event-ID": events.ids[-1]}
            assert (await bob.send("GET", hers.path, None, headers)).status == 404
            await hers.call("release", key="k")
            assert "result" in await events.message()


async def test_http_sse_takes_no_message_of_somebody_else(running: Running) -> None:
    async with (
        running(TOOLS, auth=AUTH) as world,
        acting(world, **bearer(ALICE)) as alice,
        acting(world, **bearer(BOB)) as bob,
        sse_client(alice, "legacy") as hers,
    ):
        body = {"jsonrpc": "2.0", "id": 9, "method": "ping"}
        assert (await bob.send("POST", hers.endpoint, body)).status == 404
        assert (await hers.call("echo", text="fine")).text == "fine"


@pytest.mark.parametrize("name", ["legacy", "modern"])
async def test_a_state_is_of_no_use_to_somebody_else(running: Running, name: str) -> None:
    async with (
        running(TOOLS, auth=AUTH) as world,
        acting(world, **bearer(ALICE)) as alice,
        acting(world, **bearer(BOB)) as bob,
    ):
        params = quiz(FORM)
        hers, his = (w.modern(name, **CAN) for w in (alice, bob))
        again = answers_to(await hers.request("tools/call", params))
        stolen = await his.request("tools/call", {**params, **again})
        assert (stolen.status, stolen.error["code"]) == (200, -32602)
        answer = await hers.request("tools/call", {**params, **again})
        assert answer.said == {"k0": ANSWERS["elicitation/create"]}


async def test_the_log_says_who_it_was_but_no_key(
    running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(TOOLS, auth=AUTH) as world, acting(world, **bearer(ALICE)) as alice:
        await alice.modern("modern").call("echo", text="x")
        await world.send("POST", "/mcp/modern", {}, {"X-API-Key": "canary" * 9})
    logged = capsys.readouterr().out
    assert "principal=key:alice" in logged
    assert ALICE not in logged
    assert "canary" not in logged


async def test_no_key_reaches_a_server(running: Running) -> None:
    async with running(TOOLS, auth=AUTH) as world, acting(world, **bearer(ALICE)) as alice:
        said: Any = (await alice.modern("modern").call("params")).said
        assert ALICE not in str(said)
        assert ALICE not in str(alice.transcript())


async def test_keys_make_another_address_than_loopback_fine(running: Running) -> None:
    settings = {"listen": {"host": "0.0.0.0", "port": 0}, "allowed_hosts": ["*"]}
    async with running(TOOLS, auth=AUTH, **settings) as world, acting(world, **bearer(ALICE)) as a:
        assert (await a.modern("modern").call("echo", text="hi")).text == "hi"
        assert (await world.modern("modern").request("tools/call", ECHO)).status == 401
