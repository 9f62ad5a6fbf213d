"""The states of a pool and of its slots, and every move between them.

A slot is a place for one instance, from the decision to start it until nothing of
it is left. A pool has no state of its own beside its slots and its `Health`: the
`PoolState` says what the last attempts to start came to.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import Final, Generic

from mcpgw.lifecycle.base import M
from mcpgw.units import Seconds


class SlotState(StrEnum):
    """What the instance in a slot can be used for."""

    STARTING = "starting"
    """It is being started and is not ready yet."""

    READY = "ready"
    """It may be leased."""

    DRAINING = "draining"
    """It gets no further lease, and stops when those it has end."""

    STOPPING = "stopping"
    """It is being stopped, or died and is being cleaned up. Its place is still taken."""

    EXITED = "exited"
    """Nothing of it is left; its place is free."""


SLOT_MOVES: Final[Mapping[SlotState, frozenset[SlotState]]] = {
    SlotState.STARTING: frozenset({SlotState.READY, SlotState.STOPPING, SlotState.EXITED}),
    SlotState.READY: frozenset({SlotState.DRAINING, SlotState.STOPPING}),
    SlotState.DRAINING: frozenset({SlotState.READY, SlotState.STOPPING}),
    SlotState.STOPPING: frozenset({SlotState.EXITED}),
    SlotState.EXITED: frozenset(),
}
"""Every move a slot can make. DRAINING goes back to READY only when the lease that used
up the instance was given back before its holder ever saw it."""


class PoolState(StrEnum):
    """What the last attempts to start an instance came to."""

    RUNNING = "running"
    """Nothing is wrong: the last start succeeded, or none was needed yet."""

    BACKOFF = "backoff"
    """The last start failed; the next one waits its time."""

    FAILED = "failed"
    """So many starts failed in a row that requests are refused, but for a trial now and then."""


@dataclass(slots=True, eq=False)
class Slot(Generic[M]):
    """One place in a pool. Instants are those of the event loop's clock."""

    number: int
    started_at: float
    state: SlotState = SlotState.STARTING
    member: M | None = None
    in_flight: int = 0
    """Leases held now."""
    served: int = 0
    """Leases granted in all."""
    guests: int = 0
    """How many of the leases held now take up no room."""
    ready_at: float = inf
    idle_since: float = inf
    proven: bool = False
    """Whether it completed a lease and lived."""

    def move(self, state: SlotState) -> None:
        """Change state.

        Raises:
            ValueError: A slot cannot make that move.
        """
        if state not in SLOT_MOVES[self.state]:
            raise ValueError(f"slot {self.number} cannot go from {self.state} to {state}")
        self.state = state

    @property
    def label(self) -> str:
        """The instance's label, or the slot's number while there is no instance."""
        return self.member.label if self.member is not None else f"slot {self.number}"


@dataclass(frozen=True, slots=True)
class SlotView:
    """One slot, as of now, for whoever looks at the gateway."""

    label: str
    state: SlotState
    in_flight: int
    served: int
    age: Seconds


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A pool, as of now, for whoever looks at the gateway."""

    name: str
    state: PoolState
    shutting_down: bool
    slots: tuple[SlotView, ...]
    waiting: int
    """Requests in the queue."""
    failures: int
    """Failed starts and early crashes in a row."""
    last_error: str
    """Why the last of them failed; empty when there are none."""
    retry_in: Seconds
    """How long until a failed start is tried again."""

    @property
    def in_flight(self) -> int:
        """Leases held now."""
        return sum(slot.in_flight for slot in self.slots)

    def count(self, state: SlotState) -> int:
        """How many slots are in `state`."""
        return sum(slot.state is state for slot in self.slots)

    def __str__(self) -> str:
        counts = ((self.count(state), state) for state in SlotState)
        slots = ", ".join(f"{n} {state}" for n, state in counts if n) or "no instances"
        text = f"{self.name} {self.state}: {slots}"
        text += f"; {self.in_flight} in flight, {self.waiting} waiting"
        if self.failures:
            text += f"; {self.failures} failures, last: {self.last_error}"
        return text + ("; shutting down" if self.shutting_down else "")
