"""What clients hear of changes: only what they asked for, from servers of either era."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.edge.conftest import Running
from tests.edge.replies import PATIENCE, Events, Json
from tests.edge.world import DATES, PREFIX, Client, Modern, tool
from tests.schema import validator

SHARED: Json = {"legacy": tool("legacy"), "modern": tool("modern")}
OWN: Json = {
    "legacy-l": tool("legacy", mode="launcher"),
    "modern-l": tool("modern", mode="launcher"),
}
LEGACY_DATES = DATES[:-1]


@asynccontextmanager
async def listen(client: Modern, id: object = "L", **wanted: Any) -> AsyncIterator[Events]:
    """A subscription that was acknowledged as it was asked for."""
    async with listen_for(client, wanted, id) as (events, told):
        assert told == wanted
        yield events


@asynccontextmanager
async def listen_for(
    client: Modern, wanted: Json, id: object = "L"
) -> AsyncIterator[tuple[Events, Json]]:
    """A subscription, and what of it is honoured."""
    async with client.opened("subscriptions/listen", {"notifications": wanted}, id=id) as events:
        ack = await events.message()
        assert ack["method"] == "notifications/subscriptions/acknowledged"
        validator("2026-07-28", "ServerNotification").validate(ack)
        assert belongs(ack, id)
        yield events, ack["params"]["notifications"]


def belongs(message: Json, id: object) -> bool:
    """Whether a message is part of the subscription of that id, type included."""
    told = (message.get("params") or message["result"])["_meta"][PREFIX + "subscriptionId"]
    return told == id and type(told) is type(id)


async def updated(events: Events, id: object = "L") -> str:
    """The resource that the next message says was updated."""
    message = await events.message()
    validator("2026-07-28", "ServerNotification").validate(message)
    assert message["method"] == "notifications/resources/updated"
    assert belongs(message, id)
    uri: str = message["params"]["uri"]
    return uri


@pytest.mark.spec("N19", "CM5", "N11", "X8")
@pytest.mark.parametrize("name", SHARED)
async def test_a_modern_client_hears_what_it_asked_for(running: Running, name: str) -> None:
    async with running(SHARED) as world:
        client = world.modern(name)
        async with (
            listen(client, 7, toolsListChanged=True) as lists,
            listen(client, "L", resourceSubscriptions=["wire://a"]) as one,
            listen(client, 1, resourceSubscriptions=["wire://b"]) as other,
        ):
            await client.call("change", list="tools")
            await client.call("change", list="prompts")
            await client.call("touch", uri="wire://b/part")
            await client.call("touch", uri="wire://a")
            await client.call("touch", uri="wire://nobody")
            await client.call("change", list="tools")
            for _ in range(2):
                message = await lists.message()
                assert message["method"] == "notifications/tools/list_changed"
                assert belongs(message, 7)
            assert await updated(one) == "wire://a"
            assert await updated(other, 1) == "wire://b/part"


@pytest.mark.spec("N19")
@pytest.mark.parametrize("name", [*SHARED, *OWN])
async def test_only_what_is_supported_is_acknowledged(running: Running, name: str) -> None:
    async with running({**SHARED, **OWN}) as world:
        wanted = {"promptsListChanged": True, "resourceSubscriptions": ["wire://a", "x://refused"]}
        async with listen_for(world.modern(name), wanted) as (_, told):
            honoured = {"promptsListChanged": True, "resourceSubscriptions": ["wire://a"]}
            assert told == honoured
        for bad in (None, {"resourceSubscriptions": "x"}, {"resourceSubscriptions": [1]}):
            reply = await world.modern(name).request("subscriptions/listen", {"notifications": bad})
            assert reply.error["code"] == -32602


@pytest.mark.parametrize("name", SHARED)
async def test_a_server_is_subscribed_once_for_all_and_only_as_long_as_needed(
    running: Running, name: str
) -> None:
    async with running({name: SHARED[name]}) as world, asyncio.timeout(PATIENCE):
        client = world.modern(name)
        async with listen(client, resourceSubscriptions=["wire://a", "wire://b"]):
            async with listen(client, resourceSubscriptions=["wire://a"]):
                assert sorted(await subscriptions(client)) == ["wire://a", "wire://b"]
            await until(client, {"wire://a", "wire://b"})
        await until(client, set())


async def subscriptions(client: Client) -> list[str]:
    """What the server is subscribed to by the gateway."""
    legacy: list[str] = (await client.call("subscribed")).said
    for listen in (await client.call("listens")).said:
        legacy += listen.get("resourceSubscriptions", [])
    return legacy


async def until(client: Client, wanted: set[str]) -> None:
    while set(await subscriptions(client)) != wanted:
        pass


@pytest.mark.spec("L2", "L19")
@pytest.mark.parametrize("date", LEGACY_DATES)
@pytest.mark.parametrize("name", [*SHARED, *OWN])
async def test_a_legacy_client_hears_on_its_stream(running: Running, name: str, date: str) -> None:
    async with running({**SHARED, **OWN}) as world:
        client = await world.legacy(name, date)
        assert client.introduction["capabilities"]["resources"] == {
            "subscribe": True,
            "listChanged": True,
        }
        async with client.listening() as events:
            assert (await client.request("resources/subscribe", {"uri": "wire://a"})).result == {}
            refused = await client.request("resources/subscribe", {"uri": "wire://refused"})
            assert refused.error["code"] == -32602
            await client.call("touch", uri="wire://a/part")
            await client.call("touch", uri="wire://b")
            await client.call("change", list="prompts")
            assert await heard(events) == ("notifications/resources/updated", "wire://a/part")
            assert await heard(events) == ("notifications/prompts/list_changed", None)
            assert (await client.request("resources/unsubscribe", {"uri": "wire://a"})).result == {}
            await client.call("touch", uri="wire://a")
            await client.call("change", list="tools")
            assert await heard(events) == ("notifications/tools/list_changed", None)


async def heard(events: Events) -> tuple[str, str | None]:
    message = await events.message()
    return message["method"], message.get("params", {}).get("uri")


@pytest.mark.parametrize("name", OWN)
async def test_the_first_session_of_all_hears_of_its_own_instance(
    running: Running, name: str
) -> None:
    """Its instance starts before it is known what there is to hear."""
    async with running({name: OWN[name]}) as world:
        client = await world.legacy(name)
        async with client.listening() as events:
            await client.call("echo", text="x")
            await client.call("change", list="tools")
            assert await heard(events) == ("notifications/tools/list_changed", None)


@pytest.mark.spec("CM6")
@pytest.mark.parametrize("name", SHARED)
async def test_subscriptions_survive_their_instance(running: Running, name: str) -> None:
    tools = {name: tool(name, daemon={"max": 1, "backoff": {"initial": "10ms", "max": "20ms"}})}
    async with running(tools) as world, asyncio.timeout(PATIENCE):
        modern, legacy = world.modern(name), await world.legacy(name)
        await legacy.request("resources/subscribe", {"uri": "wire://b"})
        async with (
            listen(modern, resourceSubscriptions=["wire://a"]) as events,
            legacy.listening() as stream,
        ):
            assert "error" in (await modern.call("die")).answer
            await until(modern, {"wire://a", "wire://b"})
            await modern.call("touch", uri="wire://a")
            await modern.call("touch", uri="wire://b")
            assert await updated(events) == "wire://a"
            assert await heard(stream) == ("notifications/resources/updated", "wire://b")


@pytest.mark.spec("N19")
@pytest.mark.parametrize("name", SHARED)
async def test_a_drain_ends_subscriptions_with_a_result(running: Running, name: str) -> None:
    async with running(SHARED) as world, listen(world.modern(name), 5, toolsListChanged=True) as e:
        world.stop.set()
        last = await e.message()
        validator("2026-07-28", "SubscriptionsListenResult").validate(last["result"])
        assert (last["id"], belongs(last, 5)) == (5, True)
        assert await e.ended()


async def test_a_server_may_end_its_subscriptions(running: Running) -> None:
    async with running(SHARED) as world:
        client = world.modern("modern")
        async with listen(client, toolsListChanged=True) as events:
            await client.call("hang_up")
            assert "result" in await events.message()
            assert await events.ended()


async def test_so_many_may_listen_and_no_more(running: Running) -> None:
    async with running(SHARED, limits={"subscriptions": 1}) as world:
        client = world.modern("legacy")
        async with listen(client, toolsListChanged=True):
            wanted = {"notifications": {"toolsListChanged": True}}
            refused = await client.request("subscriptions/listen", wanted)
            assert (refused.status, refused.error["code"]) == (429, -31008)
        status = 429
        async with asyncio.timeout(PATIENCE):
            while status == 429:  # until the gateway knows that the first has left
                async with client.opened("subscriptions/listen", wanted) as events:
                    status = events.response.status
        assert status == 200


@pytest.mark.parametrize("name", SHARED)
async def test_a_thousand_listen(running: Running, name: str) -> None:
    async with running(SHARED) as world, asyncio.timeout(60):
        ready, go = asyncio.Semaphore(0), asyncio.Event()

        async def one(number: int) -> None:
            uri = f"wire://{number % 10}"
            async with listen(world.modern(name), number, resourceSubscriptions=[uri]) as events:
                ready.release()
                await go.wait()
                assert await updated(events, number) == "wire://3"

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(number)) for number in range(1000)]
            for _ in range(1000):
                await ready.acquire()
            await world.modern(name).call("touch", uri="wire://3")
            go.set()
            async with asyncio.timeout(PATIENCE):
                await asyncio.wait(tasks[3::10])
            for task in tasks:
                task.cancel()
