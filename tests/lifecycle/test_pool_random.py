"""Random lives of pools: clients that come, wait, hold and leave; instances that fail and die.

Scripted, because what is searched for are interleavings no real process can be made to
hit; time is virtual, so that minutes pass in no time and a hang is noticed at once.
"""

import asyncio
import logging
import selectors
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpgw import aio
from mcpgw.config.schema import Backoff
from mcpgw.errors import QueueFull, QueueTimeout, ShuttingDown, StartFailed
from mcpgw.lifecycle.base import Owner
from mcpgw.lifecycle.plan import PoolLimits
from mcpgw.lifecycle.pool import Pool, open_pool
from mcpgw.lifecycle.states import SlotState
from mcpgw.runtimes.base import Exit
from mcpgw.units import Seconds

EVERYBODY_IS_GONE = 100.0
LONGEST = 4
"""How long a start may take."""
STARTS = 3 * LONGEST + 1e-6
"""Who is next waits for a start beyond the queue's deadline, and each owner may go before."""


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    """Writing the log would take longer than everything else."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


class VirtualTime(selectors.SelectSelector):
    """Lets time jump to the next timer whenever there is nothing else to do."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if not events and timeout is None:
            raise AssertionError("everybody waits, and for nothing")
        if not events and timeout is not None:
            self.now += max(0, timeout)
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._virtual = VirtualTime()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


@dataclass(frozen=True)
class Life:
    """What one instance does."""

    start: float = 0.5
    outcome: str = "ready"
    lasts: float | None = None
    stop: float = 0.0


@dataclass(frozen=True)
class Visit:
    """What one client does."""

    arrives: float
    owner: str
    holds: float
    patience: float | None
    affinity: str | None


@dataclass(frozen=True)
class Story:
    limits: PoolLimits
    lives: list[Life]
    visits: list[Visit]
    drains_at: float | None


class Member:
    def __init__(self, label: str) -> None:
        self.label = label
        self.lost = asyncio.Event()
        self.exit: Exit | None = None
        self.unfit = False
        self.in_use = 0
        self.uses = 0

    def die(self) -> None:
        self.exit = Exit("exited with code 1", 1)
        self.lost.set()


class World:
    def __init__(self, story: Story) -> None:
        self.story = story
        self.lives = iter(story.lives)
        self.count = 0
        self.alive = 0
        self.outcomes: list[str] = []
        self.wrong: list[object] = []
        """What went wrong where raising would only fail an instance, or nothing at all."""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Member]:
        life = next(self.lives, Life())
        self.count += 1
        self.alive += 1
        if self.alive > self.story.limits.max:
            self.wrong.append("there are too many instances")
        try:
            await asyncio.sleep(life.start)
            if life.outcome == "fails":
                raise StartFailed("it failed")
            if life.outcome == "bug":
                raise RuntimeError("a bug")
            member = Member(f"instance {self.count}")
            if life.lasts is not None:
                asyncio.get_running_loop().call_later(life.lasts, member.die)
            yield member
        finally:
            await aio.unhurried(self._stop(life), name="stop")

    async def _stop(self, life: Life) -> None:
        await asyncio.sleep(life.stop)
        self.alive -= 1

    async def visit(self, pool: Pool[Member], visit: Visit) -> None:
        await asyncio.sleep(visit.arrives)
        try:
            async with asyncio.timeout(visit.patience):
                await self._use(pool, visit)
        except (StartFailed, QueueFull, QueueTimeout, ShuttingDown, TimeoutError) as exc:
            self.outcomes.append(type(exc).__name__)
        else:
            self.outcomes.append("served")

    async def _use(self, pool: Pool[Member], visit: Visit) -> None:
        limits = self.story.limits
        arrived = asyncio.get_running_loop().time()
        try:
            async with pool.lease(Owner(visit.owner), affinity=visit.affinity) as lease:
                assert lease.queued <= limits.queue_timeout + STARTS
                member = lease.member
                member.in_use += 1
                member.uses += 1
                assert member.in_use <= limits.max_in_flight
                assert limits.max_leases is None or member.uses <= limits.max_leases
                try:
                    await asyncio.sleep(visit.holds)
                finally:
                    member.in_use -= 1
        except (StartFailed, QueueFull, QueueTimeout, ShuttingDown):
            waited = asyncio.get_running_loop().time() - arrived
            assert waited <= limits.queue_timeout + STARTS
            raise


