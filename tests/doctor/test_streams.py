"""Streams of servers that are not the demo, through edges that hold back, compress or break."""

import asyncio

import pytest
from aiohttp import web

from mcpgw.doctor.findings import Finding, Level
from mcpgw.doctor.streams import cancelling, streaming
from tests.doctor.edges import Handler, edge, far_away, rpc

OTHER = {"_meta": {"io.modelcontextprotocol/serverInfo": {"name": "other"}}}
DEMO = {"_meta": {"io.modelcontextprotocol/serverInfo": {"name": "mcpgw-demo"}}}
ACKNOWLEDGED = b'data: {"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged"}\n\n'


def listening(*, early: bool = True, ends: bool = False, compressed: bool = False) -> Handler:
    """A server whose stream begins at once, or, behind an edge that waits for its end, never."""

    async def handle(request: web.Request) -> web.StreamResponse:
        if b"server/discover" in await request.read():
            return rpc(result=OTHER)
        if not early:
            await asyncio.Event().wait()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        if compressed:
            response.enable_compression(web.ContentCoding.gzip)
        await response.prepare(request)
        if not ends:
            await response.write(ACKNOWLEDGED)
            if compressed:
                return response
            await asyncio.Event().wait()
        return response

    return handle


async def look(handler: Handler) -> Finding:
    async with edge(handler) as url, far_away(url, url) as client, asyncio.timeout(4):
        return await streaming(client)


async def test_a_stream_that_begins_at_once_is_well() -> None:
    found = await look(listening())
    assert found.level is Level.OK
    assert "first bytes" in found.text


async def test_an_edge_that_waits_for_the_end_of_a_stream_is_found() -> None:
    found = await look(listening(early=False))
    assert found.level is Level.PROBLEM
    assert "held back" in found.text


async def test_an_edge_that_passes_headers_but_no_events_is_found() -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        if b"server/discover" in await request.read():
            return rpc(result=OTHER)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await asyncio.Event().wait()
        return response

    assert "held back" in (await look(handle)).text


async def test_a_stream_that_ends_at_once_is_found() -> None:
    found = await look(listening(ends=True))
    assert found.level is Level.PROBLEM
    assert "broke off" in found.text


async def test_compression_is_found() -> None:
    found = await look(listening(compressed=True))
    assert found.level is Level.WARNING
    assert "gzip" in found.text


async def test_a_server_without_streams_cannot_be_told() -> None:
    async def handle(request: web.Request) -> web.Response:
        return rpc(result=OTHER)

    assert (await look(handle)).level is Level.SKIPPED


async def test_an_event_of_any_length_is_read() -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        if b"server/discover" in await request.read():
            return rpc(result=DEMO)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: %b\n\n" % (b"x" * 1_000_000))
        return response

    assert "held back" in (await look(handle)).text


@pytest.mark.parametrize(("name", "why"), [("other", "only the demo"), ("mcpgw-demo", "count")])
async def test_cancelling_that_cannot_be_told_is_skipped(name: str, why: str) -> None:
    result = {"_meta": {"io.modelcontextprotocol/serverInfo": {"name": name}}, "content": None}

    async def handle(request: web.Request) -> web.Response:
        return rpc(result=result)

    async with edge(handle) as url, far_away(url, url) as client:
        found = await cancelling(client)
    assert found.level is Level.SKIPPED
    assert why in found.text
