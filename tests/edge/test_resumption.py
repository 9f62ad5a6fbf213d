"""A client whose connection broke gets the rest of the stream: all of it, once, and no other."""

import asyncio
import json
import re
from typing import Any

import aiohttp
import pytest

from mcpgw import aio
from mcpgw.edge.resuming import Replays
from tests.edge.conftest import Running
from tests.edge.replies import PATIENCE, Events, Json, Reply
from tests.edge.world import Legacy, World, sse_client, tool

ONE = {"legacy": tool("legacy", daemon={"max": 1}), "modern": tool("modern", daemon={"max": 1})}
TOKEN = {"progressToken": "t"}
RESUMING = ("2025-03-26", "2025-06-18", "2025-11-25")
EVENT_ID = re.compile(r"([A-Za-z0-9_-]{22})-([0-9]+)")
CHANGED = "notifications/tools/list_changed"


async def progress(events: Events) -> object:
    return (await events.message())["params"]["progress"]


async def rest(events: Events) -> list[object]:
    """What comes until the stream ends: the value of each progress, the text of each answer."""
    found: list[object] = []
    while (event := await events.event()) is not None:
        message = json.loads(event[1])
        if "method" in message:
            found.append(message["params"]["progress"])
        else:
            found.append(message["result"]["content"][0]["text"])
    return found


async def resume(client: Legacy, last_id: str) -> Reply:
    """What a resumption is answered that opens no stream, or one that has ended."""
    sent = {"Accept": "text/event-stream", "Last-Event-ID": last_id}
    return await client.world.send("GET", client.path, headers={**client.headers("", {}), **sent})


def at(event_id: str, position: int) -> str:
    """The id of another event of the same stream."""
    found = EVENT_ID.fullmatch(event_id)
    assert found is not None, event_id
    return f"{found[1]}-{position}"


async def broken(client: Legacy, key: str = "k", **more: object) -> str:
    """A call that waits, and whose client left after its first event, which was this one."""
    async with client.streaming("hold", key=key, steps=1, meta=TOKEN, **more) as held:
        assert await progress(held) == 1
        return held.last_id


async def gone(client: Legacy, last_id: str) -> None:
    """See that this id is refused, in words that help, and that the session goes on."""
    refused = await resume(client, last_id)
    assert (refused.status, refused.error["code"]) == (400, -31009), refused
    assert "id" not in refused.answer
    assert "send the request again" in refused.error["message"]
    assert (await client.call("echo", text="alive")).text == "alive"


@pytest.mark.spec("L12")
@pytest.mark.parametrize("revision", RESUMING)
async def test_the_rest_of_a_broken_call_comes_once(running: Running, revision: str) -> None:
    async with running(ONE) as world:
        client = await world.legacy("legacy", revision)
        async with client.streaming("hold", key="k", steps=3, meta=TOKEN) as held:
            assert await progress(held) == 1
            seen = held.last_id
        await client.call("push", key="k", value=7)
        async with client.listening(seen) as resumed:
            assert [await progress(resumed) for _ in range(3)] == [2, 3, 7]
            await client.call("push", key="k", value=8)
            assert await progress(resumed) == 8
            await client.call("release", key="k")
            assert await rest(resumed) == ["released k"]
            ids = [id for id in resumed.ids if id != seen]
        assert ids == [at(seen, position) for position in range(2, 7)]


async def test_an_answer_that_nobody_heard_can_be_fetched(running: Running) -> None:
    async with running(ONE) as world:
        client = await world.legacy("legacy")
        seen = await broken(client)
        await client.call("release", key="k")
        for _ in range(2):  # what a client did not see can break off again
            async with client.listening(seen) as resumed:
                assert await rest(resumed) == ["released k"]
        heard = (await client.call("heard")).said
        assert not [m for m in heard if m["method"] == "notifications/cancelled"]


async def test_a_call_can_break_again_and_again(running: Running) -> None:
    async with running(ONE) as world:
        client = await world.legacy("legacy")
        seen = await broken(client)
        for value in range(5):
            await client.call("push", key="k", value=value)
            async with client.listening(seen) as resumed:
                assert await progress(resumed) == value
                seen = resumed.last_id
        await client.call("release", key="k")
        async with client.listening(seen) as resumed:
            assert await rest(resumed) == ["released k"]


async def test_a_stream_that_has_nothing_more_says_so(running: Running) -> None:
    """204 ends a client's tries; an empty stream would be resumed for ever."""
    async with running(ONE) as world:
        client = await world.legacy("legacy")
        async with client.streaming("hold", key="k", steps=1, meta=TOKEN) as held:
            await held.message()
            await client.call("release", key="k")
            assert await rest(held) == ["released k"]
        done = await resume(client, held.last_id)
        assert (done.status, done.body) == (204, b"")
        seen = await broken(client, id="bored")
        await client.notify("notifications/cancelled", {"requestId": "bored"})
        assert (await client.call("await_cancel")).said == ["k"]
        async with asyncio.timeout(PATIENCE):
            while (done := await resume(client, seen)).status == 200:
                assert done.messages == []
        assert done.status == 204


