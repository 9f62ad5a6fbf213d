"""Calls that wait for their client to come back: what it may do, and what may happen meanwhile."""

import asyncio
import base64
import json
from typing import Any

import pytest

from tests.edge.asking import ANSWERS, CAN, FORM, ROOTS, answers_to, quiz
from tests.edge.conftest import Running
from tests.edge.replies import PATIENCE, Json, Reply
from tests.edge.world import Modern, tool

QUICK = {"stop": "100ms", "term": "100ms"}
TOOLS: Json = {
    "legacy": tool("legacy", daemon={"max": 2}),
    "other": tool("legacy", daemon={"max": 2}),
    "modern": tool("modern"),
    "legacy-l": tool("legacy", mode="launcher", launcher={"max": 2}),
    "modern-l": tool("modern", mode="launcher", launcher={"max": 2}),
}
HOLDING = ("legacy", "legacy-l", "modern-l")
"""Where a suspended call keeps its instance."""


async def suspended(client: Modern, params: Json | None = None) -> Json:
    """Begin a call that asks; give the arguments of its next round."""
    return answers_to(await client.request("tools/call", params or quiz(FORM)))


async def retry(client: Modern, again: Json, params: Json | None = None) -> Reply:
    return await client.request("tools/call", {**(params or quiz(FORM)), **again})


def refused(reply: Reply) -> bool:
    return (reply.status, reply.error["code"]) == (200, -32602)


@pytest.mark.spec("N21", "X3")
@pytest.mark.parametrize("name", TOOLS)
async def test_a_state_is_good_for_its_own_request_only(running: Running, name: str) -> None:
    async with running(TOOLS) as world:
        client = world.modern(name, **CAN)
        again = await suspended(client)
        state = again["requestState"]
        for bad in ("", "x", state[:-4], flipped(state), state + "A", "mcpgw1.", "mcpgw1.é"):
            assert refused(await retry(client, {**again, "requestState": bad}))
        for params in (quiz(FORM, FORM), quiz(FORM, rounds=2)):
            assert refused(await retry(client, again, params))
        elsewhere = world.modern("other" if name == "legacy" else "legacy", **CAN)
        assert refused(await retry(elsewhere, again))
        read = {"uri": "wire://a", **again}
        assert refused(await client.request("resources/read", read))
        assert (await retry(client, again)).said == {"k0": ANSWERS["elicitation/create"]}


def flipped(state: str) -> str:
    """The same with one bit changed."""
    prefix, _, text = state.partition(".")
    data = bytearray(base64.urlsafe_b64decode(text))
    data[20] ^= 1
    return f"{prefix}.{base64.urlsafe_b64encode(data).decode()}"


@pytest.mark.spec("X3")
@pytest.mark.parametrize("name", ["legacy", "legacy-l"])
async def test_a_state_works_once(running: Running, name: str) -> None:
    async with running(TOOLS) as world:
        client = world.modern(name, **CAN)
        params = quiz(FORM, rounds=2)
        first = await suspended(client, params)
        second = answers_to(await retry(client, first, params))
        assert refused(await retry(client, first, params))
        assert (await retry(client, second, params)).said["k0"]["action"] == "accept"
        for used in (first, second):
            assert refused(await retry(client, used, params))


@pytest.mark.spec("X3")
async def test_of_two_retries_one_wins(running: Running) -> None:
    async with running(TOOLS) as world:
        client = world.modern("legacy", **CAN)
        again = await suspended(client)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(retry(client, again)) for _ in range(5)]
        worked = sorted("result" in task.result().answer for task in tasks)
        assert worked == [False] * 4 + [True]


@pytest.mark.spec("X3", "X2")
@pytest.mark.parametrize("name", HOLDING)
async def test_a_state_expires_and_frees_its_instance(running: Running, name: str) -> None:
    spec = {**TOOLS[name], "timeouts": {"input": "150ms", **QUICK}}
    spec[spec["mode"]] = {"max": 1}
    async with running({name: {**spec, "interactive": True}}) as world:
        client = world.modern(name, **CAN)
        again = await suspended(client)
        assert (await client.call("echo", text="it is free again")).text == "it is free again"
        assert refused(await retry(client, again))
        if name == "legacy":
            (answer,) = [message for message in world.transcript() if "method" not in message]
            assert answer["result"] == {"action": "cancel"}


