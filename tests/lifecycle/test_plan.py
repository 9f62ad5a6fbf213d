import asyncio
from dataclasses import replace
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpgw.config.schema import Backoff, Daemon, Launcher, Mode, Queue, ServerSpec
from mcpgw.errors import StartFailed
from mcpgw.lifecycle.affinity import Affinities
from mcpgw.lifecycle.health import HEALTHY, JITTER, Health, after_failure, after_ready, wait_after
from mcpgw.lifecycle.modes import SPARE_IDLE, limits_for
from mcpgw.lifecycle.plan import Plan, PoolLimits, choose, plan
from mcpgw.lifecycle.states import SLOT_MOVES, PoolState, Slot, SlotState
from mcpgw.runtimes.base import Exit
from mcpgw.units import Seconds

STARTING, READY = SlotState.STARTING, SlotState.READY
DRAINING, STOPPING = SlotState.DRAINING, SlotState.STOPPING

DAEMON = PoolLimits(
    max=4,
    keep=0,
    max_in_flight=2,
    max_leases=None,
    max_age=None,
    idle_timeout=Seconds(10),
    queue_size=8,
    queue_timeout=Seconds(5),
    backoff=Backoff(initial=Seconds(1), max=Seconds(60), failures=5),
    isolated=False,
)
LAUNCHER = replace(DAEMON, max_in_flight=1, max_leases=1, isolated=True)
NOW = 1000.0


class PlainMember:
    label = "plain#1"
    exit: Exit | None = None
    unfit = False

    def __init__(self) -> None:
        self.lost = asyncio.Event()


PlainSlot = Slot[PlainMember]


def slot(state: SlotState = READY, in_flight: int = 0, **more: Any) -> PlainSlot:
    facts = {"ready_at": NOW - 1, "idle_since": NOW - 1, "served": in_flight} | more
    return PlainSlot(1, started_at=NOW - 2, state=state, in_flight=in_flight, **facts)


def decide(
    slots: list[PlainSlot],
    waiting: int = 0,
    limits: PoolLimits = DAEMON,
    health: Health = HEALTHY,
    *,
    shutting_down: bool = False,
) -> Plan[PlainMember]:
    return plan(slots, waiting, limits, health, NOW, shutting_down=shutting_down)


def unwell(failures: int, retry_in: float | None) -> Health:
    retry_at = None if retry_in is None else NOW + retry_in
    return Health(failures, NOW - 0.5, retry_at, "it broke", ("boom",))


# --- choosing ---


def test_the_fullest_instance_with_room_is_leased_first() -> None:
    idle, busy, full = slot(), slot(in_flight=1), slot(in_flight=2)
    assert choose([idle, busy, full], DAEMON) is busy


def test_of_equals_the_oldest_is_leased() -> None:
    first, second = slot(), slot()
    assert choose([first, second], DAEMON) is first


@pytest.mark.parametrize("state", [STARTING, DRAINING, STOPPING])
def test_only_ready_instances_are_leased(state: SlotState) -> None:
    assert choose([slot(state)], DAEMON) is None


def test_an_instance_that_served_its_last_lease_is_not_leased_again() -> None:
    assert choose([slot(served=1)], LAUNCHER) is None


# --- starting ---

