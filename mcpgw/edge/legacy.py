"""Streamable HTTP of the legacy era (2025-03-26 to 2025-11-25): sessions.

Spec: https://modelcontextprotocol.io/specification/2025-11-25/basic/transports
"""

from aiohttp import web
from msgspec import Raw

from mcpgw.edge.accept import Accepts
from mcpgw.edge.context import CONTEXT, SERVED, Context
from mcpgw.edge.ladder import SESSION_HEADER, LegacyBatch, LegacyInitialize, LegacyMessage
from mcpgw.edge.reply import PostReply, Settled, json_response, stream_to_end
from mcpgw.edge.settling import CANCELLED_FAILURE, begin, failed, settle
from mcpgw.edge.stream import EventStream, Outbox
from mcpgw.errors import GatewayError, UnknownSession
from mcpgw.gateway.server import RunningServer
from mcpgw.gateway.session import Session, Work
from mcpgw.protocol import codes
from mcpgw.protocol.messages import (
    InvalidMessage,
    Message,
    Notification,
    Outcome,
    Request,
    Response,
    dump_response,
    failure,
    parse,
)
from mcpgw.protocol.methods import CANCELLED, INITIALIZE
from mcpgw.protocol.rawjson import object_or_empty


async def post_initialize(
    request: web.Request, server: RunningServer, rung: LegacyInitialize, accepts: Accepts
) -> web.StreamResponse:
    """Open a session. A server that takes long to start gets its client an event stream."""
    sessions = request.app[CONTEXT].sessions
    request[SERVED].method = INITIALIZE
    try:
        session = sessions.open(server, rung.client)
    except GatewayError as exc:
        return _json(rung.request, failed(request, server, rung.request, exc))
    reply = PostReply(request, accepts, {SESSION_HEADER: session.id})
    try:
        settled = Settled(await session.initialize())
    except BaseException as exc:
        reply.headers.clear()
        await sessions.close(session, "initialize failed")
        if not isinstance(exc, GatewayError):
            reply.abandon()
            raise
        settled = failed(request, server, rung.request, exc)
    try:
        return await reply.finish(rung.request.id, settled)
    finally:
        reply.abandon()


async def post_message(
    request: web.Request, server: RunningServer, rung: LegacyMessage, accepts: Accepts
) -> web.StreamResponse:
    """Serve one message of a session."""
    try:
        session = find_session(request.app[CONTEXT], server, rung.session_id)
    except UnknownSession as exc:
        if not isinstance(rung.message, Request):
            raise
        return _json(rung.message, failed(request, server, rung.message, exc))
    if not isinstance(rung.message, Request):
        hear(session, rung.message)
        return web.Response(status=202)
    request[SERVED].method = rung.message.method
    reply = PostReply(request, accepts)
    try:
        settled = await _settle_one(request, session, rung.message, reply)
        if settled is not None:
            return await reply.finish(rung.message.id, settled)
        if accepts.sse:
            return await reply.give_up()
        return await reply.finish(rung.message.id, Settled(CANCELLED_FAILURE))
    finally:
        reply.abandon()


async def post_batch(
    request: web.Request, server: RunningServer, rung: LegacyBatch, accepts: Accepts
) -> web.StreamResponse:
    """Serve several messages at once (2025-03-26 only)."""
    context = request.app[CONTEXT]
    session = find_session(context, server, rung.session_id)
    limit = context.config.limits.in_flight_per_session
    try:
        messages = _read_batch(session, rung.items, limit)
    except InvalidMessage as exc:
        error = failure(codes.INVALID_REQUEST, str(exc))
        return json_response(dump_response(exc.id, error), Settled(error, 400))
    request[SERVED].method = "batch"
    reply = PostReply(request, accepts)
    try:
        answers = await _settle_batch(request, session, messages, reply)
        return await reply.finish_batch(answers) if answers else web.Response(status=202)
    finally:
        reply.abandon()


async def get_stream(request: web.Request, server: RunningServer) -> web.StreamResponse:
    """Hold a stream open for messages that answer no request; the newest one gets them."""
    context = request.app[CONTEXT]
    session = find_session(context, server, request.headers[SESSION_HEADER])
    outbox = Outbox(context.config.limits.stream_buffer)
    with session.listening(outbox.put, outbox.close):
        stream = EventStream(keep_alive=context.config.keep_alive)
        context.streams.add(outbox)
        try:
            await stream_to_end(request, stream, outbox)
        finally:
            context.streams.discard(outbox)
    return stream


async def delete_session(request: web.Request, server: RunningServer) -> web.Response:
    """End a session at its client's wish."""
    context = request.app[CONTEXT]
    session = find_session(context, server, request.headers[SESSION_HEADER])
    await context.sessions.close(session, "deleted by the client")
    return web.Response(status=204)


def find_session(context: Context, server: RunningServer, id: str) -> Session:
    """The session of that id.

    Raises:
        UnknownSession: It ended, or never was.
    """
    if (session := context.sessions.get(id, server)) is None:
        raise UnknownSession("no such session; begin a new one with initialize")
    return session


def hear(session: Session, message: Message) -> None:
    """Take a message that is not answered: the answer to a question, or a cancellation."""
    if isinstance(message, Response):
        session.answer(message)
    elif isinstance(message, Notification) and message.method == CANCELLED:
        id = object_or_empty(message.params).get("requestId")
        if id is not None:
            session.cancel(bytes(id))


def _json(message: Request, settled: Settled) -> web.Response:
    return json_response(dump_response(message.id, settled.outcome), settled)


async def _settle_one(
    request: web.Request, session: Session, message: Request, reply: PostReply
) -> Settled | None:
    try:
        work = begin(request, session, message, reply)
    except GatewayError as exc:
        return failed(request, session.server, message, exc)
    return await settle(request, session, message, work)


def _read_batch(session: Session, items: list[Raw], limit: int) -> list[Message]:
    if not session.client.revision.batches:
        raise InvalidMessage(f"revision {session.client.revision.date} has no batches")
    if len(items) > limit:
        raise InvalidMessage(f"a batch holds at most {limit} messages here")
    messages = [parse(item) for item in items]
    if any(isinstance(m, Request) and m.method == INITIALIZE for m in messages):
        raise InvalidMessage("initialize must not be part of a batch")
    return messages


async def _settle_batch(
    request: web.Request, session: Session, messages: list[Message], reply: PostReply
) -> list[tuple[bytes, Outcome]]:
    answers: list[tuple[bytes, Outcome]] = []
    pending: list[tuple[Request, Work]] = []
    for message in messages:
        if not isinstance(message, Request):
            hear(session, message)
            continue
        try:
            pending.append((message, begin(request, session, message, reply)))
        except GatewayError as exc:
            answers.append((message.id, failed(request, session.server, message, exc).outcome))
    for message, work in pending:
        settled = await settle(request, session, message, work)
        if settled is not None:
            answers.append((message.id, settled.outcome))
    return answers