@pytest.mark.spec("L12")
async def test_a_stream_is_replayed_alone(running: Running) -> None:
    async with running(ONE) as world:
        client = await world.legacy("legacy")
        async with client.listening() as news:
            a, b = await broken(client, "a"), await broken(client, "b")
            for key, value in (("a", 10), ("b", 20), ("a", 11)):
                await client.call("push", key=key, value=value)
            await client.call("news", method=CHANGED)
            for key in ("b", "a"):
                await client.call("release", key=key)
            async with client.listening(a) as resumed:
                assert await rest(resumed) == [10, 11, "released a"]
            async with client.listening(b) as resumed:
                assert await rest(resumed) == [20, "released b"]
            assert (await news.message())["method"] == CHANGED
            names = {at(id, 0) for id in (a, b, *news.ids)}
            assert len(names) == 3


@pytest.mark.parametrize("revision", RESUMING)
async def test_the_stream_for_news_can_be_resumed(running: Running, revision: str) -> None:
    async with running(ONE) as world:
        client = await world.legacy("legacy", revision)
        async with client.listening() as news:
            await client.call("news", method=CHANGED)
            await news.message()
            seen = news.last_id
        for kind in ("prompts", "resources"):
            await client.call("news", method=f"notifications/{kind}/list_changed")
        async with client.listening(seen) as news:
            await client.call("news", method=CHANGED)
            methods = [(await news.message())["method"] for _ in range(3)]
            assert [method.split("/")[1] for method in methods] == ["prompts", "resources", "tools"]
            assert news.last_id == at(seen, 4)


@pytest.mark.spec("L2")
async def test_who_resumes_the_stream_for_news_listens_again(running: Running) -> None:
    async with running(ONE) as world:
        client = await world.legacy("legacy")
        async with client.listening() as first:
            await client.call("news", method=CHANGED)
            await first.message()
        async with client.listening() as second, client.listening(first.last_id) as third:
            assert await second.ended()
            await client.call("news", method=CHANGED)
            assert (await third.message())["method"] == CHANGED
            assert third.last_id == at(first.last_id, 2)
            async with client.listening(second.last_id) as fourth:  # it missed nothing of its own
                assert await third.ended()
                await client.call("news", method="notifications/prompts/list_changed")
                message = await fourth.message()
                assert message["method"] == "notifications/prompts/list_changed"


@pytest.mark.parametrize("listens", [False, True])
async def test_the_newest_reader_gets_the_rest(running: Running, listens: bool) -> None:
    """A client notices before the gateway that its connection is dead."""
    async with running(ONE) as world:
        client = await world.legacy("legacy")
        held = client.streaming("hold", key="k", steps=1, meta=TOKEN)
        async with client.listening() if listens else held as old:
            if listens:
                await client.call("news", method=CHANGED)
            await old.message()
            async with client.listening(old.last_id) as new:
                assert await cut_off(old)
                if listens:
                    await client.call("news", method=CHANGED)
                    assert (await new.message())["method"] == CHANGED
                else:
                    await client.call("push", key="k", value=2)
                    await client.call("release", key="k")
                    assert await rest(new) == [2, "released k"]


async def cut_off(events: Events) -> bool:
    try:
        return await events.ended()
    except aiohttp.ClientPayloadError:
        return True


@pytest.mark.spec("L12")
async def test_ids_that_name_nothing_are_refused(running: Running) -> None:
    async with running(ONE) as world:
        client = await world.legacy("legacy")
        seen = await broken(client)
        for id in ("x", "0", "-", seen + "x", "x" + seen, at(seen, 2), at(seen, 10**14), "é"):
            await gone(client, id)
        await gone(client, at(seen, 10**15) + "0" * 2000)
        async with client.listening(seen) as resumed:  # and no harm was done
            await client.call("release", key="k")
            assert await rest(resumed) == ["released k"]


@pytest.mark.spec("L12")
async def test_a_stream_belongs_to_its_session(running: Running) -> None:
    async with running(ONE) as world:
        alice, bob = await world.legacy("legacy"), await world.legacy("legacy")
        elsewhere = await world.legacy("modern")
        seen = await broken(alice)
        await alice.call("release", key="k")
        await gone(bob, seen)
        await gone(elsewhere, seen)
        async with alice.listening(seen) as resumed:
            assert await rest(resumed) == ["released k"]