STARTS = [
    # slots, waiting, limits, health -> starts
    ("nobody asks", [], 0, DAEMON, HEALTHY, 0),
    ("a first request", [], 1, DAEMON, HEALTHY, 1),
    ("one instance has room for both", [], 2, DAEMON, HEALTHY, 1),
    ("a third needs another", [], 3, DAEMON, HEALTHY, 2),
    ("one that is starting has room", [slot(STARTING)], 2, DAEMON, HEALTHY, 0),
    ("more than it has room for", [slot(STARTING)], 3, DAEMON, HEALTHY, 1),
    ("never more than max", [], 50, DAEMON, HEALTHY, 4),
    ("a stopping one takes a place", [slot(STOPPING)] * 3, 50, DAEMON, HEALTHY, 1),
    ("a draining one takes a place", [slot(DRAINING, 1)] * 4, 1, DAEMON, HEALTHY, 0),
    ("keep is started unasked", [], 0, replace(DAEMON, keep=2), HEALTHY, 2),
    ("busy ones count for keep", [slot(in_flight=1)], 0, replace(DAEMON, keep=1), HEALTHY, 0),
    ("draining ones do not", [slot(DRAINING, 1)], 0, replace(DAEMON, keep=1), HEALTHY, 1),
    ("what waiters start counts for keep", [], 1, replace(DAEMON, keep=1), HEALTHY, 1),
    ("few leases an instance", [], 3, replace(DAEMON, max_leases=1), HEALTHY, 3),
    ("too early", [], 1, DAEMON, unwell(1, 1), 0),
    ("one at a time after a failure", [], 8, DAEMON, unwell(1, 0), 1),
    ("one trial at a time", [slot(STARTING)], 8, DAEMON, unwell(5, 0), 0),
    ("one at a time until proven", [slot(in_flight=2)], 8, DAEMON, unwell(1, None), 1),
    ("launcher: one each", [], 3, LAUNCHER, HEALTHY, 3),
    ("launcher: one is coming", [slot(STARTING)], 3, LAUNCHER, HEALTHY, 2),
    ("launcher: spares beside", [], 1, replace(LAUNCHER, keep=2), HEALTHY, 3),
    ("launcher: a used one is none", [slot(DRAINING, 1)], 0, replace(LAUNCHER, keep=1), HEALTHY, 1),
    ("launcher: requests never back off", [], 2, LAUNCHER, unwell(9, 50), 2),
    ("launcher: spares do", [], 2, replace(LAUNCHER, keep=2), unwell(9, 50), 2),
    ("launcher: spares retry singly", [], 0, replace(LAUNCHER, keep=2), unwell(9, 0), 1),
]


@pytest.mark.parametrize(
    ("slots", "waiting", "limits", "health", "starts"),
    [row[1:] for row in STARTS],
    ids=[row[0] for row in STARTS],
)
def test_as_many_are_started_as_needed(
    slots: list[PlainSlot], waiting: int, limits: PoolLimits, health: Health, starts: int
) -> None:
    assert decide(slots, waiting, limits, health).start == starts


# --- stopping ---


def test_an_idle_instance_is_stopped_after_its_time() -> None:
    idle, fresh = slot(idle_since=NOW - 10), slot(idle_since=NOW - 9)
    todo = decide([idle, fresh])
    assert todo.stop == (idle,)
    assert todo.wake_at == NOW + 1


def test_those_that_are_kept_are_never_idle_for_too_long() -> None:
    todo = decide([slot(idle_since=0)], limits=replace(DAEMON, keep=1))
    assert (todo.stop, todo.wake_at) == ((), inf)


def test_the_one_idle_longest_is_stopped_first() -> None:
    longer, shorter = slot(idle_since=NOW - 30), slot(idle_since=NOW - 20)
    assert decide([shorter, longer], limits=replace(DAEMON, keep=1)).stop == (longer,)


def test_a_busy_instance_is_not_idle() -> None:
    assert decide([slot(in_flight=1, idle_since=0)]).stop == ()


def test_an_aged_instance_drains_first_and_stops_when_it_is_idle() -> None:
    limits = replace(DAEMON, max_age=Seconds(100), keep=1)
    busy, idle = slot(in_flight=1, ready_at=NOW - 100), slot(ready_at=NOW - 100)
    todo = decide([busy, idle], limits=limits)
    assert (todo.drain, todo.stop, todo.start) == ((busy,), (idle,), 1)


def test_the_pool_wakes_when_an_instance_comes_of_age() -> None:
    limits = replace(DAEMON, max_age=Seconds(100), keep=1)
    assert decide([slot(ready_at=NOW - 60)], limits=limits).wake_at == NOW + 40


