"""The answer to one POST: plain JSON if it is quick and alone, an event stream otherwise."""

import asyncio
from dataclasses import dataclass
from typing import TypeVar

from aiohttp import web

from mcpgw.edge.accept import Accepts
from mcpgw.edge.context import CONTEXT, SERVED, Context, Served
from mcpgw.edge.large import Large, LargeResponse, Message, response_message
from mcpgw.edge.replay import KeptStream
from mcpgw.edge.stream import EventStream, Outbox
from mcpgw.gateway.session import Session
from mcpgw.protocol.messages import Outcome, dump_response
from mcpgw.units import Seconds


@dataclass(frozen=True, slots=True)
class Settled:
    """How an exchange ended, in HTTP's words."""

    outcome: Outcome
    status: int = 200
    retry_after: Seconds | None = None


class PostReply:
    """The `ReplyChannel` of an exchange that came by POST.

    The stream is opened by the first thing to stream: a notification, or the first
    keep-alive of an answer that takes its time.
    """

    def __init__(
        self,
        request: web.Request,
        accepts: Accepts,
        headers: dict[str, str] | None = None,
        session: Session | None = None,
    ) -> None:
        self.headers = headers or {}
        """What the response says besides; may change until something is sent."""
        self._request = request
        self._context: Context = request.app[CONTEXT]
        self._accepts = accepts
        self._session = session
        self._outbox: Outbox | None = None
        self._kept: KeptStream | None = None
        self._abandoned = False
        self._writer: asyncio.Task[EventStream] | None = None
        if accepts.sse:
            self._context.quiet.add(self)

    def served_by(self, instance: str, queued: Seconds) -> None:
        """See `ReplyChannel.served_by`."""
        served: Served = self._request[SERVED]
        served.instance, served.queued = instance, queued

    @property
    def streams(self) -> bool:
        """See `ReplyChannel.streams`."""
        lost = self._abandoned and self._kept is None  # nobody would ever see it
        return self._accepts.sse and not lost

    def send(self, message: bytes) -> None:
        """See `ReplyChannel.send`."""
        if self._accepts.sse:
            self._open().put(message)

    async def finish(self, id: bytes, settled: Settled) -> web.StreamResponse:
        """Send the answer, and end the response with it."""
        return await self._end([response_message(id, settled.outcome)], settled)

    async def finish_batch(self, answers: list[tuple[bytes, Outcome]]) -> web.StreamResponse:
        """Send the answers of a batch."""
        if self._outbox is None and self._accepts.json:
            joined = b",".join(dump_response(id, outcome) for id, outcome in answers)
            return await self._end([b"[%b]" % joined])
        return await self._end([response_message(id, outcome) for id, outcome in answers])

    async def give_up(self) -> web.StreamResponse:
        """End the response without an answer: its own client has cancelled the request."""
        self._open().close()
        return await self._written()

    def keep_alive(self) -> None:
        """Show that the answer takes its time, by opening the stream that will carry it."""
        self._open()

    def abandon(self) -> KeptStream | None:
        """Stop writing at once: the client is gone, or has everything.

        Gives the stream that a client may resume and that still lacks its answer, if any.
        """
        self._abandoned = True
        self._context.quiet.discard(self)
        if self._writer is not None:
            self._writer.cancel()
        if self._kept is None or self._outbox is None:
            return None
        self._kept.detach(self._outbox)
        return None if self._kept.is_closed else self._kept

    async def _end(
        self, messages: list[Message], settled: Settled | None = None
    ) -> web.StreamResponse:
        self._context.quiet.discard(self)
        failed = settled is not None and settled.status != 200  # a stream cannot say so
        if self._outbox is None and (self._accepts.json or failed):
            return self._whole(messages[0], settled)
        outbox = self._open()
        for message in messages:
            outbox.answer(message)
        outbox.close()
        return await self._written()

    def _whole(self, message: Message, settled: Settled | None) -> web.StreamResponse:
        response: web.StreamResponse
        if isinstance(message, Large):
            response = _worded(LargeResponse(message), settled)
        else:
            response = json_response(message, settled)
        response.headers.update(self.headers)
        return response

    async def _written(self) -> web.StreamResponse:
        assert self._writer is not None
        await asyncio.wait([self._writer])
        if self._writer.cancelled() or self._writer.exception() is not None:
            return web.Response(status=499)  # nobody is there to read it
        return self._writer.result()

    def _open(self) -> Outbox | KeptStream:
        if self._outbox is None:
            self._context.quiet.discard(self)
            self._outbox = Outbox(self._context.config.limits.stream_buffer)
            if self._abandoned:  # before anything was sent, so nobody can come back for it
                self._outbox.close()
                return self._outbox
            if self._session is not None and self._session.client.revision.resumes:
                self._kept = self._context.replays.open(self._session)
                self._kept.attach(self._outbox)
            self._writer = self._context.tasks.start(self._write(self._outbox), name="sse")
        return self._kept or self._outbox

    async def _write(self, outbox: Outbox) -> EventStream:
        keep_alive = self._context.config.keep_alive
        stream = EventStream(keep_alive=keep_alive, headers=self.headers)
        prime = self._kept.log.id_at(0) if self._kept is not None and self._primes else None
        await stream_to_end(self._request, stream, outbox, prime)
        return stream

    @property
    def _primes(self) -> bool:
        return self._session is not None and self._session.client.revision.primes


async def stream_to_end(
    request: web.Request, stream: EventStream, outbox: Outbox, prime: str | None = None
) -> None:
    """Open the stream and send what the outbox gets, until it closes or the reader goes.

    `prime` is the id of an event that goes first. A reader that is given up is disconnected:
    one that is too slow for the outbox learns so that something was lost, and where another
    took its place, the handler that waits for the answer ends.
    """

    def drop() -> None:
        if request.transport is not None:
            request.transport.abort()

    outbox.on_given_up = drop
    try:
        await stream.prepare(request)
        try:
            if prime is not None:
                await stream.send_prime(prime)
            await outbox.pump(stream)
            if outbox.given_up:
                drop()
            await stream.write_eof()
        finally:
            stream.stop_streaming()
    except ConnectionError:
        outbox.close()


def json_response(message: bytes, settled: Settled | None = None) -> web.Response:
    """One JSON message as a response."""
    return _worded(web.Response(body=message, content_type="application/json"), settled)


R = TypeVar("R", bound=web.StreamResponse)


def _worded(response: R, settled: Settled | None) -> R:
    response.headers["Cache-Control"] = "no-store"
    if settled is not None:
        response.set_status(settled.status)
        if settled.retry_after is not None:
            response.headers["Retry-After"] = str(max(1, round(settled.retry_after)))
    return response
