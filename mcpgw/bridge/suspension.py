"""A call of a legacy server that has questions, as a modern client sees it: in turns. Pure.

The server works on one call from beginning to end, and asks in between. The client sees
requests of its own: each is answered with questions, and the last with the outcome.

    RUNNING ──questions──▶ SUSPENDED ──answers──▶ RUNNING ── … ──outcome──▶ OVER

While the call is RUNNING one request of the client waits for it; while it is SUSPENDED
none does. Whatever is asked or decided meanwhile is kept for the next request.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from msgspec import Raw

from mcpgw.bridge.sealing import BadState
from mcpgw.errors import GatewayError
from mcpgw.protocol.messages import Outcome, Request, id_key
from mcpgw.protocol.questions import is_answer


class Phase(Enum):
    """Whose turn it is."""

    RUNNING = auto()
    SUSPENDED = auto()
    OVER = auto()


class BadAnswer(ValueError):
    """An input response has not the shape of one. Nothing is lost: the state stays valid."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Answer the waiting request with these questions."""

    turn: int
    questions: Mapping[str, Request]


@dataclass(frozen=True, slots=True)
class End:
    """Answer the waiting request with this; the call is over."""

    outcome: Outcome | GatewayError


@dataclass(slots=True)
class Suspension:
    """What is known of one call."""

    phase: Phase = Phase.RUNNING
    turn: int = 0
    open: dict[str, Request] = field(default_factory=dict)
    """Questions without an answer, by the keys they are given to the client under."""
    outcome: Outcome | GatewayError | None = None
    """How the call ended, if it did."""
    _asked: int = 0

    def asked(self, request: Request) -> None:
        """The server asks."""
        self._asked += 1
        self.open[f"q{self._asked}"] = request

    def withdrawn(self, id: bytes) -> None:
        """The server needs no answer any more."""
        for key, request in list(self.open.items()):
            if id_key(request.id) == id:
                del self.open[key]

    def ended(self, outcome: Outcome | GatewayError) -> None:
        """The server answered, or never will."""
        if self.outcome is None:
            self.outcome = outcome

    def next(self) -> Ask | End | None:
        """What the waiting request is answered with now; None while there is nothing to say.

        What it gives is told once: the turn is over with it.
        """
        if self.phase is not Phase.RUNNING:
            return None
        if self.outcome is not None:
            self.phase = Phase.OVER
            return End(self.outcome)
        if not self.open:
            return None
        self.phase = Phase.SUSPENDED
        self.turn += 1
        return Ask(self.turn, dict(self.open))

    def resume(self, turn: int, answers: Mapping[str, Raw]) -> list[tuple[Request, Raw]]:
        """A request comes back with answers; give those to pass on to the server.

        Questions without an answer stay open and are asked again (SHOULD); answers to
        nothing are ignored.

        Raises:
            BadState: It is not its turn: the state was used before, or the call is over.
            BadAnswer: An answer has the wrong shape; the same state may be used again.
        """
        if self.phase is not Phase.SUSPENDED or turn != self.turn:
            raise BadState("requestState was used before; make the request anew")
        known = {key: raw for key, raw in answers.items() if key in self.open}
        for key, raw in known.items():
            if not is_answer(self.open[key].method, raw):
                raise BadAnswer(f"inputResponses.{key} is no answer to {self.open[key].method}")
        self.phase = Phase.RUNNING
        return [(self.open.pop(key), raw) for key, raw in known.items()]

    def close(self) -> list[Request]:
        """The call is given up; give the questions that nobody will answer."""
        self.phase = Phase.OVER
        left = list(self.open.values())
        self.open.clear()
        return left
