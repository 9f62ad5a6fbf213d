"""The HTTP application: one handler that knows the paths, and the listener."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from mcpgw.access.gate import check_allowed
from mcpgw.edge import http_sse, legacy
from mcpgw.edge.accept import Accepts, parse_accept
from mcpgw.edge.broken import watch_broken_requests
from mcpgw.edge.context import CONTEXT, PRINCIPAL, SERVED, Context
from mcpgw.edge.ladder import (
    SESSION_HEADER,
    VERSION_HEADER,
    LegacyBatch,
    LegacyInitialize,
    LegacyMessage,
    ModernRequest,
    Refusal,
    classify,
)
from mcpgw.edge.middleware import (
    add_headers,
    answer_errors,
    authenticate,
    check_origin,
    observe,
)
from mcpgw.edge.modern import post_modern
from mcpgw.edge.origin import ALLOWED_METHODS
from mcpgw.edge.reply import Settled, json_response
from mcpgw.edge.routes import Route, find_route
from mcpgw.errors import UnknownServer
from mcpgw.gateway.server import RunningServer
from mcpgw.protocol import codes
from mcpgw.protocol.messages import dump_response, failure
from mcpgw.protocol.revisions import REVISIONS, legacy_revision
from mcpgw.units import Seconds


def build_app(context: Context) -> web.Application:
    """Assemble the application; the middlewares run in the order they are listed."""
    app = web.Application(
        middlewares=[observe, answer_errors, check_origin, authenticate],
        client_max_size=context.config.limits.body,
    )
    app[CONTEXT] = context
    app.on_response_prepare.append(add_headers)
    for name in context.config.tools:  # found by a dictionary; the rest by a pattern
        app.router.add_route("*", f"/mcp/{name}", handle)
    app.router.add_route("*", "/{path:.*}", handle)
    return app


async def handle(request: web.Request) -> web.StreamResponse:
    """Serve whatever comes to a server's address."""
    route = find_route(request.raw_path)
    if route is None:
        raise UnknownServer("no tool is served at this path; try /mcp/<tool>")
    server = request.app[CONTEXT].fleet.find(route.server)
    request[SERVED].server = server.name
    check_allowed(request[PRINCIPAL], server.spec)
    if request.method == "POST":
        return await _post(request, server, route)
    if request.method in ("GET", "DELETE"):
        if (refusal := _check_version(request)) is not None:
            return refusal
        if request.method == "GET":
            return await _get(request, server, route)
        if SESSION_HEADER in request.headers:
            return await legacy.delete_session(request, server)
        return _refused(405, "DELETE ends a session; this request names none")
    return _refused(405, f"{request.method} means nothing here")


async def _post(request: web.Request, server: RunningServer, route: Route) -> web.StreamResponse:
    if request.content_type != "application/json":
        return _refused(415, "Content-Type must be application/json")
    limit = request.app[CONTEXT].config.limits.body
    if (request.content_length or 0) > limit:
        return _refused(413, f"the body is larger than {limit} bytes (limits.body)")
    body = await request.read()
    if "?" in request.raw_path and http_sse.SESSION_QUERY in request.query:
        return await http_sse.post_to_stream(request, server, body)
    if route.sse:
        return _refused(405, "open the event stream with GET first; it names the address for POST")
    accepts = parse_accept(request.headers.get("Accept"))
    if not accepts.json and not accepts.sse:
        return _refused(406, "Accept must allow application/json or text/event-stream")
    return await _climb(request, server, body, accepts)


async def _climb(
    request: web.Request, server: RunningServer, body: bytes, accepts: Accepts
) -> web.StreamResponse:
    rung = classify(request.headers, body)
    match rung:
        case ModernRequest():
            return await post_modern(request, server, rung, accepts)
        case LegacyMessage():
            return await legacy.post_message(request, server, rung, accepts)
        case LegacyInitialize():
            return await legacy.post_initialize(request, server, rung, accepts)
        case LegacyBatch():
            return await legacy.post_batch(request, server, rung, accepts)
        case Refusal():
            settled = Settled(rung.error, rung.status)
            return json_response(dump_response(rung.id, rung.error), settled)
        case _:
            return web.Response(status=202)


def _check_version(request: web.Request) -> web.Response | None:
    """Refuse a revision that is unknown (MUST), or has neither GET nor DELETE."""
    version = request.headers.get(VERSION_HEADER)
    if version is None or legacy_revision(version) is not None:
        return None
    if version in REVISIONS:
        return _refused(405, f"revision {version} has POST only")
    return _refused(400, f"{VERSION_HEADER} {version[:40]!r} is not supported")


async def _get(request: web.Request, server: RunningServer, route: Route) -> web.StreamResponse:
    headers = request.headers
    if not parse_accept(headers.get("Accept", "")).sse:
        return _refused(406, "Accept must allow text/event-stream")
    if SESSION_HEADER in headers and not route.sse:
        return await legacy.get_stream(request, server)
    asks_for_events = "text/event-stream" in headers.get("Accept", "").lower()
    if route.sse or (asks_for_events and VERSION_HEADER not in headers):
        return await http_sse.open_stream(request, server, route)
    return _refused(405, "GET opens the stream of a session; this request names none")


def _refused(status: int, text: str) -> web.Response:
    error = failure(codes.INVALID_REQUEST, text)
    response = json_response(dump_response(None, error), Settled(error, status))
    if status == 405:
        response.headers["Allow"] = ALLOWED_METHODS
    return response


@asynccontextmanager
async def listening(app: web.Application, host: str, port: int) -> AsyncIterator["Listener"]:
    """Serve `app` for the length of the block.

    Raises:
        OSError: The address cannot be bound.
    """
    runner = web.AppRunner(
        app,
        handler_cancellation=True,  # a closed connection cancels what only it waits for
        access_log=None,  # the middleware writes a better one
        keepalive_timeout=75,
        shutdown_timeout=LAST_WORDS,
    )
    watch_broken_requests()
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        yield Listener(site)
    finally:
        await runner.cleanup()


LAST_WORDS = Seconds(2)
"""How long handlers may take to write what they have, once nothing more can come."""


class Listener:
    """The open door."""

    def __init__(self, site: web.TCPSite) -> None:
        self._site = site

    @property
    def url(self) -> str:
        """Where it is, without a path."""
        return self._site.name

    @property
    def port(self) -> int:
        """The port it is bound to."""
        return self._site.port

    async def close(self) -> None:
        """Take no new connections."""
        await self._site.stop()
