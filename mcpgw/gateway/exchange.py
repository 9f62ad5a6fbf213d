"""One client request, from admission to settlement."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

from msgspec import Raw, Struct

from mcpgw.lifecycle.base import Owner
from mcpgw.protocol.client import ClientFacts
from mcpgw.protocol.messages import Notification, Outcome, Request
from mcpgw.protocol.meta import Opened
from mcpgw.units import Seconds

Ask: TypeAlias = Callable[[str, Raw], Awaitable[Outcome]]
"""Asks the client's user: takes a method and its parameters, gives what the client answers.
If it is cancelled, the client is told that the question is withdrawn."""


class ReplyChannel(Protocol):
    """Where one exchange's messages go beside its answer; one implementation per way in."""

    @property
    def streams(self) -> bool:
        """Whether it can carry anything before the answer."""

    def served_by(self, instance: str, queued: Seconds) -> None:
        """Learn which instance serves the exchange, before anything else is sent."""

    def send(self, message: bytes) -> None:
        """Send a notification or a request. Never blocks or raises: the client may be gone."""


class Exchange(Struct, frozen=True):
    """Everything the gateway knows about one request; passed down, never looked up."""

    request: Request
    client: ClientFacts
    owner: Owner
    reply: ReplyChannel
    opened: Opened | None = None
    """The request's parameters, if somebody opened them already."""
    log_level: str | None = None
    """The least severe log messages its client wants; None if it wants none."""
    affinity: str | None = None
    """What prefers to meet the same instance again: a legacy session's id."""
    ask: Ask | None = None
    """How to ask a legacy client's user; a modern client is answered with its questions."""
    tell: Callable[[Notification], None] | None = None
    """How to tell a legacy client what belongs to no request."""
