"""Large messages, and many at once: what goes over the wire, and who waits meanwhile."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from msgspec import Raw

from mcpgw.edge.large import SLICE, Large, LargeResponse, Watchdog, response_message
from mcpgw.edge.stream import EventStream, Outbox
from mcpgw.protocol.messages import Result, dump_response
from mcpgw.units import MIB, Bytes, Seconds
from tests.edge.conftest import Running
from tests.edge.replies import PATIENCE
from tests.edge.world import tool

ONE = {"modern": tool("modern", daemon={"max": 1}), "legacy": tool("legacy", daemon={"max": 1})}

Send = Callable[[web.Request], Awaitable[None]]


@asynccontextmanager
async def sending(send: Send) -> AsyncIterator[tuple[int, asyncio.Future[None]]]:
    """A listener whose one handler sends; its port, and how the sending ended."""
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def handler(request: web.Request) -> web.StreamResponse:
        try:
            await send(request)
            ended.set_result(None)
        except (ConnectionError, AssertionError) as exc:
            ended.set_exception(exc)
        return web.Response()

    app = web.Application()
    app.router.add_get("/", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield site.port, ended
    finally:
        await runner.cleanup()


REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


async def fetch(port: int) -> tuple[bytes, bytes]:
    """The head and the body of the response."""
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
    return head, body


def chunks(body: bytes) -> list[bytes]:
    """What was written at once, each."""
    found = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        found.append(rest[: int(size, 16)])
        body = rest[int(size, 16) + 2 :]
    assert found.pop() == b""
    return found


async def send_whole(request: web.Request, message: Large, patience: float = 60) -> None:
    response = LargeResponse(message, send_timeout=Seconds(patience))
    await response.prepare(request)
    await response.write_eof()


def socket_of(request: web.Request) -> socket.socket:
    assert request.transport is not None
    found: socket.socket = request.transport.get_extra_info("socket")
    return found


async def send_events(request: web.Request, outbox: Outbox, patience: float = 60) -> None:
    stream = EventStream(keep_alive=Seconds(60), send_timeout=Seconds(patience))
    await stream.prepare(request)
    # aiohttp-sse sets the system's patience as well, where there is one; here ours counts.
    socket_of(request).setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 0)
    try:
        await outbox.pump(stream)
        await stream.write_eof()
    finally:
        stream.stop_streaming()


def holding(*messages: bytes | Large) -> Outbox:
    """An outbox that ends after these."""
    outbox = Outbox(Bytes(MIB))
    for message in messages:
        outbox.answer(message)
    outbox.close()
    return outbox


VALUE = b'{"text":"' + bytes(range(32, 127)).replace(b'"', b"").replace(b"\\", b"") * 50_000 + b'"}'


@pytest.mark.parametrize("size", [SLICE - 1, SLICE, SLICE + 1, 5 * SLICE])
def test_a_response_is_the_same_in_pieces(size: int) -> None:
    outcome = Result(Raw(b"x" * size))
    message = response_message(b'"id"', outcome)
    assert isinstance(message, Large) == (size > SLICE)
    parts = list(message.slices()) if isinstance(message, Large) else [message]
    assert b"".join(parts) == dump_response(b'"id"', outcome)
    assert sum(len(part) for part in parts) == len(message)


async def test_a_large_response_arrives_whole_with_its_length() -> None:
    message = Large(b'{"result":', memoryview(VALUE), b"}")
    async with sending(lambda request: send_whole(request, message)) as (port, _):
        head, body = await fetch(port)
    assert body == b'{"result":' + VALUE + b"}"
    assert b"Content-Length: %d\r\n" % len(body) in head + b"\r\n"
    assert b"Content-Type: application/json\r\n" in head + b"\r\n"


async def test_a_large_event_arrives_whole_and_in_one_line() -> None:
    r"""A ``\r`` is legal between JSON values, but a line end to SSE."""
    value = b'{\r\n"a":1,\r'.replace(b"\n", b"") + VALUE[1:]
    message = Large(b'{"result":', memoryview(value), b"}")
    async with sending(lambda request: send_events(request, holding(message))) as (port, _):
        body = b"".join(chunks((await fetch(port))[1]))
    assert body == b'data: {"result":' + value.replace(b"\r", b" ") + b"}\n\n"


async def test_a_small_event_is_one_line_too() -> None:
    outbox = holding(b'{"a":\r1}', b'{"b":2}')
    async with sending(lambda request: send_events(request, outbox)) as (port, _):
        assert chunks((await fetch(port))[1]) == [b'data: {"a": 1}\n\ndata: {"b":2}\n\n']


async def test_what_waits_shares_writes_and_keeps_its_order() -> None:
    small = [b'{"n":%d,"x":"%b"}' % (n, b"x" * 1000) for n in range(100)]
    outbox = holding(*small[:50], VALUE, *small[50:])
    async with sending(lambda request: send_events(request, outbox)) as (port, _):
        written = chunks((await fetch(port))[1])
    events = b"".join(written).removesuffix(b"\n\n").split(b"\n\n")
    assert events == [b"data: " + m for m in (*small[:50], VALUE, *small[50:])]
    assert len(written[0]) > 50_000
    assert max(len(part) for part in written) <= SLICE


@pytest.mark.parametrize("way", ["whole", "events"])
async def test_others_have_their_turn_between_the_slices(way: str) -> None:
    """A fast reader takes all of it without a wait, so the writer must give way by itself."""
    message = Large(bytes(20 * SLICE))
    turns, done = 0, False
    loop = asyncio.get_running_loop()

    def turn() -> None:
        nonlocal turns
        turns += 1
        if not done:
            loop.call_soon(turn)

    async def send(request: web.Request) -> None:
        nonlocal done
        assert request.transport is not None
        request.transport.set_write_buffer_limits(100 * MIB)
        loop.call_soon(turn)
        if way == "whole":
            await send_whole(request, message)
        else:
            await send_events(request, holding(message))
        done = True

    async with sending(send) as (port, _):
        await fetch(port)
    assert turns >= 20


@asynccontextmanager
async def taking_nothing(port: int) -> AsyncIterator[socket.socket]:
    """A client that sends its request, and then reads nothing."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ("127.0.0.1", port))
        await loop.sock_sendall(sock, REQUEST)
        async with asyncio.timeout(PATIENCE):
            yield sock