def test_an_instance_that_served_enough_drains_and_then_stops() -> None:
    limits = replace(DAEMON, max_leases=7)
    busy, done = slot(in_flight=1, served=7), slot(DRAINING, served=7)
    todo = decide([busy, done], limits=limits)
    assert (todo.drain, todo.stop) == ((busy,), (done,))


def test_shutting_down_stops_what_is_unused_and_drains_the_rest() -> None:
    starting, idle, busy = slot(STARTING), slot(), slot(in_flight=1)
    todo = decide([starting, idle, busy], 3, shutting_down=True)
    assert todo == Plan(start=0, drain=(busy,), stop=(starting, idle))


# --- refusing ---

REFUSALS = [
    # slots, limits, health -> requests whose deadline is up to then are refused
    ("nothing is wrong", [], DAEMON, HEALTHY, -inf),
    ("those who could not wait for the next try", [], DAEMON, unwell(1, 3), NOW + 3),
    ("everybody, when it keeps failing", [], DAEMON, unwell(5, 3), inf),
    ("nobody, when it is time for a trial", [], DAEMON, unwell(5, 0), -inf),
    ("nobody, while something is starting", [slot(STARTING)], DAEMON, unwell(5, 3), -inf),
    ("nobody, while something runs", [slot(in_flight=2)], DAEMON, unwell(5, 3), -inf),
    ("everybody, if what runs will take no more", [slot(STOPPING)], DAEMON, unwell(5, 3), inf),
    ("nobody of a launcher's", [], LAUNCHER, unwell(5, 3), -inf),
]


@pytest.mark.parametrize(
    ("slots", "limits", "health", "until"),
    [row[1:] for row in REFUSALS],
    ids=[row[0] for row in REFUSALS],
)
def test_those_are_refused_whom_nothing_will_serve(
    slots: list[PlainSlot], limits: PoolLimits, health: Health, until: float
) -> None:
    assert decide(slots, 1, limits, health).refuse_until == until


def test_the_pool_wakes_for_the_next_try_only_if_somebody_wants_it() -> None:
    assert decide([], 1, health=unwell(1, 3)).wake_at == NOW + 3
    assert decide([], 0, health=unwell(1, 3)).wake_at == inf
    assert decide([], 0, replace(DAEMON, keep=1), unwell(1, 3)).wake_at == NOW + 3


def test_the_pool_wakes_when_an_instance_will_have_proven_itself() -> None:
    kept = replace(DAEMON, keep=1)
    assert decide([slot(ready_at=NOW - 1)], 0, kept, unwell(1, None)).wake_at == NOW + 29


# --- failures ---


def test_waits_double_up_to_the_longest_and_are_longest_once_failed() -> None:
    backoff = Backoff(initial=Seconds(1), max=Seconds(6), failures=5)
    waits = [wait_after(n, backoff) for n in range(1, 7)]
    assert waits == [Seconds(n) for n in (1, 2, 4, 6, 6, 6)]
    assert wait_after(3, Backoff(initial=Seconds(1), failures=3)) == Seconds(60)
    assert wait_after(10**6, Backoff(failures=10**7)) == Seconds(60)


def test_jitter_shortens_a_wait_by_a_quarter_at_most() -> None:
    waits = [
        after_failure(HEALTHY, StartFailed("no"), NOW, DAEMON.backoff, jitter).retry_after(NOW)
        for jitter in (0.0, 1.0)
    ]
    assert waits == [1, 1 - JITTER]


def test_becoming_ready_ends_the_waiting_but_not_the_count() -> None:
    health = unwell(5, 60)
    assert health.state(DAEMON.backoff) is PoolState.FAILED
    assert after_ready(health).state(DAEMON.backoff) is PoolState.RUNNING
    again = after_failure(after_ready(health), StartFailed("no"), NOW, DAEMON.backoff, 0)
    assert (again.failures, again.state(DAEMON.backoff)) == (6, PoolState.FAILED)


