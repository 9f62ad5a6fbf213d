"""How an exchange of a session is begun, and what becomes of its end."""

import asyncio
from functools import partial
from typing import Final

import structlog
from aiohttp import web

from mcpgw.edge.context import is_local
from mcpgw.edge.reply import Settled
from mcpgw.edge.trace import traced
from mcpgw.edge.wire_errors import CANCELLED, to_failure, to_wire
from mcpgw.errors import DuplicateId, GatewayError, UnknownSession
from mcpgw.gateway.exchange import Exchange, ReplyChannel
from mcpgw.gateway.server import RunningServer
from mcpgw.gateway.session import Session, Work
from mcpgw.protocol.messages import Request, failure

log = structlog.get_logger(__name__)

CANCELLED_FAILURE: Final = failure(CANCELLED, "cancelled by the client")


def begin(request: web.Request, session: Session, message: Request, reply: ReplyChannel) -> Work:
    """Start serving a message of a session that came with an HTTP request.

    Raises:
        GatewayError: It is not taken on.
    """
    exchange = Exchange(
        message,
        session.client,
        session.owner,
        reply,
        traced(request.headers, message.params, None),
        log_level=session.wanted_logs,
        affinity=session.id,
        ask=partial(session.ask, reply),
        tell=session.notify,
    )
    return session.start(exchange)


async def settle(
    request: web.Request, session: Session, message: Request, work: Work
) -> Settled | None:
    """Wait for the end of an exchange; None if its own client cancelled it.

    Whoever waits may be cancelled by a disconnect; the exchange goes on (SHOULD NOT be
    read as a cancellation).
    """
    await asyncio.wait([work])
    return conclude(request, session, message, work)


def conclude(
    request: web.Request, session: Session, message: Request, work: Work
) -> Settled | None:
    """What became of an exchange that has ended; None if its own client cancelled it."""
    if work.cancelled():
        return None
    if (bug := work.exception()) is not None:  # reported by the owner of the task
        return Settled(to_failure(bug, local=False))
    ended = work.result()
    if isinstance(ended, GatewayError):
        return failed(request, session.server, message, ended)
    return Settled(ended)


def failed(
    request: web.Request, server: RunningServer, message: Request, exc: GatewayError
) -> Settled:
    """The answer to a legacy request that failed: see `wire_errors` for the status."""
    report(server, message, exc)
    status = to_wire(exc).status if isinstance(exc, DuplicateId | UnknownSession) else 200
    return Settled(to_failure(exc, local=is_local(request)), status, exc.retry_after)


def report(server: RunningServer, message: Request, exc: GatewayError) -> None:
    """Log why a request was not answered by its server; the one place that does."""
    log.info(
        "exchange.failed",
        server=server.name,
        method=message.method,
        error=type(exc).__name__,
        reason=str(exc),
        **({"stderr": exc.stderr} if exc.stderr else {}),
    )