@pytest.mark.spec("N22")
@pytest.mark.parametrize("name", ["legacy", "legacy-l"])
async def test_missing_answers_are_asked_for_again_and_others_ignored(
    running: Running, name: str
) -> None:
    async with running(TOOLS) as world:
        client = world.modern(name, **CAN)
        params = quiz(FORM, ROOTS)
        reply = await client.request("tools/call", params)
        first, second = reply.result["inputRequests"].items()
        given = {first[0]: ANSWERS[first[1]["method"]], "nobody": {"x": 1}}
        state = {"requestState": reply.result["requestState"]}
        rest = await retry(client, {**state, "inputResponses": given}, params)
        assert list(rest.result["inputRequests"]) == [second[0]]
        nothing = await retry(client, {"requestState": rest.result["requestState"]}, params)
        assert list(nothing.result["inputRequests"]) == [second[0]]
        done = await retry(client, answers_to(nothing), params)
        assert done.said == {"k0": ANSWERS[FORM["method"]], "k1": ANSWERS[ROOTS["method"]]}


@pytest.mark.parametrize(
    "bad", [None, 5, {}, {"action": "perhaps"}, {"action": "accept", "content": 5}]
)
async def test_an_answer_of_the_wrong_shape_loses_nothing(running: Running, bad: Any) -> None:
    async with running(TOOLS) as world:
        client = world.modern("legacy", **CAN)
        again = await suspended(client)
        (key,) = again["inputResponses"]
        wrong = await retry(client, {**again, "inputResponses": {key: bad}})
        assert refused(wrong)
        assert key in wrong.error["message"]
        assert "result" in (await retry(client, again)).answer


async def test_answers_without_a_state_begin_anew(running: Running) -> None:
    async with running(TOOLS) as world:
        client = world.modern("legacy", **CAN)
        again = await suspended(client)
        anew = await retry(client, {"inputResponses": again["inputResponses"]})
        assert anew.result["resultType"] == "input_required"


@pytest.mark.spec("X2", "N12")
@pytest.mark.parametrize("name", ["legacy", "legacy-l"])
async def test_a_retry_that_is_closed_cancels_the_call(running: Running, name: str) -> None:
    spec = {**TOOLS[name], "interactive": True, "timeouts": QUICK, "queue": {"timeout": "5s"}}
    spec[spec["mode"]] = {"max": 1}
    async with running({name: spec}, keep_alive="50ms") as world:
        client = world.modern(name, **CAN)
        params = {"name": "quiz", "arguments": {"questions": [FORM], "then_hold": True}}
        again = await suspended(client, params)
        async with client.opened("tools/call", {**params, **again}) as events:
            assert await events.line() == b": keep-alive"  # the answers were passed on long ago
        assert (await client.call("echo", text="it is free again")).text == "it is free again"
        told = [message.get("method") for message in world.transcript()]
        assert told.count("notifications/cancelled") == 1
        assert refused(await retry(client, again, params))


@pytest.mark.spec("X2")
@pytest.mark.parametrize("name", ["legacy", "legacy-l"])
async def test_the_death_of_a_suspended_instance_is_told_by_the_retry(
    running: Running, name: str
) -> None:
    async with running(TOOLS) as world:
        client = world.modern(name, **CAN)
        params = {"name": "quiz", "arguments": {"questions": [FORM], "then_die": True}}
        again = await suspended(client, params)
        died = await retry(client, again, params)
        assert (died.status, died.error["code"]) == (200, -31020)
        assert refused(await retry(client, again, params))
        assert (await client.call("echo", text="x")).text == "x"


async def test_a_drain_frees_what_waits(running: Running) -> None:
    async with running(TOOLS, shutdown_grace="30s") as world:
        for name in HOLDING:
            await suspended(world.modern(name, **CAN))
        world.stop.set()
        async with asyncio.timeout(PATIENCE):
            await world.stopped
        answers = [message for message in world.transcript() if "method" not in message]
        assert [answer["result"] for answer in answers] == [{"action": "cancel"}] * 2


