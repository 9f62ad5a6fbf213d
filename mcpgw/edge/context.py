"""What every handler needs, put together once by the composition root."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from aiohttp import web

from mcpgw import aio
from mcpgw.access.gate import Gate
from mcpgw.access.principal import Principal
from mcpgw.config.schema import Config
from mcpgw.edge.origin import OriginPolicy
from mcpgw.edge.resuming import Replays
from mcpgw.edge.stream import Outbox
from mcpgw.gateway.fleet import Fleet
from mcpgw.gateway.sessions import Sessions
from mcpgw.observe.logs import emitter
from mcpgw.units import Seconds


@dataclass(frozen=True, slots=True)
class Context:
    """The gateway, as the edge sees it."""

    config: Config
    fleet: Fleet
    sessions: Sessions
    tasks: aio.Tasks
    """Owns the writers of event streams."""
    policy: OriginPolicy
    gate: Gate
    """Who is known."""
    quiet: "QuietReplies"
    """Answers that have nothing to show yet."""
    replays: Replays
    """Event streams that can be resumed."""
    streams: set[Outbox] = field(default_factory=set)
    """Open streams that wait for what may never come; closed when the gateway drains."""
    listens: set[asyncio.Event] = field(default_factory=set)
    """What ends each `subscriptions/listen`; set when the gateway drains."""
    log_answer: Callable[..., None] = field(
        default_factory=lambda: emitter("http.answered", "info")
    )
    """Writes the access log."""
    sse: dict[str, Outbox] = field(default_factory=dict)
    """The one stream of each HTTP+SSE session, by session id."""


class Quiet(Protocol):
    """An answer under way that shows nothing yet."""

    def keep_alive(self) -> None:
        """Show something, so that no proxy gives up on it."""


class QuietReplies:
    """Wakes each answer that stays quiet for `patience`; one timer serves them all.

    They come in the order in which their time is up, so the oldest is the next.
    """

    def __init__(self, patience: Seconds) -> None:
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._since: dict[Quiet, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, reply: Quiet) -> None:
        """Watch over an answer from now on."""
        self._since[reply] = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_later(self._patience, self._wake)

    def discard(self, reply: Quiet) -> None:
        """Leave it alone, if it was watched."""
        self._since.pop(reply, None)

    def _wake(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._since:
            reply, since = next(iter(self._since.items()))
            if now < since + self._patience:
                self._timer = self._loop.call_at(since + self._patience, self._wake)
                return
            del self._since[reply]
            reply.keep_alive()


CONTEXT: Final = web.AppKey("context", Context)


@dataclass(slots=True)
class Served:
    """What came to be known about a request."""

    server: str | None = None
    method: str | None = None
    instance: str | None = None
    queued: float = 0.0


PRINCIPAL: Final = web.RequestKey("principal", Principal)
"""Who a request is from."""

REQUEST_ID: Final = web.RequestKey("request_id", str)
SERVED: Final = web.RequestKey("served", Served)
"""Keys of what a request gathers on its way, for headers and the access log."""


def is_local(request: web.Request) -> bool:
    """Whether the reader is on this machine, with no proxy between that would say otherwise."""
    headers = request.headers
    if any(name in headers for name in _FORWARDED):
        return False
    return request.remote in ("127.0.0.1", "::1")


_FORWARDED: Final = ("X-Forwarded-For", "Forwarded", "Via", "Cf-Connecting-Ip", "X-Real-Ip")