async def live(story: Story) -> World:
    world = World(story)
    asyncio.get_running_loop().set_exception_handler(lambda _, what: world.wrong.append(what))
    limits = story.limits
    async with open_pool("random", limits, world.open, jitter=lambda: 0.5) as pool:
        async with asyncio.TaskGroup() as visitors:
            for visit in story.visits:
                visitors.create_task(world.visit(pool, visit))
            if story.drains_at is not None:
                await asyncio.sleep(story.drains_at)
                await pool.drain(Seconds(1))
        if story.drains_at is None:
            await asyncio.sleep(EVERYBODY_IS_GONE)
        end = pool.snapshot()
        assert (end.in_flight, end.waiting) == (0, 0)
        if story.drains_at is None and limits.max_age is None:
            assert end.count(SlotState.READY) == len(end.slots) == min(limits.keep, limits.max)
    return world


halves = st.integers(0, LONGEST * 2).map(lambda n: n / 2)
lives = st.builds(
    Life,
    start=halves,
    outcome=st.sampled_from(["ready", "ready", "ready", "fails", "bug"]),
    lasts=st.none() | halves,
    stop=halves,
)
visits = st.builds(
    Visit,
    arrives=st.integers(0, 20).map(lambda n: n / 2),
    owner=st.sampled_from("abc"),
    holds=halves,
    patience=st.none() | halves,
    affinity=st.sampled_from([None, "one", "two"]),
)
common: Mapping[str, Any] = {
    "max": st.integers(1, 3),
    "keep": st.integers(0, 3),
    "idle_timeout": st.just(Seconds(2)),
    "queue_size": st.integers(1, 8),
    "queue_timeout": st.sampled_from([Seconds(1), Seconds(4), Seconds(20)]),
    "backoff": st.builds(
        Backoff, initial=st.just(Seconds(0.5)), max=st.just(Seconds(4)), failures=st.integers(1, 3)
    ),
    "stable_after": st.just(Seconds(2)),
}
daemons = st.builds(
    PoolLimits,
    max_in_flight=st.integers(1, 3),
    max_leases=st.none() | st.integers(1, 4),
    max_age=st.none() | st.just(Seconds(3)),
    isolated=st.just(False),
    **common,
)
launchers = st.builds(
    PoolLimits,
    max_in_flight=st.just(1),
    max_leases=st.just(1),
    max_age=st.none(),
    isolated=st.just(True),
    **common,
)
stories = st.builds(
    Story,
    limits=daemons | launchers,
    lives=st.lists(lives, max_size=8),
    visits=st.lists(visits, min_size=1, max_size=16),
    drains_at=st.none() | st.none() | halves,
)


@settings(max_examples=100, deadline=None)
@given(stories)
def test_every_request_is_settled_in_time_and_no_limit_is_ever_exceeded(story: Story) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        world = runner.run(live(story))
    assert world.wrong == []
    assert len(world.outcomes) == len(story.visits)
    assert world.alive == 0


def test_a_launcher_serves_everybody_when_nothing_goes_wrong() -> None:
    """Otherwise the test above might be satisfied with refusals."""
    limits = PoolLimits(
        max=2,
        keep=1,
        max_in_flight=1,
        max_leases=1,
        max_age=None,
        idle_timeout=Seconds(2),
        queue_size=20,
        queue_timeout=Seconds(60),
        backoff=Backoff(),
        isolated=True,
    )
    visits = [Visit(n / 2, "abc"[n % 3], 1.0, None, None) for n in range(20)]
    shared = replace(limits, max_in_flight=2, max_leases=None, isolated=False)
    for story in (Story(limits, [], visits, None), Story(shared, [], visits, None)):
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            assert runner.run(live(story)).outcomes == ["served"] * 20
