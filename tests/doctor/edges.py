"""Broken edges: small real servers that play what stands in front of a gateway."""

import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from mcpgw.doctor.client import Limits, Outsider
from mcpgw.units import Seconds

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HASTY = Limits(early=Seconds(0.5), answer=Seconds(1), check=Seconds(3), overall=Seconds(8))
"""For edges that keep silent."""


@asynccontextmanager
async def edge(
    handler: Handler, context: ssl.SSLContext | None = None, *, deaf: bool = False
) -> AsyncIterator[str]:
    """Something in front, or in the place, of a gateway; `deaf` to clients that leave."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, handler_cancellation=not deaf, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        port = runner.addresses[0][1]
        yield f"{'https' if context else 'http'}://127.0.0.1:{port}/mcp/demo"
    finally:
        await runner.cleanup()


def rpc(request_id: object = 1, /, **answer: Any) -> web.Response:
    """A JSON-RPC answer, as a server would give it."""
    text = json.dumps({"jsonrpc": "2.0", "id": request_id, **answer})
    headers = {"Cache-Control": "no-store"}
    return web.Response(text=text, content_type="application/json", headers=headers)


class _Everywhere(AbstractResolver):
    """Every name, whatever the port, is one server of ours."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host="127.0.0.1",
                port=self._port,
                family=socket.AF_INET,
                proto=0,
                flags=0,
            )
        ]

    async def close(self) -> None:
        pass


@asynccontextmanager
async def far_away(served: str, url: str, **headers: str) -> AsyncIterator[Outsider]:
    """A client for which `url`, on another machine, is what is `served` on this one."""
    port = URL(served).port
    assert port is not None
    connector = aiohttp.TCPConnector(resolver=_Everywhere(port))
    async with aiohttp.ClientSession(connector=connector) as http:
        yield Outsider(http, URL(url), headers, HASTY)
