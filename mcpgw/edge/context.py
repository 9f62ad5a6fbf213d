"""What every handler needs, put together once by the composition root."""

from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from mcpgw import aio
from mcpgw.config.schema import Config
from mcpgw.edge.origin import OriginPolicy
from mcpgw.edge.stream import Outbox
from mcpgw.gateway.fleet import Fleet
from mcpgw.gateway.sessions import Sessions


@dataclass(frozen=True, slots=True)
class Context:
    """The gateway, as the edge sees it."""

    config: Config
    fleet: Fleet
    sessions: Sessions
    tasks: aio.Tasks
    """Owns the writers of event streams."""
    policy: OriginPolicy
    streams: set[Outbox] = field(default_factory=set)
    """Open streams that wait for what may never come; closed when the gateway drains."""
    sse: dict[str, Outbox] = field(default_factory=dict)
    """The one stream of each HTTP+SSE session, by session id."""


CONTEXT: Final = web.AppKey("context", Context)

REQUEST_ID: Final = "mcpgw.request_id"
SERVED: Final = "mcpgw.served"
"""Keys of what a request gathers on its way, for headers and the access log."""


@dataclass(slots=True)
class Served:
    """What came to be known about a request."""

    server: str | None = None
    method: str | None = None
    instance: str | None = None
    queued: float = 0.0


def is_local(request: web.Request) -> bool:
    """Whether the reader is on this machine, with no proxy between that would say otherwise."""
    headers = request.headers
    if any(name in headers for name in _FORWARDED):
        return False
    return request.remote in ("127.0.0.1", "::1")


_FORWARDED: Final = ("X-Forwarded-For", "Forwarded", "Via", "Cf-Connecting-Ip", "X-Real-Ip")
