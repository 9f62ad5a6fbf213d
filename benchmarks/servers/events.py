"""The same events through aiohttp-sse, through the gateway's stream, and written by hand."""

import asyncio
import sys
from typing import Final

import uvloop
from aiohttp import web
from aiohttp_sse import EventSourceResponse

from mcpgw.edge.stream import EventStream
from mcpgw.units import Seconds

MESSAGE: Final = (
    b'{"jsonrpc":"2.0","method":"notifications/progress",'
    b'"params":{"progressToken":"token","progress":12,"message":"working on it"}}'
)


async def by_hand(request: web.Request) -> web.StreamResponse:
    """Write frames to a plain stream."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for _ in range(_count(request)):
        await response.write(b"data: " + MESSAGE + b"\n\n")
    await response.write_eof()
    return response


async def by_library(request: web.Request) -> web.StreamResponse:
    """Send through aiohttp-sse, as it comes."""
    response = EventSourceResponse()
    await response.prepare(request)
    text = MESSAGE.decode()
    for _ in range(_count(request)):
        await response.send(text)
    response.stop_streaming()
    await response.write_eof()
    return response


async def by_gateway(request: web.Request) -> web.StreamResponse:
    """Send through the gateway's own stream."""
    response = EventStream(keep_alive=Seconds(15))
    await response.prepare(request)
    for _ in range(_count(request)):
        await response.send_message(MESSAGE)
    response.stop_streaming()
    await response.write_eof()
    return response


def _count(request: web.Request) -> int:
    return int(request.query["count"])


async def serve(port: int) -> None:
    """Serve until killed."""
    app = web.Application()
    app.router.add_get("/bare", by_hand)
    app.router.add_get("/library", by_library)
    app.router.add_get("/gateway", by_gateway)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
