"""`subscriptions/listen`: one stream of the modern era that stays open.

Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic/patterns/subscriptions
"""

import asyncio

from aiohttp import web
from msgspec import Raw

from mcpgw.edge.context import CONTEXT, Context
from mcpgw.edge.ladder import ModernRequest
from mcpgw.edge.reply import PostReply, Settled
from mcpgw.errors import TooManyListens
from mcpgw.gateway.hub import Listener
from mcpgw.gateway.server import RunningServer
from mcpgw.protocol import codes
from mcpgw.protocol.messages import Notification, Result, dump_notification, failure
from mcpgw.protocol.meta import SUBSCRIPTION_ID
from mcpgw.protocol.rawjson import encode
from mcpgw.protocol.subscriptions import ACKNOWLEDGED, read_filter, tagged, write_filter


async def listen(
    request: web.Request, server: RunningServer, rung: ModernRequest, reply: PostReply
) -> Settled:
    """Tell a client what it wants to hear of, until its connection closes or the server ends it.

    Raises:
        GatewayError: There is no instance to be told by, or too many listen.
    """
    if not reply.streams:
        text = "subscriptions/listen is answered with an event stream, which Accept must allow"
        return Settled(failure(codes.INVALID_REQUEST, text), 406)
    try:
        wanted = read_filter(rung.opened.params)
    except ValueError as exc:
        return Settled(failure(codes.INVALID_PARAMS, str(exc)))
    id = Raw(rung.request.id)
    early: list[Notification] = []

    def send(notification: Notification) -> None:
        told = tagged(notification, id)
        reply.send(dump_notification(told.method, told.params))

    ended = asyncio.Event()
    listener = Listener(early.append, wanted, holds=True, end=ended.set)
    context = request.app[CONTEXT]
    with _counted(context, ended):
        hub = server.hub(rung.client)
        hub.add(listener)
        try:
            applied = await hub.settle(listener)
            listener.wanted = applied.honoured
            told = encode({"notifications": write_filter(applied.honoured)})
            send(Notification(ACKNOWLEDGED, told))
            for notification in early:  # the acknowledgement comes first (MUST)
                if listener.wanted.wants(notification):
                    send(notification)
            listener.hear = send
            await ended.wait()
        finally:
            hub.remove(listener)
    return Settled(Result(encode({"resultType": "complete", "_meta": {SUBSCRIPTION_ID: id}})))


class _counted:
    """Counts a listening client in, for the length of the block; the drain ends it."""

    def __init__(self, context: Context, ended: asyncio.Event) -> None:
        self._context = context
        self._ended = ended

    def __enter__(self) -> None:
        limit = self._context.config.limits.subscriptions
        if len(self._context.listens) >= limit:
            raise TooManyListens(f"{limit} clients listen, which is the limit")
        self._context.listens.add(self._ended)

    def __exit__(self, *exc_info: object) -> None:
        self._context.listens.discard(self._ended)
