"""Streamable HTTP of the legacy era (2025-03-26 to 2025-11-25): sessions.

Spec: https://modelcontextprotocol.io/specification/2025-11-25/basic/transports
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from aiohttp import web
from msgspec import Raw

from mcpgw.edge.accept import Accepts
from mcpgw.edge.context import CONTEXT, PRINCIPAL, SERVED, Context
from mcpgw.edge.ladder import SESSION_HEADER, LegacyBatch, LegacyInitialize, LegacyMessage
from mcpgw.edge.large import response_message
from mcpgw.edge.replay import KeptStream
from mcpgw.edge.reply import PostReply, Settled, json_response, stream_to_end
from mcpgw.edge.resuming import EVENT_HEADER
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
    """Open a session. A server that takes long to start gets its client an event stream.

    That one cannot be resumed: a client that leaves meanwhile leaves no session behind.
    """
    sessions = request.app[CONTEXT].sessions
    request[SERVED].method = INITIALIZE
    try:
        session = sessions.open(server, rung.client, request[PRINCIPAL].id)
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
        session = find_session(request, server, rung.session_id)
    except UnknownSession as exc:
        if not isinstance(rung.message, Request):
            raise
        return _json(rung.message, failed(request, server, rung.message, exc))
    if not isinstance(rung.message, Request):
        hear(session, rung.message)
        return web.Response(status=202)
    request[SERVED].method = rung.message.method
    reply = PostReply(request, accepts, session=session)
    answers = _Answers([], [])
    try:
        settled = await _settle_one(request, session, rung.message, reply, answers)
        if settled is not None:
            return await reply.finish(rung.message.id, settled)
        if accepts.sse:
            return await reply.give_up()
        return await reply.finish(rung.message.id, Settled(CANCELLED_FAILURE))
    finally:
        _leave(request, session, reply, answers)


async def post_batch(
    request: web.Request, server: RunningServer, rung: LegacyBatch, accepts: Accepts
) -> web.StreamResponse:
    """Serve several messages at once (2025-03-26 only)."""
    context = request.app[CONTEXT]
    session = find_session(request, server, rung.session_id)
    limit = context.config.limits.in_flight_per_session
    try:
        messages = _read_batch(session, rung.items, limit)
    except InvalidMessage as exc:
        error = failure(codes.INVALID_REQUEST, str(exc))
        return json_response(dump_response(exc.id, error), Settled(error, 400))
    request[SERVED].method = "batch"
    reply = PostReply(request, accepts, session=session)
    answers = _begin_batch(request, session, messages, reply)
    try:
        ready = await _settle_all(request, session, answers)
        return await reply.finish_batch(ready) if ready else web.Response(status=202)
    finally:
        _leave(request, session, reply, answers)


async def get_stream(request: web.Request, server: RunningServer) -> web.StreamResponse:
    """Hold a stream open for messages that answer no request, or resume one that broke."""
    context = request.app[CONTEXT]
    session = find_session(request, server, request.headers[SESSION_HEADER])
    if not session.client.revision.resumes:
        return await _listen_once(request, session)
    event_id = request.headers.get(EVENT_HEADER)
    if not event_id:
        return await _read(request, session, context.replays.open(session, listens=True), 0)
    stream, position = context.replays.find(session, event_id)
    if stream.is_closed and position == stream.log.position:
        # Nothing is missing and nothing will come. An empty stream would be resumed again and
        # again; this is how a client that follows the EventSource standard is told to stop.
        return web.Response(status=204)
    return await _read(request, session, stream, position)


async def _read(
    request: web.Request, session: Session, stream: KeptStream, position: int
) -> web.StreamResponse:
    """Send a stream from that position on, until it ends or a newer reader comes."""
    context = request.app[CONTEXT]
    outbox = Outbox(context.config.limits.stream_buffer)
    response = EventStream(keep_alive=context.config.keep_alive)
    prime = stream.log.id_at(position) if session.client.revision.primes else None
    with stream.read_by(outbox, position), ExitStack() as stack:
        if stream.listens:
            context.replays.listen(stream)
            stack.enter_context(_listening(context, session, stream, outbox))
        await stream_to_end(request, response, outbox, prime)
    return response


async def _listen_once(request: web.Request, session: Session) -> web.StreamResponse:
    context = request.app[CONTEXT]
    outbox = Outbox(context.config.limits.stream_buffer)
    response = EventStream(keep_alive=context.config.keep_alive)
    with _listening(context, session, outbox, outbox):
        await stream_to_end(request, response, outbox)
    return response


@contextmanager
def _listening(
    context: Context, session: Session, stream: KeptStream | Outbox, outbox: Outbox
) -> Iterator[None]:
    """Put into a stream what answers no request; the newest of the session's gets it."""
    context.streams.add(outbox)
    try:
        with session.listening(stream.put, outbox.close, stays=stream is not outbox):
            yield
    finally:
        context.streams.discard(outbox)


