"""Servers that misbehave: nobody hangs, nobody gets what is not theirs, others are served."""

import asyncio
import re
from pathlib import Path

import pytest

from mcpgw import aio
from tests.edge.conftest import Running
from tests.edge.replies import PATIENCE, Json
from tests.edge.world import PREFIX, Client, World, tool

DAEMON = {"max": 1, "backoff": {"initial": "20ms"}}
ONE = {"modern": tool("modern", daemon=DAEMON), "legacy": tool("legacy", daemon=DAEMON)}
TOKEN = {"progressToken": "t"}
CROSSED = [(client, server) for client in ("modern", "legacy") for server in ("modern", "legacy")]


async def client_of(world: World, era: str, name: str) -> Client:
    return world.modern(name) if era == "modern" else await world.legacy(name)


@pytest.mark.spec("CM1", "CL1", "CL2", "X5", "X6", "CM10")
@pytest.mark.parametrize("era", ["modern", "legacy"])
@pytest.mark.parametrize("probe", ["error", "exit", "silence", "listless"])
async def test_a_legacy_server_is_recognised_whatever_it_says(
    running: Running, era: str, probe: str
) -> None:
    spec = tool("legacy", probe, daemon={"max": 2, "max_in_flight": 1}, timeouts={"probe": "1s"})
    async with running({"wire": spec}) as world:
        client = await client_of(world, era, "wire")
        assert (await client.call("echo", text="x")).text == "x"
        async with client.streaming("hold", key="k", steps=1, meta=TOKEN) as held:
            await held.message()
            assert (await client.call("echo", text="second instance")).text == "second instance"
        methods = [message["method"] for message in world.transcript()]
        assert methods.count("server/discover") == 1
        assert methods.count("initialize") == 2


@pytest.mark.spec("CM1", "CM10")
async def test_a_modern_server_is_never_initialized(running: Running) -> None:
    async with running({"wire": tool("modern", mode="launcher")}) as world:
        for _ in range(2):
            assert (await world.modern("wire").call("echo", text="x")).text == "x"
        assert "initialize" not in {message["method"] for message in world.transcript()}


async def test_a_wrong_verdict_is_corrected_when_a_start_fails(
    running: Running, tmp_path: Path
) -> None:
    """A modern server that fell over when it was asked is asked again, not initialized."""
    script = f"[ -e {tmp_path}/gate ] || exit 3; exec {command('modern')}"
    spec = {"cmd": "sh", "args": ["-c", script], "mode": "daemon", "daemon": DAEMON}
    async with running({"wire": spec}) as world, asyncio.timeout(PATIENCE):
        client = world.modern("wire")
        assert (await client.call("echo", text="x")).error["code"] == -31010
        (tmp_path / "gate").touch()
        while "error" in (reply := await client.call("echo", text="x")).answer:
            assert reply.error["code"] == -31010  # until the backoff is over
        assert reply.text == "x"


@pytest.mark.spec("CM1")
async def test_a_server_that_was_slow_to_start_is_modern_after_all(
    running: Running, tmp_path: Path
) -> None:
    script = f"[ -e {tmp_path}/mark ] || {{ touch {tmp_path}/mark; exec cat >&2; }}; "
    script += f"exec {command('modern')}"
    timeouts = {"probe": "200ms"}
    spec = {"cmd": "sh", "args": ["-c", script], "mode": "daemon", "timeouts": timeouts}
    async with running({"wire": spec}) as world:
        assert (await world.modern("wire").call("echo", text="x")).text == "x"
        assert world.violations() == "initialize to a modern server\n"
        (world.folder / "violations").unlink()


def command(era: str) -> str:
    made = tool(era)
    return " ".join([made["cmd"], *made["args"]])


@pytest.mark.spec("CM9")
@pytest.mark.parametrize(("era", "name"), CROSSED)
async def test_every_question_is_put_to_the_server(running: Running, era: str, name: str) -> None:
    """Whatever it says of caching: a reply must not be reused for other parameters."""
    async with running(ONE) as world:
        client = await client_of(world, era, name)
        for _ in range(2):
            first = (await client.request("tools/list")).result
            second = (await client.request("tools/list", {"cursor": "two"})).result
            assert first["tools"] != second["tools"]
        sent = [message["method"] for message in world.transcript()]
        assert sent.count("tools/list") == 4


