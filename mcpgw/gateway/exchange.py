"""One client request, from admission to settlement."""

from dataclasses import dataclass
from typing import Protocol

from msgspec import Raw

from mcpgw.lifecycle.base import Owner
from mcpgw.protocol.client import ClientFacts
from mcpgw.protocol.messages import Request
from mcpgw.units import Seconds


class ReplyChannel(Protocol):
    """Where one exchange's messages go beside its answer; one implementation per way in."""

    def served_by(self, instance: str, queued: Seconds) -> None:
        """Learn which instance serves the exchange, before anything else is sent."""

    def progress(self, params: Raw) -> None:
        """Send a progress notification. Never blocks or raises: the client may be gone."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """Everything the gateway knows about one request; passed down, never looked up."""

    request: Request
    client: ClientFacts
    owner: Owner
    reply: ReplyChannel
    affinity: str | None = None
    """What prefers to meet the same instance again: a legacy session's id."""
