"""The HTTP+SSE transport of 2024-11-05: one stream down, POSTs up.

The stream is the session: closing it ends everything in flight.
Spec: https://modelcontextprotocol.io/specification/2024-11-05/basic/transports
"""

from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from mcpgw.edge.context import CONTEXT, PRINCIPAL, SERVED, Context
from mcpgw.edge.ladder import read_initialize
from mcpgw.edge.large import response_message
from mcpgw.edge.legacy import find_session, hear
from mcpgw.edge.reply import Settled, json_response, stream_to_end
from mcpgw.edge.routes import Route
from mcpgw.edge.settling import begin, conclude, failed
from mcpgw.edge.stream import EventStream, Outbox
from mcpgw.errors import GatewayError, UnknownSession
from mcpgw.gateway.server import RunningServer
from mcpgw.gateway.session import Session
from mcpgw.protocol import codes
from mcpgw.protocol.client import ClientFacts
from mcpgw.protocol.messages import (
    InvalidMessage,
    Request,
    dump_response,
    failure,
    parse,
)
from mcpgw.protocol.methods import INITIALIZE
from mcpgw.protocol.revisions import LEGACY
from mcpgw.units import Seconds

SESSION_QUERY: Final = "session_id"


class StreamReply:
    """The `ReplyChannel` of an exchange whose answer goes to the session's one stream."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def served_by(self, instance: str, queued: Seconds) -> None:
        """See `ReplyChannel.served_by`; the stream's headers are long sent."""

    @property
    def streams(self) -> bool:
        """See `ReplyChannel.streams`."""
        return True

    def send(self, message: bytes) -> None:
        """See `ReplyChannel.send`."""
        self._outbox.put(message)


async def open_stream(
    request: web.Request, server: RunningServer, route: Route
) -> web.StreamResponse:
    """Open a session and its stream; the first event tells where to POST (MUST)."""
    context = request.app[CONTEXT]
    session = context.sessions.open(server, ClientFacts(LEGACY[0]), request[PRINCIPAL].id)
    outbox = Outbox(context.config.limits.stream_buffer)
    stream = EventStream(keep_alive=context.config.keep_alive)
    context.sse[session.id] = outbox
    try:
        with session.listening(outbox.put, outbox.close):
            await stream.prepare(request)
            endpoint = f"{_endpoint(context, request, route)}?{SESSION_QUERY}={session.id}"
            await stream.send_message(endpoint.encode(), event="endpoint")
            await stream_to_end(request, stream, outbox)
    finally:
        del context.sse[session.id]
        await context.sessions.close(session, "stream closed")
    return stream


async def post_to_stream(request: web.Request, server: RunningServer, body: bytes) -> web.Response:
    """Take one message; whatever answers it goes to the stream."""
    context = request.app[CONTEXT]
    session = find_session(request, server, request.query[SESSION_QUERY])
    outbox = context.sse.get(session.id)
    if outbox is None:
        raise UnknownSession("that session has no HTTP+SSE stream")
    try:
        message = parse(body)
    except InvalidMessage as exc:
        code = codes.INVALID_REQUEST if exc.is_json else codes.PARSE_ERROR
        error = failure(code, str(exc))
        return json_response(dump_response(exc.id, error), Settled(error, 400))
    if isinstance(message, Request):
        _serve(request, session, message, outbox)
    else:
        hear(session, message)
    return web.Response(status=202)


def _serve(request: web.Request, session: Session, message: Request, outbox: Outbox) -> None:
    request[SERVED].method = message.method

    def deliver(settled: Settled | None) -> None:
        if settled is not None:
            answer = response_message(message.id, settled.outcome)
            (outbox.put if outbox.is_full else outbox.answer)(answer)

    if message.method == INITIALIZE and not session.introduce(read_initialize(message)):
        deliver(Settled(failure(codes.INVALID_REQUEST, "this session is initialized already")))
        return
    try:
        work = begin(request, session, message, StreamReply(outbox))
    except GatewayError as exc:
        deliver(failed(request, session.server, message, exc))
        return
    work.add_done_callback(lambda done: deliver(conclude(request, session, message, done)))


def _endpoint(context: Context, request: web.Request, route: Route) -> str:
    """The path to POST to, as the client sees it.

    Behind a proxy that strips the prefix only the public URL tells; without one a
    reference relative to the stream's own URL is always right.
    """
    tail = "/sse" if route.sse else ""
    if route.prefixed:
        return request.raw_path.partition("?")[0]
    if context.config.public_url is not None:
        base = urlsplit(context.config.public_url).path.rstrip("/")
        return f"{base}/{route.server}{tail}"
    return ""
