"""A server asks the user, whatever its era and the client's; each prompt reaches its own caller."""

import asyncio
import json

import pytest

from tests.edge.asking import (
    ALL,
    ANSWERS,
    CAN,
    FORM,
    ROOTS,
    SAMPLE,
    answer_next,
    answers_to,
    connected,
    in_rounds,
    quiz,
)
from tests.edge.conftest import Running
from tests.edge.replies import PATIENCE, Json
from tests.edge.world import DATES, sse_client, tool

TOOLS: Json = {
    "legacy": tool("legacy"),
    "modern": tool("modern"),
    "legacy-l": tool("legacy", mode="launcher"),
    "modern-l": tool("modern", mode="launcher"),
}
LEGACY_CAN: dict[str, Json] = {"elicitation": {}, "roots": {}, "sampling": {}}
ELICITING = ("2025-06-18", "2025-11-25")
SAID = {"k0": ANSWERS["elicitation/create"], "k1": ANSWERS["roots/list"]}
SAID["k2"] = ANSWERS["sampling/createMessage"]


@pytest.mark.spec("N20", "CM7", "X10", "N10", "CL8", "CM11")
@pytest.mark.parametrize("name", TOOLS)
async def test_a_modern_client_is_answered_with_questions(running: Running, name: str) -> None:
    async with running(TOOLS) as world:
        client = world.modern(name, **CAN)
        reply, rounds = await in_rounds(client, quiz(*ALL))
        assert (reply.said, rounds) == (SAID, 1)
        reply, rounds = await in_rounds(client, quiz(FORM, rounds=3))
        assert rounds == 3
        assert reply.said == {"k0": ANSWERS["elicitation/create"]}


@pytest.mark.spec("L4", "L19", "CM7", "CL8", "L2")
@pytest.mark.parametrize("date", ELICITING)
@pytest.mark.parametrize("name", TOOLS)
async def test_a_legacy_client_is_asked_on_the_stream_of_its_call(
    running: Running, name: str, date: str
) -> None:
    async with running(TOOLS) as world:
        client = await world.legacy(name, date, **LEGACY_CAN)
        params = quiz(*ALL, rounds=2)
        async with client.streaming("quiz", **params["arguments"]) as events:
            asked = [await answer_next(client, events) for _ in range(6)]
            answer = await events.message()
            assert await events.ended()
        assert sorted(a["method"] for a in asked[:3]) == sorted(ANSWERS)
        assert len({a["id"] for a in asked}) == 6
        assert answer["result"]["content"][0]["text"] == json.dumps(SAID)


@pytest.mark.spec("L19", "CM11", "CL5")
@pytest.mark.parametrize("date", DATES)
@pytest.mark.parametrize("name", TOOLS)
async def test_servers_are_told_what_the_client_can_do_and_no_more(
    running: Running, name: str, date: str
) -> None:
    async with running(TOOLS) as world:
        can: dict[str, Json] = {"roots": {}, "elicitation": {}, "sampling": {"tools": {}}}
        client = await connected(world, date, name, **can)
        told = (await client.call("capabilities")).said
        if date in ("2024-11-05", "2025-03-26"):
            del can["elicitation"]
        assert told == can
        nothing = await connected(world, date, name, experimental={})
        assert (await nothing.call("capabilities")).said.keys() <= {"experimental"}


@pytest.mark.spec("N20", "N6", "L19")
@pytest.mark.parametrize("name", ["legacy", "legacy-l"])
async def test_what_was_not_declared_is_not_asked(running: Running, name: str) -> None:
    url = {**FORM, "params": {"mode": "url", "message": "go", "url": "https://example.org"}}
    url["params"]["elicitationId"] = "e1"
    tooled = {**SAMPLE, "params": {**SAMPLE["params"], "tools": []}}
    async with running(TOOLS) as world:
        can: dict[str, Json] = {"elicitation": {"form": {}}, "sampling": {}}
        modern = world.modern(name, **can)
        legacy = await world.legacy(name, "2025-11-25", **can)
        for client in (modern, legacy):
            reply = await client.request("tools/call", quiz(url, tooled, ROOTS))
            codes = {key: value.get("code") for key, value in reply.said.items()}
            assert codes == {"k0": -32602, "k1": -32602, "k2": -32601}
            assert len(reply.messages) == 1


