"""Event streams: the first byte at once, comments while it is quiet, a slow reader alone."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mcpgw import aio
from tests.edge.conftest import Running
from tests.edge.replies import PATIENCE, Json
from tests.edge.world import Client, World, sse_client, tool

ONE = {"modern": tool("modern", daemon={"max": 1}), "legacy": tool("legacy", daemon={"max": 1})}
TOKEN = {"progressToken": "t"}


async def client_of(world: World, era: str) -> Client:
    return world.modern(era) if era == "modern" else await world.legacy(era)


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_the_first_event_comes_before_the_answer_exists(running: Running, era: str) -> None:
    async with running(ONE) as world:
        client = await client_of(world, era)
        async with client.streaming("hold", key="k", steps=1, meta=TOKEN) as held:
            assert held.response.status == 200
            assert held.response.headers["Content-Type"] == "text/event-stream"
            assert held.response.headers["X-Accel-Buffering"] == "no"
            assert "Content-Length" not in held.response.headers
            assert (await held.message())["params"]["progress"] == 1
            for value in (7, 8):
                await client.call("push", key="k", value=value)
                assert (await held.message())["params"]["progress"] == value
            await client.call("release", key="k")
            assert "result" in await held.message()
            assert await held.ended()


@pytest.mark.spec("H4")
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_quiet_call_becomes_a_stream_that_shows_life(running: Running, era: str) -> None:
    async with running(ONE, keep_alive="50ms") as world:
        client = await client_of(world, era)
        async with client.streaming("hold", key="k") as held:
            assert [await held.comment() for _ in range(2)] == [b": keep-alive"] * 2
            await client.call("release", key="k")
            assert (await held.message())["result"]["content"][0]["text"] == "released k"
            assert await held.ended()


async def test_a_reader_of_json_gets_its_answer_late(running: Running) -> None:
    async with running(ONE, keep_alive="50ms") as world:
        client = world.modern("modern")
        params = {"name": "hold", "arguments": {"key": "k"}}
        ask = client.request("tools/call", params, accept="application/json")
        async with aio.background(ask, name="ask") as asked:
            other = world.modern("modern")
            async with asyncio.timeout(PATIENCE):
                while "hold" not in (await other.call("heard")).text:
                    pass
            await other.call("release", key="k")
            reply = await asked
        assert (reply.is_stream, reply.text) == (False, "released k")


async def test_streams_that_wait_for_news_show_life(running: Running) -> None:
    async with running(ONE, keep_alive="50ms") as world:
        client = await world.legacy("legacy")
        async with client.listening() as news, sse_client(world, "legacy") as sse:
            for events in (news, sse.events):
                assert [await events.comment() for _ in range(2)] == [b": keep-alive"] * 2


async def test_a_slow_start_is_a_stream_with_the_session_in_its_head(
    running: Running, tmp_path: Path
) -> None:
    """A server that takes long to start must not cost a client behind an impatient proxy."""
    gate = tmp_path / "gate"
    script = f"while ! [ -e {gate} ]; do sleep 0.02; done; exec {' '.join(command())}"
    slow = {"cmd": "sh", "args": ["-c", script], "mode": "daemon"}
    async with running({"legacy": slow}, keep_alive="50ms") as world:
        body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": INITIALIZE}
        url, headers = world.url("/mcp/legacy"), {"Accept": "application/json, text/event-stream"}
        async with world.http.post(url, json=body, headers=headers) as response:
            assert response.headers["Content-Type"] == "text/event-stream"
            gate.touch()
            data = await response.content.readuntil(b"}}\n\n")
            assert b'"result":' in data
            sent = {"Mcp-Session-Id": response.headers["Mcp-Session-Id"]}
        ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
        assert (await world.send("POST", "/mcp/legacy", ping, sent)).result == {}


INITIALIZE: Json = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "test", "version": "1"},
}


def command() -> list[str]:
    made = tool("legacy")
    return [made["cmd"], *made["args"]]


async def test_a_large_answer_arrives_whole(running: Running) -> None:
    async with running(ONE) as world:
        for era in ONE:
            client = await client_of(world, era)
            for accept in ("application/json", "text/event-stream"):
                params = {"name": "big", "arguments": {"bytes": 3_000_000}}
                reply = await client.request("tools/call", params, accept=accept)
                assert len(reply.text) == 3_000_000


@asynccontextmanager
async def stalled(
    world: World, client: Client, name: str = "flood", **arguments: int
) -> AsyncIterator[socket.socket]:
    """A call whose answer nobody reads, by a client with a small buffer."""
    params: Json = {"name": name, "arguments": arguments, "_meta": TOKEN}
    body = client.body("tools/call", params, None)
    data = json.dumps(body).encode()
    headers = {
        "Host": "localhost",
        "Content-Type": "application/json",
        "Accept": "text/event-stream",
        "Content-Length": str(len(data)),
        **client.headers("tools/call", body["params"]),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ("127.0.0.1", world.port))
        request = f"POST {client.path} HTTP/1.1\r\n{head}\r\n".encode() + data
        await loop.sock_sendall(sock, request)
        yield sock


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_reader_who_reads_nothing_is_given_up_alone(running: Running, era: str) -> None:
    """32 MB for a reader that takes none of it: others are served, and it is disconnected."""
    async with running(ONE, limits={"stream_buffer": "256 KiB"}) as world:
        client = await client_of(world, era)
        other = await client_of(world, era)
        async with (
            other.streaming("hold", key="k", steps=1, meta=TOKEN) as held,
            stalled(world, client, count=2000, size=16_000) as sock,
            asyncio.timeout(PATIENCE),
        ):
            await held.message()
            assert (await other.call("echo", text="quick")).text == "quick"
            assert await read_to_the_end(sock) < 16_000_000
            await other.call("release", key="k")
            assert "result" in await held.message()
        assert (await other.call("echo", text="after")).text == "after"


async def read_to_the_end(sock: socket.socket) -> int:
    """How many bytes there were before the connection ended."""
    loop = asyncio.get_running_loop()
    total = 0
    try:
        while data := await loop.sock_recv(sock, 65536):
            total += len(data)
    except ConnectionError:
        pass
    return total


async def test_a_comment_never_falls_into_a_message(running: Running) -> None:
    async with running(ONE, keep_alive="20ms") as world, asyncio.timeout(PATIENCE):
        client, session = world.modern("modern"), await world.legacy("legacy")
        async with stalled(world, client, "big", bytes=6_000_000) as sock:
            async with session.listening() as other:  # whose comments tell the time
                for _ in range(20):
                    await other.line()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1_000_000)
            data = b""
            while not data.endswith(b"0\r\n\r\n"):
                data += await asyncio.get_running_loop().sock_recv(sock, 1_000_000)
        start = data.index(b"data: ")
        assert b": keep-alive" not in data[start : data.rindex(b"}")]


async def test_a_slow_reader_gets_everything_that_fits(running: Running) -> None:
    async with running(ONE) as world:
        client = world.modern("modern")
        async with stalled(world, client, count=40, size=16_000) as sock:
            assert (await client.call("echo", text="flooded by now")).text == "flooded by now"
            async with asyncio.timeout(PATIENCE):
                data = b""
                while b"flooded" not in data:
                    data += await asyncio.get_running_loop().sock_recv(sock, 4096)
        assert data.count(b"notifications/progress") == 40


async def test_a_half_closed_connection_is_still_answered(running: Running) -> None:
    """Some clients shut down their sending side after the request."""
    async with running(ONE) as world, asyncio.timeout(PATIENCE):
        client = await world.legacy("legacy")
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
        body = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
        head = (
            f"POST /mcp/legacy HTTP/1.1\r\nHost: localhost\r\nMcp-Session-Id: {client.session}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"}}")
        assert answer.startswith(b"HTTP/1.1 200 ")
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()


async def test_a_full_http_sse_stream_ends_with_its_session(running: Running) -> None:
    async with running(ONE, limits={"stream_buffer": "64 KiB"}) as world:
        client = await world.legacy("legacy")
        async with sse_client(world, "legacy") as sse:
            params = {"name": "big", "arguments": {"bytes": 5_000_000}}
            for id in range(20):  # what is not read must not pile up
                await sse.post({**BIG, "id": f"b{id}", "params": params})
            assert (await client.call("echo", text="quick")).text == "quick"
            async with asyncio.timeout(PATIENCE):
                while (await sse.post({**BIG, "id": "x", "params": params})).status != 404:
                    pass


BIG: Json = {"jsonrpc": "2.0", "method": "tools/call"}