async def test_what_does_not_fit_is_gone_and_said_to_be(running: Running) -> None:
    async with running(ONE, limits={"stream_buffer": "64 KiB"}) as world:
        client = await world.legacy("legacy")
        seen = await broken(client)
        for value in range(20):
            await client.call("push", key="k", value=[value, "x" * 16_000])
        await client.call("release", key="k")
        await gone(client, seen)
        async with client.listening(at(seen, 15)) as resumed:
            *values, answer = await rest(resumed)
        assert [value[0] for value in values if isinstance(value, list)] == list(range(14, 20))
        assert answer == "released k"


async def test_a_large_answer_is_kept_whole_within_the_bound_of_all(running: Running) -> None:
    limits = {"stream_buffer": "64 KiB", "replay": "1 MiB"}
    async with running(ONE, limits=limits) as world:
        client = await world.legacy("legacy")
        text = "y" * 900_000
        seen = []
        for _ in range(2):
            params = {"name": "echo", "arguments": {"text": text}}
            reply = await client.request("tools/call", params, accept="text/event-stream")
            assert reply.is_stream
            seen.append(prime_of(reply))
        await gone(client, seen[0])
        assert (await resume(client, seen[1])).text == text


def prime_of(reply: Reply) -> str:
    return reply.body.splitlines()[0].removeprefix(b"id: ").decode()


@pytest.mark.spec("L13")
@pytest.mark.parametrize("listens", [False, True])
async def test_a_stream_of_2025_11_25_begins_with_an_id(running: Running, listens: bool) -> None:
    async with running(ONE) as world:
        client = await world.legacy("legacy")
        held = client.streaming("hold", key="k", steps=1, meta=TOKEN)
        async with client.listening() if listens else held as events:
            lines = [await events.line() for _ in range(4)]
            assert lines[1:] == [b"retry: 1000", b"data: ", b""]
            id = (lines[0] or b"").removeprefix(b"id: ").decode()
            assert at(id, 0) == id
        async with client.listening(id) as resumed:  # and is primed again, at the same place
            assert [await resumed.line() for _ in range(4)] == lines


@pytest.mark.spec("L12", "L13")
@pytest.mark.parametrize("revision", ["2025-03-26", "2025-06-18"])
async def test_streams_before_it_have_ids_and_no_more(running: Running, revision: str) -> None:
    async with running(ONE) as world:
        client = await world.legacy("legacy", revision)
        held = client.streaming("hold", key="k", steps=1, meta=TOKEN)
        async with client.listening() as news, held as a:
            await client.call("news", method=CHANGED)
            await client.call("release", key="k")
            for events in (a, news):
                data, id, end = [await events.line() or b"" for _ in range(3)]
                assert data.startswith(b'data: {"')
                assert EVENT_ID.fullmatch(id.removeprefix(b"id: ").decode())
                assert id.endswith(b"-1") and end == b""
            assert (await a.line() or b"").startswith(b"data: {")
            assert (await a.line() or b"").endswith(b"-2")


async def test_where_nothing_is_resumed_nothing_has_an_id(running: Running) -> None:
    async with running(ONE) as world:
        modern, oldest = world.modern("modern"), await world.legacy("legacy", "2024-11-05")
        bodies = []
        for client in (modern, oldest):
            params = {"name": "flood", "arguments": {"count": 2, "size": 1}, "_meta": TOKEN}
            headers = {"Last-Event-ID": "x-1"}
            reply = await client.request("tools/call", params, headers=headers)
            assert reply.is_stream and len(reply.messages) == 3
            bodies.append(reply.body)
        for line in b"\n".join(bodies).splitlines():
            assert line == b"" or line.startswith(b"data: {"), line
        async with oldest.listening("x-1") as news, sse_client(world, "legacy") as sse:
            await oldest.call("news", method=CHANGED)
            for events in (news, sse.events):
                assert (await events.message())["method"] == CHANGED
                assert events.ids == []


