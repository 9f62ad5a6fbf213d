"""The least that aiohttp can do for the same answers: read, parse, answer. No gateway, no pipe."""

import asyncio
import sys
from typing import Any

import msgspec
import uvloop
from aiohttp import web

from benchmarks.servers import echo


class Envelope(msgspec.Struct):
    """A request, opened as deep as the answer needs."""

    id: msgspec.Raw
    params: dict[str, Any]


_DECODER = msgspec.json.Decoder(Envelope)


async def handle(request: web.Request) -> web.Response:
    """Answer a tool call."""
    message = _DECODER.decode(await request.read())
    result = echo.result(message.params["name"], message.params["arguments"], True)
    body = b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (bytes(message.id), result)
    return web.Response(body=body, content_type="application/json")


async def serve(port: int) -> None:
    """Serve until killed."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