def test_starts_that_began_before_a_failure_was_known_are_no_news() -> None:
    health = unwell(1, 1)  # failed half a second ago
    assert not health.is_news(NOW - 1)
    assert health.is_news(NOW)


# --- properties ---

slots_strategy = st.lists(
    st.builds(
        slot,
        st.sampled_from([STARTING, READY, DRAINING, STOPPING]),
        st.integers(0, 2),
        served=st.integers(0, 3),
        ready_at=st.integers(900, 1000).map(float),
        idle_since=st.integers(900, 1000).map(float),
    ),
    max_size=5,
)
limits_strategy = st.builds(
    replace,
    st.sampled_from([DAEMON, LAUNCHER]),
    max=st.integers(1, 4),
    keep=st.integers(0, 4),
    max_age=st.none() | st.just(Seconds(50)),
    max_leases=st.none() | st.integers(1, 3),
)
health_strategy = st.just(HEALTHY) | st.builds(
    unwell, st.integers(1, 7), st.none() | st.floats(-1, 60)
)


@given(slots_strategy, st.integers(0, 10), limits_strategy, health_strategy, st.booleans())
def test_a_plan_is_always_possible_and_never_asks_again_at_once(
    slots: list[PlainSlot], waiting: int, limits: PoolLimits, health: Health, shutting_down: bool
) -> None:
    todo = decide(slots, waiting, limits, health, shutting_down=shutting_down)
    assert len(slots) + todo.start <= max(limits.max, len(slots))
    assert not any(each.in_flight for each in todo.stop)
    assert len(set(todo.stop)) == len(todo.stop)
    assert not set(todo.drain) & set(todo.stop)
    assert all(STOPPING in SLOT_MOVES[each.state] for each in todo.stop)
    assert all(each.state is READY and each.in_flight for each in todo.drain)
    assert todo.wake_at > NOW


@given(st.integers(1, 10), limits_strategy, health_strategy)
def test_nobody_waits_for_nothing(waiting: int, limits: PoolLimits, health: Health) -> None:
    todo = decide([], waiting, limits, health)
    assert todo.start or todo.wake_at < inf or todo.refuse_until == inf


# --- what a configuration means ---


def test_a_daemon_is_a_shared_pool() -> None:
    spec = ServerSpec(
        mode=Mode.DAEMON,
        daemon=Daemon(min=1, max=3, max_in_flight=5, max_requests=9, max_age=Seconds(60)),
        queue=Queue(size=7, timeout=Seconds(8)),
    )
    limits = limits_for(spec)
    assert (limits.keep, limits.max, limits.max_in_flight, limits.max_leases) == (1, 3, 5, 9)
    assert (limits.max_age, limits.idle_timeout) == (Seconds(60), Seconds(300))
    assert (limits.queue_size, limits.queue_timeout) == (7, Seconds(8))
    assert not limits.isolated


def test_a_launcher_uses_every_instance_once() -> None:
    limits = limits_for(ServerSpec(mode=Mode.LAUNCHER, launcher=Launcher(warm=2, max=5)))
    assert (limits.keep, limits.max, limits.max_in_flight, limits.max_leases) == (2, 5, 1, 1)
    assert (limits.max_age, limits.idle_timeout, limits.isolated) == (None, SPARE_IDLE, True)


# --- moves and memory ---


def test_a_slot_makes_no_move_that_is_not_in_the_table() -> None:
    with pytest.raises(ValueError, match="cannot go from starting to draining"):
        slot(STARTING).move(DRAINING)


def test_the_key_unused_for_longest_is_forgotten_first() -> None:
    affinities: Affinities[PlainMember] = Affinities(size=2)
    one = slot()
    for key in ("a", "b", "a", "c"):
        affinities.note(key, one)
    assert [affinities.get(key) for key in "abc"] == [one, None, one]
    affinities.forget(one)
    assert len(affinities) == 0
