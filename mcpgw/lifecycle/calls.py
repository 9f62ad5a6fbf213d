"""One request on a pipe: how long it may take, and who hears what comes of it before its answer."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import inf
from typing import Final, TypeAlias

from msgspec import Raw

from mcpgw.protocol.connection import WireId
from mcpgw.protocol.messages import Notification, Outcome, Request
from mcpgw.units import Seconds

OnParams: TypeAlias = Callable[[Raw], None]
OnNotification: TypeAlias = Callable[[Notification], None]

MOST_QUESTIONS: Final = 32
"""How many questions of one call may be open at once; one more is refused."""

FOREVER: Final = Seconds(inf)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for one answer."""

    quiet: Seconds
    """Without an answer or progress, while no question of the server's is open."""
    total: Seconds
    """In all."""


@dataclass(frozen=True, slots=True)
class Ear:
    """Who hears what a server says of one request; what is None is not asked for."""

    progress: OnParams | None = None
    log: OnParams | None = None
    question: Callable[[Request], None] | None = None
    withdrawn: Callable[[bytes], None] | None = None
    """Hears that a question needs no answer any more, by its id."""
    published: OnNotification | None = None
    """Hears what a subscription is for."""


DEAF: Final = Ear()


@dataclass(slots=True)
class Call:
    """A request under way."""

    wire_id: WireId
    answer: asyncio.Future[Outcome]
    method: str
    patience: Patience
    ear: Ear
    started: float
    heard: float
    sent: bool = False
    questions: set[bytes] = field(default_factory=set)
    """The ids of the server's questions that nobody has answered yet."""

    @property
    def due(self) -> float:
        """When patience ends, if nothing more is heard (loop clock)."""
        quiet = inf if self.questions else self.heard + self.patience.quiet
        return min(quiet, self.started + self.patience.total)


def only(calls: Iterable[Call]) -> Call | None:
    """The one call that it can be; None if there are more, since nothing is guessed."""
    found = None
    for call in calls:
        if found is not None:
            return None
        found = call
    return found
