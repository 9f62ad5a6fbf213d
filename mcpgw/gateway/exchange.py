"""One client request, from admission to settlement."""

from typing import Protocol

from msgspec import Raw, Struct

from mcpgw.lifecycle.base import Owner
from mcpgw.protocol.client import ClientFacts
from mcpgw.protocol.messages import Request
from mcpgw.protocol.meta import Opened
from mcpgw.units import Seconds


class ReplyChannel(Protocol):
    """Where one exchange's messages go beside its answer; one implementation per way in."""

    def served_by(self, instance: str, queued: Seconds) -> None:
        """Learn which instance serves the exchange, before anything else is sent."""

    def progress(self, params: Raw) -> None:
        """Send a progress notification. Never blocks or raises: the client may be gone."""


class Exchange(Struct, frozen=True):
    """Everything the gateway knows about one request; passed down, never looked up."""

    request: Request
    client: ClientFacts
    owner: Owner
    reply: ReplyChannel
    opened: Opened | None = None
    """The request's parameters, if somebody opened them already."""
    affinity: str | None = None
    """What prefers to meet the same instance again: a legacy session's id."""