@pytest.mark.parametrize(("era", "pinned"), [("modern", "legacy"), ("legacy", "modern")])
async def test_a_server_pinned_to_the_wrong_era(running: Running, era: str, pinned: str) -> None:
    async with running({"wire": tool(era, protocol=pinned)}) as world:
        reply = await world.modern("wire").call("echo", text="x")
        assert (reply.status, reply.error["code"]) == (503, -31010)
        assert f"protocol: {pinned}" in reply.error["message"]
        (world.folder / "violations").unlink(missing_ok=True)  # it was told to be wrong


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_server_that_cannot_start(running: Running, era: str) -> None:
    bad = {"cmd": "sh", "args": ["-c", "echo no backend >&2; exit 3"]}
    async with running({**ONE, "bad": bad}) as world:
        if era == "modern":
            reply = await world.modern("bad").call("echo")
            assert (reply.status, reply.answer["id"]) == (503, 1)
            discovered = await world.modern("bad").request("server/discover")
            assert discovered.status == 503
        else:
            reply = await world.send("POST", "/mcp/bad", INITIALIZE)
            assert (reply.status, reply.answer["id"]) == (200, 1)
            assert "Mcp-Session-Id" not in reply.headers
        assert reply.error["code"] == -31010
        assert "exited with code 3" in reply.error["message"]
        assert reply.error["data"]["stderr"] == ["no backend"]
        far = {"X-Forwarded-For": "192.0.2.1"}
        strangers = await world.modern("bad").request("tools/list", headers=far)
        assert "stderr" not in strangers.error.get("data", {})
        assert (await world.modern("modern").call("echo", text="others")).text == "others"


INITIALIZE: Json = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}


@pytest.mark.spec("H7", "C5")
@pytest.mark.parametrize(("era", "name"), CROSSED)
async def test_noise_and_forgeries_are_not_answers(running: Running, era: str, name: str) -> None:
    async with running(ONE) as world:
        client = await client_of(world, era, name)
        other = await client_of(world, era, name)
        async with other.streaming("hold", key="k", steps=1, meta=TOKEN) as held:
            await held.message()
            assert (await client.call("forge", meta=TOKEN)).text == "genuine"
            await client.call("release", key="k")
            assert (await held.message())["result"]["content"][0]["text"] == "released k"


@pytest.mark.spec("C5", "X9", "N26")
@pytest.mark.parametrize(("era", "name"), CROSSED)
async def test_a_second_answer_and_late_progress_are_dropped(
    running: Running, era: str, name: str
) -> None:
    async with running(ONE) as world:
        client = await client_of(world, era, name)
        reply = await client.call("twice", meta=TOKEN)
        assert (reply.text, len(reply.messages)) == ("first", 1)
        assert (await client.call("echo", text="x")).text == "x"


@pytest.mark.spec("CL5", "CL7", "CL8", "L16", "L19", "X1")
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_questions_are_refused_and_pings_answered(running: Running, era: str) -> None:
    async with running(ONE) as world:
        client = await client_of(world, era, "legacy")
        assert (await client.call("ask", method="ping")).said == {"result": {}}
        for method in ("roots/list", "elicitation/create", "sampling/createMessage", "no/such"):
            reply = await client.call("ask", method=method, meta=TOKEN)
            assert reply.said["error"]["code"] == -32601
            assert len(reply.messages) == 1


@pytest.mark.spec("CM3", "N10")
async def test_a_modern_server_gets_no_responses(running: Running) -> None:
    async with running(ONE, keep_alive="50ms") as world:
        client = world.modern("modern")
        async with client.streaming("ask", method="ping") as asked:
            assert (await client.call("echo", text="x")).text == "x"
            asked.response.close()
        assert all("method" in message for message in world.transcript())


@pytest.mark.spec("CM8", "N28")
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_results_that_were_not_asked_for(running: Running, era: str) -> None:
    async with running(ONE) as world:
        client = await client_of(world, era, "modern")
        for asks in ({}, {"inputRequests": {"k": {"method": "ping"}}}):
            asked = await client.call("raw", result={"resultType": "input_required", **asks})
            assert (asked.status, asked.error["code"]) == (200, -31022)
        odd = await client.call("raw", result={"resultType": "task", "taskId": "x"})
        assert (odd.status, odd.error["code"]) == (200, -31022)