@pytest.mark.parametrize("name", TOOLS)
async def test_a_refusal_of_the_user_reaches_the_server(running: Running, name: str) -> None:
    async with running(TOOLS) as world:
        modern = world.modern(name, **CAN)
        params = quiz(FORM)
        first = await modern.request("tools/call", params)
        again = answers_to(first)
        for key in again["inputResponses"]:
            again["inputResponses"][key] = {"action": "decline"}
        told = await modern.request("tools/call", {**params, **again})
        assert told.said == {"k0": {"action": "decline"}}
        legacy = await world.legacy(name, "2025-11-25", **LEGACY_CAN)
        async with legacy.streaming("quiz", **params["arguments"]) as events:
            asked = await events.message()
            await legacy.reply(asked["id"], error={"code": -1, "message": "no"})
            said = (await events.message())["result"]["content"][0]["text"]
        assert ("no" if name.startswith("legacy") else "cancel") in said


@pytest.mark.parametrize("name", ["modern", "modern-l"])
async def test_what_a_modern_server_cannot_be_told_ends_the_call(
    running: Running, name: str
) -> None:
    async with running(TOOLS) as world:
        legacy = await world.legacy(name, "2025-11-25", **LEGACY_CAN)
        async with legacy.streaming("quiz", **quiz(SAMPLE)["arguments"]) as events:
            asked = await events.message()
            await legacy.reply(asked["id"], error={"code": -1, "message": "rejected"})
            result = (await events.message())["result"]
        assert result["isError"] is True
        assert "rejected" in result["content"][0]["text"]


@pytest.mark.spec("X1", "N10")
@pytest.mark.parametrize("name", TOOLS)
async def test_prompts_of_concurrent_calls_are_never_mixed_up(running: Running, name: str) -> None:
    async with running(TOOLS) as world, asyncio.timeout(PATIENCE):

        async def one(number: int) -> None:
            named = {**FORM, "params": {**FORM["params"], "message": f"call {number}"}}
            client = world.modern(name, **CAN)
            params = quiz(named)
            first = await client.request("tools/call", params, id=1)
            (asked,) = first.result["inputRequests"].values()
            assert asked["params"]["message"] == f"call {number}"
            again = answers_to(first)
            for key in again["inputResponses"]:
                accepted = {"action": "accept", "content": {"name": f"user {number}"}}
                again["inputResponses"][key] = accepted
            reply = await client.request("tools/call", {**params, **again}, id=1)
            assert reply.said["k0"]["content"] == {"name": f"user {number}"}

        async def two(number: int) -> None:
            named = {**FORM, "params": {**FORM["params"], "message": f"call {number}"}}
            client = await world.legacy(name, "2025-11-25", **LEGACY_CAN)
            async with client.streaming("quiz", **quiz(named)["arguments"]) as events:
                asked = await events.message()
                assert asked["params"]["message"] == f"call {number}"
                accepted = {"action": "accept", "content": {"name": f"user {number}"}}
                await client.reply(asked["id"], result=accepted)
                assert f"user {number}" in str(await events.message())

        async with asyncio.TaskGroup() as group:
            for number in range(8):
                group.create_task(one(number))
                group.create_task(two(number))


@pytest.mark.spec("X1")
async def test_nobody_is_asked_what_a_call_that_was_given_up_asks(running: Running) -> None:
    """Its instance may still ask for it, so no other call gets to use that instance."""
    async with running({"legacy": tool("legacy", daemon={"max": 2})}) as world:
        client = world.modern("legacy", **CAN)
        pid = (await client.call("pid")).said
        async with client.streaming("hold", key="k", steps=1, meta={"progressToken": 1}) as held:
            await held.message()
        assert (await client.call("pid")).said != pid


async def test_a_question_may_be_withdrawn(running: Running) -> None:
    async with running(TOOLS) as world:
        legacy = await world.legacy("legacy-l", "2025-11-25", **LEGACY_CAN)
        async with legacy.streaming("quiz", **quiz(FORM)["arguments"]) as events:
            asked = await events.message()
            await legacy.call("withdraw")
            gone = await events.message()
            assert gone["method"] == "notifications/cancelled"
            assert gone["params"]["requestId"] == asked["id"]
            assert "withdrawn" in str(await events.message())
            await legacy.reply(asked["id"], result=ANSWERS["elicitation/create"])  # too late