async def delete_session(request: web.Request, server: RunningServer) -> web.Response:
    """End a session at its client's wish."""
    context = request.app[CONTEXT]
    session = find_session(request, server, request.headers[SESSION_HEADER])
    await context.sessions.close(session, "deleted by the client")
    return web.Response(status=204)


def find_session(request: web.Request, server: RunningServer, id: str) -> Session:
    """The session of that id, if it is the caller's.

    Raises:
        UnknownSession: It ended, or never was, or is somebody else's.
    """
    sessions = request.app[CONTEXT].sessions
    if (session := sessions.get(id, server, request[PRINCIPAL].id)) is None:
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


@dataclass(slots=True)
class _Answers:
    """The requests of one POST that have begun, and the answers to those that have ended."""

    pending: list[tuple[Request, Work]]
    ready: list[tuple[bytes, Outcome]]


async def _settle_one(
    request: web.Request, session: Session, message: Request, reply: PostReply, answers: _Answers
) -> Settled | None:
    try:
        work = begin(request, session, message, reply)
    except GatewayError as exc:
        return failed(request, session.server, message, exc)
    answers.pending.append((message, work))
    return await settle(request, session, message, work)


def _leave(request: web.Request, session: Session, reply: PostReply, answers: _Answers) -> None:
    """Write no more. What the client may come back for is completed without it."""
    stream = reply.abandon()
    if stream is not None:
        later = _complete(request, session, stream, answers)
        _ = request.app[CONTEXT].tasks.start(later, name="complete")


async def _complete(
    request: web.Request, session: Session, stream: KeptStream, answers: _Answers
) -> None:
    for id, outcome in await _settle_all(request, session, answers):
        stream.answer(response_message(id, outcome))
    stream.close()


async def _settle_all(
    request: web.Request, session: Session, answers: _Answers
) -> list[tuple[bytes, Outcome]]:
    """Wait for what is pending; may be cancelled, and called again."""
    while answers.pending:
        message, work = answers.pending[0]
        settled = await settle(request, session, message, work)
        del answers.pending[0]
        if settled is not None:
            answers.ready.append((message.id, settled.outcome))
    return answers.ready


def _read_batch(session: Session, items: list[Raw], limit: int) -> list[Message]:
    if not session.client.revision.batches:
        raise InvalidMessage(f"revision {session.client.revision.date} has no batches")
    if len(items) > limit:
        raise InvalidMessage(f"a batch holds at most {limit} messages here")
    messages = [parse(item) for item in items]
    if any(isinstance(m, Request) and m.method == INITIALIZE for m in messages):
        raise InvalidMessage("initialize must not be part of a batch")
    return messages


def _begin_batch(
    request: web.Request, session: Session, messages: list[Message], reply: PostReply
) -> _Answers:
    answers = _Answers([], [])
    for message in messages:
        if not isinstance(message, Request):
            hear(session, message)
            continue
        try:
            answers.pending.append((message, begin(request, session, message, reply)))
        except GatewayError as exc:
            error = failed(request, session.server, message, exc).outcome
            answers.ready.append((message.id, error))
    return answers