@pytest.mark.spec("CM6")
@pytest.mark.parametrize(("era", "name"), CROSSED)
async def test_a_crash_is_told_to_all_who_wait(running: Running, era: str, name: str) -> None:
    async with running(ONE) as world:
        clients = [await client_of(world, era, name) for _ in range(3)]
        async with (
            clients[0].streaming("hold", key="a", steps=1, meta=TOKEN) as first,
            clients[1].streaming("hold", key="b", steps=1, meta=TOKEN) as second,
        ):
            await first.message(), await second.message()
            died = await clients[2].call("die", code=5)
            assert (died.status, died.error["code"]) == (200, -31020)
            assert "exited with code 5" in died.error["message"]
            assert died.error["data"]["stderr"][-1] == "wire server: told to die"
            for events in (first, second):
                assert (await events.message())["error"]["code"] == -31020
                assert await events.ended()
        assert (await clients[0].call("echo", text="again")).text == "again"
        sent = [message.get("params", {}).get("name") for message in world.transcript()]
        assert (sent.count("hold"), sent.count("die")) == (2, 1)  # nothing was tried again


@pytest.mark.parametrize(("era", "name"), CROSSED)
async def test_a_line_beyond_the_limit_ends_the_instance(
    running: Running, era: str, name: str
) -> None:
    tools = {key: {**spec, "limits": {"line": "64 KiB"}} for key, spec in ONE.items()}
    async with running(tools) as world:
        client = await client_of(world, era, name)
        other = await client_of(world, era, name)
        async with other.streaming("hold", key="k", steps=1, meta=TOKEN) as held:
            await held.message()
            reply = await client.call("line", bytes=70_000)
            assert (reply.status, reply.error["code"]) == (200, -31021)
            assert "limits.line" in reply.error["message"]
            assert (await held.message())["error"]["code"] == -31021
        fits = await client.call("big", bytes=50_000)
        assert len(fits.text) == 50_000


async def test_a_server_that_reads_nothing_runs_into_the_deadline(running: Running) -> None:
    deaf = "read line; echo " + DISCOVERED.replace('"', '\\"') + "; exec sleep 60"
    spec = {"cmd": "sh", "args": ["-c", deaf], "mode": "daemon", "daemon": {"max": 1}}
    timeouts = {"call": "300ms", "call_max": "300ms", "stop": "50ms", "term": "50ms"}
    async with running({"deaf": {**spec, "timeouts": timeouts}}) as world:
        client = world.modern("deaf")

        async def ask() -> None:
            reply = await client.call("echo", text="x" * 500_000)
            assert (reply.status, reply.error["code"]) == (200, -31030)

        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(ask())


DISCOVERED = (
    '{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","supportedVersions":["2026-07-28"],'
    '"capabilities":{},"ttlMs":0,"cacheScope":"private"}}'
)


async def test_a_call_can_be_cancelled_before_its_server_is_ready(running: Running) -> None:
    spec = {
        "cmd": "sh",
        "args": ["-c", "exec sleep 60"],
        "timeouts": {"stop": "50ms", "term": "1s"},
    }
    async with running({"slow": spec}) as world:
        client = world.modern("slow")
        async with aio.background(client.call("echo"), name="ask"):
            pass
        assert "notifications/cancelled" not in str(world.transcript())


async def test_what_the_server_hears_is_its_own_era(running: Running) -> None:
    async with running(ONE) as world:
        modern = (await world.modern("legacy").call("params", a=1, meta={"traceparent": "t"})).said
        assert modern == {
            "name": "params",
            "arguments": {"a": 1},
            "_meta": {"traceparent": "t"},
        }
        legacy = await world.legacy("modern")
        told = (await legacy.call("params", a=1)).said
        assert told["_meta"][PREFIX + "clientInfo"] == {"name": "test", "version": "1"}
        can: Json = {"elicitation": {}, "sampling": {}, "roots": {}}
        assert told["_meta"][PREFIX + "clientCapabilities"] == can
        assert told["_meta"][PREFIX + "logLevel"] == "info"
        assert told["arguments"] == {"a": 1}


@pytest.mark.spec("X8")
async def test_a_smuggled_token_is_only_a_word(running: Running) -> None:
    """Knowing how tokens look on the wire does not help: a client's own is always replaced."""
    async with running(ONE) as world:
        client = world.modern("modern")
        async with client.streaming("hold", key="k", steps=1, meta=TOKEN) as held:
            await held.message()
            word = (await client.call("params", meta=TOKEN)).said["_meta"]["progressToken"]
            prefix, _, number = word.rpartition("-")
            assert re.fullmatch(r"[0-9a-f]{16}", prefix)
            theirs = f"{prefix}-{int(number) - 1}"
            reply = await client.call("flood", meta={"progressToken": theirs}, count=2, size=1)
            assert {m["params"]["progressToken"] for m in reply.messages[:-1]} == {theirs}
            await client.call("release", key="k")
            assert "result" in await held.message()