@pytest.mark.parametrize("way", ["whole", "large event", "events"])
async def test_a_reader_who_takes_nothing_is_given_up_in_time(way: str) -> None:
    async def send(request: web.Request) -> None:
        if way == "whole":
            await send_whole(request, Large(bytes(20 * MIB)), 0.1)
        elif way == "large event":
            await send_events(request, holding(Large(bytes(20 * MIB))), 0.1)
        else:
            await send_events(request, holding(*[bytes(60_000)] * 400), 0.1)

    async with sending(send) as (port, ended), taking_nothing(port):
        with pytest.raises(ConnectionError):
            await ended


async def test_a_reader_who_does_not_take_the_end_is_given_up_too() -> None:
    async def send(request: web.Request) -> None:
        stream = EventStream(keep_alive=Seconds(60), send_timeout=Seconds(0.1))
        await stream.prepare(request)
        assert request.transport is not None
        request.transport.set_write_buffer_limits(100 * MIB)
        await holding(Large(bytes(20 * MIB))).pump(stream)
        request.transport.set_write_buffer_limits(0)
        await stream.write_eof()
        stream.stop_streaming()

    async with sending(send) as (port, ended), taking_nothing(port):
        await ended


@pytest.mark.parametrize("way", ["whole", "events"])
async def test_a_slow_reader_may_take_longer_than_any_one_write(way: str) -> None:
    message, patience = Large(bytes(6 * MIB)), 0.4

    async def send(request: web.Request) -> None:
        socket_of(request).setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
        if way == "whole":
            await send_whole(request, message, patience)
        else:
            await send_events(request, holding(message), patience)

    async with sending(send) as (port, ended), taking_nothing(port) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 256 * 1024)
        started = time.monotonic()
        while not ended.done():
            await asyncio.get_running_loop().sock_recv(sock, 64 * 1024)
            await asyncio.sleep(0.01)
        assert ended.exception() is None
        assert time.monotonic() - started > 1.5 * patience


async def test_nobody_is_given_up_between_writes() -> None:
    given_up = asyncio.Event()
    watchdog = Watchdog(given_up.set, Seconds(0.02))
    with watchdog:
        pass
    await asyncio.sleep(0.1)
    assert not given_up.is_set()
    watchdog.close()


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_large_answer_is_signed_like_any_other(running: Running, era: str) -> None:
    async with running(ONE) as world:
        client = world.modern(era) if era == "modern" else await world.legacy(era)
        replies = []
        for size in (10, 3_000_000):
            params = {"name": "big", "arguments": {"bytes": size}}
            replies.append(await client.request("tools/call", params, accept="application/json"))
        small, large = replies
        assert len(large.text) == 3_000_000
        assert large.headers["Content-Length"] == str(len(large.body))
        assert set(large.headers) == set(small.headers)
        for name in ("Content-Type", "Cache-Control", "Server", "Mcpgw-Server"):
            assert large.headers[name] == small.headers[name]
        assert (await client.call("echo", text="after")).text == "after"