@pytest.mark.spec("L4")
@pytest.mark.parametrize("name", TOOLS)
async def test_a_client_that_takes_no_stream_is_asked_on_the_one_it_holds(
    running: Running, name: str
) -> None:
    async with running(TOOLS) as world, asyncio.timeout(PATIENCE):
        client = await world.legacy(name, "2025-11-25", **LEGACY_CAN)
        async with client.listening() as events, asyncio.TaskGroup() as group:
            asking = client.request("tools/call", quiz(FORM), accept="application/json")
            task = group.create_task(asking)
            await answer_next(client, events)
            assert (await task).said == {"k0": ANSWERS["elicitation/create"]}


@pytest.mark.parametrize("name", TOOLS)
async def test_the_first_transport_asks_on_its_one_stream(running: Running, name: str) -> None:
    async with running(TOOLS) as world, sse_client(world, name, roots={}, sampling={}) as client:
        body = client.body("tools/call", quiz(ROOTS, SAMPLE), "q")
        await client.post(body)
        for _ in range(2):
            asked = await client.events.message()
            result = ANSWERS[asked["method"]]
            await client.post({"jsonrpc": "2.0", "id": asked["id"], "result": result})
        said = (await client.answer("q"))["result"]["content"][0]["text"]
        assert json.loads(said) == {"k0": ANSWERS["roots/list"], "k1": SAID["k2"]}


@pytest.mark.parametrize("name", TOOLS)
async def test_a_legacy_call_that_is_cancelled_withdraws_its_question(
    running: Running, name: str
) -> None:
    async with running(TOOLS) as world:
        client = await world.legacy(name, "2025-11-25", **LEGACY_CAN)
        async with client.opened("tools/call", quiz(FORM), id="c") as events:
            asked = await events.message()
            await client.notify("notifications/cancelled", {"requestId": "c"})
            gone = await events.message()
            assert gone["method"] == "notifications/cancelled"
            assert gone["params"]["requestId"] == asked["id"]
            assert await events.ended()
    if name.startswith("legacy"):
        (answer,) = [message for message in world.transcript() if "method" not in message]
        assert answer["result"] == {"action": "cancel"}


@pytest.mark.spec("L6")
async def test_a_disconnect_leaves_a_question_open(running: Running) -> None:
    async with running(TOOLS) as world:
        client = await world.legacy("legacy-l", "2025-11-25", **LEGACY_CAN)
        async with client.opened("tools/call", quiz(FORM), id="c") as events:
            asked = await events.message()
        await client.reply(asked["id"], result=ANSWERS["elicitation/create"])
        heard = (await client.call("heard")).said
        assert {"jsonrpc": "2.0", "id": "q1", "result": ANSWERS["elicitation/create"]} in heard


@pytest.mark.parametrize("name", TOOLS)
async def test_a_question_nobody_answers_is_given_up(running: Running, name: str) -> None:
    spec = {**TOOLS[name], "timeouts": {"input": "100ms"}}
    async with running({name: spec}) as world:
        client = await world.legacy(name, "2025-11-25", **LEGACY_CAN)
        reply = await client.request("tools/call", quiz(FORM))
        assert reply.said == {"k0": {"action": "cancel"}}
        assert reply.messages[1]["method"] == "notifications/cancelled"


@pytest.mark.parametrize("interactive", [True, False])
async def test_whether_a_server_may_ask_is_configured(running: Running, interactive: bool) -> None:
    tools = {
        name: {**TOOLS[name], "daemon": {"max": 1}, "interactive": interactive}
        for name in ("legacy", "modern")
    }
    async with running(tools) as world:
        for name in tools:
            told = (await world.modern(name, **CAN).call("capabilities")).said
            assert told == (CAN if interactive else {})


async def test_clients_that_can_do_different_things_share_the_limit(running: Running) -> None:
    async with running({"legacy": tool("legacy", daemon={"max": 1}, interactive=True)}) as world:
        pids = set()
        sets: list[dict[str, Json]] = [{}, CAN, {"roots": {}}, {}]
        for can in sets:
            client = world.modern("legacy", **can)
            assert (await client.call("capabilities")).said == can
            pids.add((await client.call("pid")).said)
        assert len(pids) == 4