async def test_a_quick_answer_has_no_log(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(ONE) as world:
        client = await world.legacy("legacy")
        monkeypatch.delattr(Replays, "open")
        reply = await client.call("echo", text="quick")
        assert (reply.is_stream, reply.text) == (False, "quick")


async def test_who_left_before_the_stream_opened_has_no_log(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No event ever told its id, so nobody can come back for it."""
    async with running(ONE) as world, asyncio.timeout(PATIENCE):
        client = await world.legacy("legacy")
        opened: list[object] = []
        monkeypatch.setattr(Replays, "open", lambda *args, **more: opened.append(args))
        params = {"name": "hold", "arguments": {"key": "k"}, "_meta": TOKEN}
        async with aio.background(client.request("tools/call", params), name="ask"):
            while '"hold"' not in (await client.call("heard")).text:
                pass
        for value in range(3):
            await client.call("push", key="k", value=value)
        await client.call("release", key="k")
        assert opened == []


@pytest.fixture
def replays(monkeypatch: pytest.MonkeyPatch) -> list[Replays]:
    """What the gateways of this test keep."""
    made: list[Replays] = []
    build = Replays.__init__

    def init(self: Replays, *args: Any) -> None:
        made.append(self)
        build(self, *args)

    monkeypatch.setattr(Replays, "__init__", init)
    return made


async def test_a_log_ends_with_its_session(running: Running, replays: list[Replays]) -> None:
    async with running(ONE) as world:
        client, other = await world.legacy("legacy"), await world.legacy("legacy")
        async with client.listening() as news:
            await client.call("news", method=CHANGED)
            await news.message()
        seen = await broken(client)
        async with client.listening(seen) as resumed, client.listening(news.last_id) as again:
            headers = client.headers("", {})
            assert (await world.send("DELETE", client.path, headers=headers)).status == 204
            assert await resumed.ended()
            assert await again.ended()
        assert (await resume(client, seen)).status == 404
        assert (len(replays[0]), replays[0].size) == (0, 0)
        assert (await other.call("await_cancel")).said == ["k"]


async def test_what_is_over_is_kept_for_a_while(running: Running) -> None:
    async with running(ONE, resume_window="200ms") as world, asyncio.timeout(PATIENCE):
        client = await world.legacy("legacy")
        waiting = await broken(client)
        async with client.streaming("hold", key="other", steps=1, meta=TOKEN) as held:
            await held.message()
            await client.call("release", key="other")
            assert await rest(held) == ["released other"]
        answered: list[int] = []
        while not answered or answered[-1] != 400:  # the last event is no reason to keep it
            answered.append((await resume(client, held.last_id)).status)
        assert set(answered) <= {204, 400}
        async with client.listening(waiting) as resumed:  # while what waits for its answer is kept
            await client.call("release", key="k")
            assert await rest(resumed) == ["released k"]


async def test_of_the_streams_for_news_the_newest_stays(
    running: Running, replays: list[Replays]
) -> None:
    async with running(ONE, resume_window=0) as world, asyncio.timeout(PATIENCE):
        client = await world.legacy("legacy")
        seen = ""
        for _ in range(3):
            async with client.listening() as news:
                await client.call("news", method=CHANGED)
                await news.message()
                seen = news.last_id
        while len(replays[0]) > 1:
            await client.request("ping")
        await client.call("news", method=CHANGED)
        async with client.listening(seen) as again:
            assert (await again.message())["method"] == CHANGED


async def test_a_stream_for_news_that_broke_keeps_no_session(running: Running) -> None:
    async with running(ONE, session_idle="1s") as world, asyncio.timeout(PATIENCE):
        await world.modern("legacy").call("echo", text="starts the server")
        client = await world.legacy("legacy")
        async with client.listening() as news:
            await client.call("news", method=CHANGED)
            await news.message()
        # To ask is to be seen, so each question comes later than the session may be idle.
        while (await client.request("ping")).status != 404:  # noqa: ASYNC110
            await asyncio.sleep(1.5)


@pytest.mark.spec("L14")
async def test_the_rest_of_a_broken_batch_comes_once(running: Running) -> None:
    async with running(ONE) as world:
        client = await world.legacy("legacy", "2025-03-26")
        seen = await broken_batch(world, client)
        for key in ("b", "a"):
            await client.call("release", key=key)
        async with client.listening(seen) as resumed:
            messages = [await resumed.message() for _ in range(4)]
            assert await resumed.ended()
        answers = {message.get("id"): "result" in message for message in messages}
        assert answers == {"a": True, "b": True, "c": False, "d": True}


async def broken_batch(world: World, client: Legacy) -> str:
    def call(key: str) -> Json:
        params = {"name": "hold", "arguments": {"key": key, "steps": 1}, "_meta": TOKEN}
        return {"jsonrpc": "2.0", "id": key, "method": "tools/call", "params": params}

    unknown = {"jsonrpc": "2.0", "id": "c", "method": "no/such"}
    ping = {"jsonrpc": "2.0", "id": "d", "method": "ping"}
    body = [call("a"), unknown, ping, call("b")]
    url, headers = world.url(client.path), {**client.headers("", {}), "Accept": "text/event-stream"}
    response = await world.http.post(url, json=body, headers=headers)
    events = Events(response)
    assert [await progress(events) for _ in range(2)] == [1, 1]
    response.close()
    return events.last_id


async def test_a_stop_answers_who_resumed(running: Running) -> None:
    async with running(ONE) as world:
        client = await world.legacy("legacy")
        async with client.listening(await broken(client)) as resumed:
            world.stop.set()
            assert (await resumed.message())["error"]["code"] == -31012
            assert await resumed.ended()