@pytest.mark.parametrize("name", HOLDING)
async def test_so_many_calls_may_wait_and_no_more(running: Running, name: str) -> None:
    async with running(TOOLS, limits={"suspended": 1}) as world:
        client = world.modern(name, **CAN)
        again = await suspended(client)
        full = await client.request("tools/call", quiz(FORM))
        assert (full.status, full.error["code"]) == (429, -31007)
        assert "result" in (await retry(client, again)).answer
        await suspended(client)


async def test_other_requests_are_served_beside_a_suspended_call(running: Running) -> None:
    async with running({"legacy": tool("legacy", daemon={"max": 1}, interactive=True)}) as world:
        client = world.modern("legacy", **CAN)
        again = await suspended(client)
        assert (await client.request("tools/list")).result["tools"]
        assert "result" in (await retry(client, again)).answer


@pytest.mark.spec("N26", "X8")
async def test_progress_follows_the_call_from_round_to_round(running: Running) -> None:
    async with running(TOOLS) as world:
        client = world.modern("legacy", **CAN)
        params: Json = {"name": "quiz", "arguments": {"questions": [FORM], "steps": 2}}
        first = await client.request("tools/call", {**params, "_meta": {"progressToken": "one"}})
        assert [tokens(message) for message in first.messages[:-1]] == [(1, "one"), (2, "one")]
        again = {**params, **answers_to(first), "_meta": {"progressToken": 2}}
        second = await client.request("tools/call", again)
        assert [tokens(message) for message in second.messages[:-1]] == [(3, 2), (4, 2)]


def tokens(message: Json) -> tuple[float, object]:
    return message["params"]["progress"], message["params"]["progressToken"]


@pytest.mark.spec("X10", "CM7")
async def test_a_modern_servers_state_comes_back_exactly(running: Running) -> None:
    async with running(TOOLS) as world:
        client = world.modern("modern", **CAN)
        await suspended(client)  # another one, so that there are two processes
        again = await suspended(client)
        assert "result" in (await retry(client, again)).answer
        sent = [m["params"] for m in world.transcript() if m.get("method") == "tools/call"]
        assert json.loads(sent[-1]["requestState"])["round"] == 1
        assert list(sent[-1]["inputResponses"]) == ["k0"]


async def test_a_visit_is_asked_for_and_the_call_made_again(running: Running) -> None:
    can: dict[str, Json] = {"elicitation": {"url": {}}}
    async with running(TOOLS) as world:
        client = world.modern("legacy", **can)
        params = {"name": "visit", "arguments": {"id": "e1"}}
        asked = await client.request("tools/call", params)
        (question,) = asked.result["inputRequests"].values()
        assert question["params"] == {
            "mode": "url",
            "message": "sign in",
            "url": "https://example.org/in",
        }
        again = answers_to(asked)
        again["inputResponses"] = {key: {"action": "accept"} for key in again["inputResponses"]}
        async with client.opened("tools/call", {**params, **again}) as waiting:
            await client.call("visited", id="e1")
            async with asyncio.timeout(PATIENCE):
                body = await waiting.response.read()
        assert b"welcome" in body
        declined = {key: {"action": "decline"} for key in again["inputResponses"]}
        once_more = await client.request("tools/call", {"name": "visit", "arguments": {"id": "e2"}})
        state = {"requestState": once_more.result["requestState"], "inputResponses": declined}
        told = await client.request(
            "tools/call", {"name": "visit", "arguments": {"id": "e2"}, **state}
        )
        assert told.error["code"] == -32603


@pytest.mark.spec("N6", "N24")
async def test_a_visit_needs_the_capability(running: Running) -> None:
    async with running(TOOLS) as world:
        reply = await world.modern("legacy", **CAN).call("visit", id="e1")
        assert (reply.status, reply.error["code"]) == (400, -32021)
        assert reply.error["data"]["requiredCapabilities"] == {"elicitation": {"url": {}}}
        session = await world.legacy("legacy", "2025-11-25", elicitation={"url": {}})
        async with session.listening() as events:
            told = await session.call("visit", id="e2")
            assert told.error["code"] == -32042
            await session.call("visited", id="e2")
            message = await events.message()
            assert message["method"] == "notifications/elicitation/complete"
