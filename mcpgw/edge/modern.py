"""POST of the modern era (2026-07-28): every request stands for itself.

Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http
"""

from aiohttp import web

from mcpgw.edge.accept import Accepts
from mcpgw.edge.context import PRINCIPAL, SERVED, is_local
from mcpgw.edge.ladder import ModernRequest
from mcpgw.edge.listening import listen
from mcpgw.edge.reply import PostReply, Settled
from mcpgw.edge.settling import report
from mcpgw.edge.trace import traced
from mcpgw.edge.wire_errors import SERVER_ERROR_STATUS, to_failure, to_wire
from mcpgw.errors import GatewayError
from mcpgw.gateway.exchange import Exchange
from mcpgw.gateway.server import RunningServer
from mcpgw.lifecycle.base import Owner
from mcpgw.protocol import codes
from mcpgw.protocol.logging import read_level
from mcpgw.protocol.messages import Failure, failure
from mcpgw.protocol.meta import LOG_LEVEL
from mcpgw.protocol.methods import DISCOVER, LISTEN


async def post_modern(
    request: web.Request, server: RunningServer, rung: ModernRequest, accepts: Accepts
) -> web.StreamResponse:
    """Answer one request; a closed connection cancels it (MUST), by cancelling this handler."""
    reply = PostReply(request, accepts)
    try:
        settled = await _settle(request, server, rung, reply)
        return await reply.finish(rung.request.id, settled)
    finally:
        reply.abandon()


async def _settle(
    request: web.Request, server: RunningServer, rung: ModernRequest, reply: PostReply
) -> Settled:
    request[SERVED].method = rung.request.method
    owner = Owner(request[PRINCIPAL].id)
    if rung.request.method == "tools/call" and not server.mirrors.is_empty:
        refusal = server.mirrors.refusal(rung.opened.params, request.headers)
        if refusal is not None:
            return Settled(failure(codes.HEADER_MISMATCH, refusal), 400)
    try:
        if rung.request.method == LISTEN:
            return await listen(request, server, rung, reply)
        if rung.request.method == DISCOVER:
            outcome = await server.discover(rung.client, owner)
        else:
            wanted = rung.opened.meta.get(LOG_LEVEL)
            level = read_level(wanted)
            if wanted is not None and level is None:
                return Settled(failure(codes.INVALID_PARAMS, f"{LOG_LEVEL} is not a log level"))
            opened = traced(request.headers, None, rung.opened)
            exchange = Exchange(rung.request, rung.client, owner, reply, opened, level)
            outcome = await server.serve(exchange)
    except GatewayError as exc:
        report(server, rung.request, exc)
        error = to_failure(exc, local=is_local(request))
        return Settled(error, to_wire(exc).status, exc.retry_after)
    status = SERVER_ERROR_STATUS.get(outcome.code, 200) if isinstance(outcome, Failure) else 200
    return Settled(outcome, status)
