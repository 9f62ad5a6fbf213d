"""What a pool should do next. Pure: from slots, settings and the time to decisions.

Both lifecycles are settings of one engine (see `mcpgw.lifecycle.modes`):

- a *daemon* shares instances: it fills the fullest one first, starts another only when
  all are full, and keeps `keep` of them running;
- a *launcher* is `isolated`: an instance serves one lease and no other, so it is spent
  as soon as it is leased, and `keep` counts the never-used ones.

What keeps failing is started more and more rarely (see `mcpgw.lifecycle.health`), and
until an instance has proven itself again, one start at a time is tried.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Final, Generic

from mcpgw.config.schema import Backoff
from mcpgw.lifecycle.base import M
from mcpgw.lifecycle.health import STABLE_AFTER, Health
from mcpgw.lifecycle.states import PoolState, Slot, SlotState
from mcpgw.units import Seconds

REFILL_AFTER: Final = Seconds(0.05)
"""How long a spent instance's replacement waits, unless its lease ends before: a server that
starts would compete with the one that answers, and make a warm call four times as long."""


MAX_GUESTS: Final = 256
"""How many leases that take up no room one instance may have."""


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """The settings of one pool."""

    max: int
    """Instances at once, those that are still stopping included."""
    keep: int
    """Instances to have ready even if nobody asks, those that can still be leased."""
    max_in_flight: int
    """Leases one instance may have at once."""
    max_leases: int | None
    """Leases one instance may have in all; None for any number."""
    max_age: Seconds | None
    """How long an instance may be ready before it is replaced; None for ever."""
    idle_timeout: Seconds
    """How long an instance beyond `keep` may be idle before it is stopped."""
    queue_size: int
    queue_timeout: Seconds
    backoff: Backoff
    isolated: bool
    """Whether a failed start concerns one waiting request, rather than all of them.
    Then backoff holds back only the starts that `keep` asks for."""
    stable_after: Seconds = STABLE_AFTER
    refill_after: Seconds = REFILL_AFTER


@dataclass(frozen=True, slots=True)
class Plan(Generic[M]):
    """What to do now, and when to ask again if nothing happens before."""

    start: int = 0
    """How many instances to start."""
    drain: tuple[Slot[M], ...] = ()
    """Slots that get no further lease."""
    stop: tuple[Slot[M], ...] = ()
    """Slots nobody uses and nobody should."""
    refuse_until: float = -inf
    """Requests whose deadline is not after this instant are refused now: nothing will
    serve them in time."""
    wake_at: float = inf
    short: bool = False
    """Whether something waits for an instance that there is no place for."""


def choose(slots: Sequence[Slot[M]], limits: PoolLimits) -> Slot[M] | None:
    """Return the slot to lease next: the fullest with room, so that the others can go idle."""
    best = None
    for slot in slots:
        if has_room(slot, limits) and (best is None or slot.in_flight > best.in_flight):
            best = slot
    return best


def has_room(slot: Slot[M], limits: PoolLimits) -> bool:
    """Whether the slot may be leased once more."""
    return slot.in_flight - slot.guests < limits.max_in_flight and _is_open(slot, limits)


def choose_host(slots: Sequence[Slot[M]], limits: PoolLimits) -> Slot[M] | None:
    """Return the slot for one more guest: the fullest, whether or not it has room."""
    hosts = [slot for slot in slots if _is_open(slot, limits) and slot.guests < MAX_GUESTS]
    return max(hosts, key=lambda slot: slot.in_flight, default=None)


def _is_open(slot: Slot[M], limits: PoolLimits) -> bool:
    return (
        slot.state is SlotState.READY
        and (limits.max_leases is None or slot.served < limits.max_leases)
        and not (slot.member is not None and slot.member.unfit)
    )


def room_of(limits: PoolLimits) -> int:
    """How many waiting requests one fresh instance serves at once."""
    return min(limits.max_in_flight, limits.max_leases or limits.max_in_flight)


def plan(  # noqa: PLR0913 (what a plan follows from)
    slots: Sequence[Slot[M]],
    waiting: int,
    limits: PoolLimits,
    health: Health,
    now: float,
    *,
    elsewhere: int = 0,
    shutting_down: bool = False,
) -> Plan[M]:
    """Decide what follows from the state of the pool after all that can be granted was.

    `waiting` counts the requests no ready instance has room for; `elsewhere` the instances
    outside this pool that the same limit counts.
    """
    over = [slot for slot in slots if _is_over(slot, limits, now, shutting_down)]
    ready = [slot for slot in slots if slot.state is SlotState.READY and slot not in over]
    surplus = _surplus(ready, limits)
    idle = [slot for slot in surplus if now >= slot.idle_since + limits.idle_timeout]
    stop = [slot for slot in over if not slot.in_flight] + idle
    if shutting_down:
        return Plan(drain=_to_drain(over), stop=tuple(stop))
    starting = sum(slot.state is SlotState.STARTING for slot in slots)
    needed, spare = _wanted(waiting, starting, len(ready) - len(idle), limits)
    start = _allowed(needed, spare, starting, limits, health, now)
    wanted, room = start, limits.max - len(slots) - elsewhere
    start = max(0, min(wanted, room))
    hopeless = not (starting or start or ready)
    return Plan(
        start=start,
        drain=_to_drain(over),
        stop=tuple(stop),
        refuse_until=_refuse_until(limits, health, now) if hopeless else -inf,
        wake_at=min(
            _next_end(ready, surplus, limits, now),
            _next_start(needed + spare - start, limits, health, now),
            _next_proof(ready, limits, health, now),
        ),
        short=bool(waiting) and start < wanted,
    )


def _is_over(slot: Slot[M], limits: PoolLimits, now: float, shutting_down: bool) -> bool:
    match slot.state:
        case SlotState.DRAINING:
            return True
        case SlotState.STARTING:
            return shutting_down
        case SlotState.READY:
            return shutting_down or _is_spent(slot, limits, now)
        case _:
            return False


def _is_spent(slot: Slot[M], limits: PoolLimits, now: float) -> bool:
    if limits.max_leases is not None and slot.served >= limits.max_leases:
        return True
    if slot.member is not None and slot.member.unfit:
        return True
    return limits.max_age is not None and now >= slot.ready_at + limits.max_age


def _to_drain(over: Sequence[Slot[M]]) -> tuple[Slot[M], ...]:
    return tuple(slot for slot in over if slot.in_flight and slot.state is SlotState.READY)


def _surplus(ready: Sequence[Slot[M]], limits: PoolLimits) -> list[Slot[M]]:
    """Return the idle slots beyond `keep`, idle longest first."""
    beyond = max(0, len(ready) - limits.keep)
    idle = [slot for slot in ready if not slot.in_flight]
    return sorted(idle, key=lambda slot: slot.idle_since)[:beyond]


def _wanted(waiting: int, starting: int, ready: int, limits: PoolLimits) -> tuple[int, int]:
    """Return how many starts the waiting requests need, and how many `keep` asks for beside."""
    room = room_of(limits)
    needed = -(-max(0, waiting - starting * room) // room)
    used_up = waiting if limits.isolated else 0
    return needed, max(0, limits.keep + used_up - starting - ready - needed)


def _allowed(
    needed: int, spare: int, starting: int, limits: PoolLimits, health: Health, now: float
) -> int:
    free, gated = (needed, spare) if limits.isolated else (0, needed + spare)
    if health.failures:
        gated = 0 if health.holds_back(now) else min(gated, max(0, 1 - starting))
    return free + gated


def _refuse_until(limits: PoolLimits, health: Health, now: float) -> float:
    if limits.isolated or health.retry_at is None or not health.holds_back(now):
        return -inf
    failed = health.state(limits.backoff) is PoolState.FAILED
    return inf if failed else health.retry_at


def _next_end(
    ready: Sequence[Slot[M]], surplus: Sequence[Slot[M]], limits: PoolLimits, now: float
) -> float:
    idle_ends = (slot.idle_since + limits.idle_timeout for slot in surplus)
    age_ends = (slot.ready_at + limits.max_age for slot in ready if limits.max_age is not None)
    return min((end for end in (*idle_ends, *age_ends) if end > now), default=inf)


def _next_start(unmet: int, limits: PoolLimits, health: Health, now: float) -> float:
    if unmet <= 0 or health.retry_at is None or not health.holds_back(now):
        return inf
    return health.retry_at


def _next_proof(ready: Sequence[Slot[M]], limits: PoolLimits, health: Health, now: float) -> float:
    if not health.failures:
        return inf
    proofs = (slot.ready_at + limits.stable_after for slot in ready)
    return min((proof for proof in proofs if proof > now), default=inf)


def is_proven(slot: Slot[M], limits: PoolLimits, now: float) -> bool:
    """Whether the instance worked well enough to forget the failures before it."""
    return slot.proven or now >= slot.ready_at + limits.stable_after
