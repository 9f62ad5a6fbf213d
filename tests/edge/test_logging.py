"""Log messages reach whoever asked for them, and only where it is certain whose they are."""

import pytest

from tests.edge.conftest import Running
from tests.edge.replies import Json, Reply
from tests.edge.world import PREFIX, sse_client, tool

TOOLS: Json = {
    "legacy": tool("legacy", daemon={"max": 1}),
    "modern": tool("modern", daemon={"max": 1}),
    "legacy-l": tool("legacy", mode="launcher"),
    "modern-l": tool("modern", mode="launcher"),
    "legacy-i": tool("legacy"),
}
LEVELS = ["debug", "info", "error"]
DEBUG = {PREFIX + "logLevel": "debug"}


def logged(reply: Reply) -> list[str]:
    told = reply.messages[:-1]
    assert all(message["method"] == "notifications/message" for message in told)
    return [message["params"]["level"] for message in told]


@pytest.mark.spec("N18", "N11")
@pytest.mark.parametrize(
    ("name", "carried"),
    [("modern", True), ("modern-l", True), ("legacy-l", True), ("legacy", False)],
)
async def test_a_modern_client_gets_what_its_request_asked_for(
    running: Running, name: str, carried: bool
) -> None:
    async with running(TOOLS) as world:
        client = world.modern(name)
        found = (await client.request("server/discover")).result["capabilities"]
        assert ("logging" in found) is carried
        assert logged(await client.call("tell", levels=LEVELS)) == []
        for level, seen in (("debug", LEVELS), ("warning", ["error"]), ("emergency", [])):
            reply = await client.call("tell", meta={PREFIX + "logLevel": level}, levels=LEVELS)
            assert logged(reply) == (seen if carried else [])
        bad = await client.call("tell", meta={PREFIX + "logLevel": "loud"}, levels=[])
        assert (bad.status, bad.error["code"]) == (200, -32602)


@pytest.mark.spec("L4", "L19")
@pytest.mark.parametrize("name", ["modern", "modern-l", "legacy-l", "legacy-i"])
async def test_a_legacy_client_gets_what_its_session_asked_for(running: Running, name: str) -> None:
    async with running(TOOLS) as world:
        client = await world.legacy(name)
        unasked = logged(await client.call("tell", levels=LEVELS))
        assert unasked == (LEVELS if name == "legacy-l" else ["info", "error"])
        for level, seen in (("debug", LEVELS), ("error", ["error"])):
            assert (await client.request("logging/setLevel", {"level": level})).result == {}
            assert logged(await client.call("tell", levels=LEVELS)) == seen
        other = await world.legacy(name)
        await other.request("logging/setLevel", {"level": "emergency"})
        assert logged(await client.call("tell", levels=LEVELS)) == ["error"]


async def test_a_modern_client_that_can_be_asked_has_its_instance_to_itself(
    running: Running,
) -> None:
    async with running(TOOLS) as world:
        client = world.modern("legacy-i", elicitation={})
        assert "logging" in (await client.request("server/discover")).result["capabilities"]
        for level, seen in (("debug", LEVELS), ("error", ["error"]), ("debug", LEVELS)):
            reply = await client.call("tell", meta={PREFIX + "logLevel": level}, levels=LEVELS)
            assert logged(reply) == seen
        assert logged(await client.call("tell", levels=LEVELS)) == []


async def test_a_restarted_instance_is_told_the_level_again(running: Running) -> None:
    async with running(TOOLS) as world:
        client = await world.legacy("legacy-l")
        await client.request("logging/setLevel", {"level": "error"})
        assert "error" in (await client.call("die")).answer
        assert logged(await client.call("tell", levels=LEVELS)) == ["error"]


@pytest.mark.parametrize("name", ["legacy", "legacy-i"])
async def test_where_it_is_not_certain_nothing_is_offered(running: Running, name: str) -> None:
    async with running(TOOLS) as world:
        client = await world.legacy(name, "2025-11-25", experimental={})
        assert "logging" not in client.introduction["capabilities"]
        refused = await client.request("logging/setLevel", {"level": "debug"})
        assert refused.error["code"] == -32601
        assert logged(await client.call("tell", levels=LEVELS)) == []


@pytest.mark.spec("N18", "X1")
async def test_of_two_that_asked_neither_gets_what_could_be_the_others(running: Running) -> None:
    async with running(TOOLS) as world:
        client = world.modern("modern")
        meta = {**DEBUG, "progressToken": 1}
        async with client.streaming("hold", key="k", steps=1, meta=meta) as held:
            await held.message()
            assert logged(await client.call("tell", meta=DEBUG, levels=LEVELS)) == []
            await client.call("release", key="k")
            assert "result" in await held.message()
        assert logged(await client.call("tell", meta=DEBUG, levels=LEVELS)) == LEVELS


@pytest.mark.spec("N18", "X1")
async def test_nobody_gets_what_a_request_that_was_given_up_may_still_say(running: Running) -> None:
    async with running(TOOLS) as world:
        client = world.modern("modern")
        meta = {**DEBUG, "progressToken": 1}
        async with client.streaming("hold", key="k", steps=1, meta=meta) as held:
            await held.message()
        assert logged(await client.call("tell", meta=DEBUG, levels=LEVELS)) == []
        assert logged(await client.call("tell", meta=DEBUG, levels=LEVELS)) == LEVELS


@pytest.mark.parametrize("name", ["modern", "legacy-l"])
async def test_the_first_transport_carries_them_on_its_stream(running: Running, name: str) -> None:
    async with running(TOOLS) as world, sse_client(world, name) as client:
        await client.request("logging/setLevel", {"level": "error"})
        assert (await client.call("tell", levels=LEVELS)).text == "told"
        assert [message["params"]["level"] for message in client.early] == ["error"]
