"""Carries out what `mcpgw.lifecycle.plan` decides: owns the instances, the queue and the timer.

Every slot is one task running ``async with opener() as member``; a pool has one timer
and no other task. Whatever happens changes the books and then calls `_settle`, which
serves the queue, asks for a plan and carries it out, all without waiting. So between two
steps of the event loop the books are consistent: no call can meet an instance half stopped.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass, replace
from itertools import islice
from math import inf
from typing import Generic

import structlog

from mcpgw.aio import Tasks
from mcpgw.errors import GatewayError, StartFailed
from mcpgw.lifecycle import refusals
from mcpgw.lifecycle.affinity import Affinities
from mcpgw.lifecycle.base import M, Opener, Owner
from mcpgw.lifecycle.kin import ALONE, Kin
from mcpgw.lifecycle.leasing import Leasing
from mcpgw.lifecycle.plan import (
    PoolLimits,
    choose,
    choose_host,
    has_room,
    is_proven,
    plan,
    room_of,
)
from mcpgw.lifecycle.queue import FairQueue
from mcpgw.lifecycle.record import Record
from mcpgw.lifecycle.slots import Slots
from mcpgw.lifecycle.states import Slot, SlotState, SlotView, Snapshot
from mcpgw.units import Seconds

log = structlog.get_logger(__name__)


@asynccontextmanager
async def open_pool(
    name: str,
    limits: PoolLimits,
    opener: Opener[M],
    *,
    jitter: Callable[[], float] = random.random,
) -> AsyncIterator["Pool[M]"]:
    """A pool of instances of the server `name`, for the length of the block.

    `jitter` gives numbers from 0 to 1. Leaving stops every instance, all at once, takes as
    long as the slowest stop, and refuses whoever waits with `ShuttingDown`.
    """
    async with Tasks(f"pool:{name}") as tasks:
        pool = Pool(name, limits, opener, jitter, tasks, ALONE)
        pool._settle()
        try:
            yield pool
        finally:
            pool.close()


@dataclass(slots=True, eq=False)
class _Ticket(Generic[M]):
    """One request in the queue."""

    affinity: str | None
    guest: bool
    deadline: float
    granted: asyncio.Future[Slot[M]]


class Pool(Generic[M]):
    """Instances of one server, and who uses them. Made by `open_pool`; a `Lifecycle`."""

    def __init__(
        self,
        name: str,
        limits: PoolLimits,
        opener: Opener[M],
        jitter: Callable[[], float],
        tasks: Tasks,
        kin: Kin,
    ) -> None:
        self._name = name
        self._kin = kin
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()  # what the timer logs belongs to no request
        self._slots = Slots(name, opener, tasks, self)
        self._queue: FairQueue[_Ticket[M]] = FairQueue()
        self._affinities: Affinities[M] = Affinities()
        self._record = Record(name, limits.backoff, jitter)
        self._shutting_down = False
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf
        self._watchers: list[asyncio.Future[None]] = []

    def lease(
        self, owner: Owner, *, affinity: str | None = None, guest: bool = False
    ) -> Leasing[M]:
        """See `Lifecycle.lease`."""
        return Leasing(self, owner, affinity, guest=guest)

    async def drain(self, within: Seconds) -> None:
        """See `Lifecycle.drain`. Instances stop as soon as nobody uses them."""
        self.shut_down()
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self.until(lambda now: not now.in_flight)

    async def until(self, holds: Callable[[Snapshot], bool]) -> Snapshot:
        """Wait for the pool to be in a state for which `holds` is true; return that state."""
        while not holds(snapshot := self.snapshot()):
            changed = self._loop.create_future()
            self._watchers.append(changed)
            await changed
        return snapshot

    def snapshot(self) -> Snapshot:
        """Return what an operator would want to know of this moment."""
        now = self._loop.time()
        return Snapshot(
            name=self._name,
            state=self._record.health.state(self._limits.backoff),
            shutting_down=self._shutting_down,
            slots=tuple(
                SlotView(s.label, s.state, s.in_flight, s.served, Seconds(now - s.started_at))
                for s in self._slots
            ),
            waiting=len(self._queue),
            failures=self._record.health.failures,
            last_error=self._record.health.error,
            retry_in=self._record.health.retry_after(now),
        )

    def __repr__(self) -> str:
        return f"<Pool {self.snapshot()}>"

    def take(self, affinity: str | None, *, guest: bool) -> Slot[M] | None:
        """See `Lessor.take`."""
        if self._queue and not guest:
            return None
        slot = self._pick(affinity, guest)
        if slot is None or _is_lost(slot):
            return None
        self._grant(slot, affinity, guest)
        if self._limits.max_leases is not None and slot.served >= self._limits.max_leases:
            self._wake_by(self._loop.time() + self._limits.refill_after)
        elif self._watchers:
            self._notify()
        return slot

    async def wait(
        self, owner: Owner, affinity: str | None, *, guest: bool
    ) -> tuple[Slot[M], Seconds]:
        """See `Lessor.wait`."""
        if self._shutting_down:
            raise refusals.shutting_down(self._name)
        if len(self._queue) >= self._limits.queue_size:
            raise refusals.queue_full(self._name, len(self._queue))
        now = self._loop.time()
        deadline = now + self._limits.queue_timeout
        ticket = _Ticket[M](affinity, guest, deadline, self._loop.create_future())
        self._queue.push(owner, ticket)
        self._settle()
        try:
            slot = await ticket.granted
        except asyncio.CancelledError:
            self._leave(ticket)
            raise
        return slot, Seconds(self._loop.time() - now)

    def _leave(self, ticket: _Ticket[M]) -> None:
        """Take a cancelled request out of the queue, or back what it was given this instant."""
        granted = ticket.granted
        if self._queue.remove(ticket):
            self._notify()
        elif granted.done() and not granted.cancelled() and granted.exception() is None:
            self._give_back(granted.result(), ticket.guest)

    def _give_back(self, slot: Slot[M], guest: bool) -> None:
        """Undo a lease that its holder never saw: the instance is as unused as before."""
        slot.served -= 1
        slot.in_flight -= 1
        slot.guests -= guest
        if not slot.in_flight:
            slot.idle_since = self._loop.time()
        if slot.state is SlotState.DRAINING:  # if for another reason, the plan drains it again
            self._slots.move(slot, SlotState.READY)
        self._settle()

    def release(self, slot: Slot[M], *, guest: bool) -> None:
        """See `Lessor.release`."""
        slot.in_flight -= 1
        slot.guests -= guest
        slot.proven = slot.proven or not _is_lost(slot)
        if not slot.in_flight:
            slot.idle_since = self._loop.time()
            self._wake_by(slot.idle_since + self._limits.idle_timeout)
        spent = slot.state is not SlotState.READY or not has_room(slot, self._limits)
        if self._queue or spent or self._record.health.failures:
            self._settle()
        elif self._watchers:
            self._notify()
        if not slot.in_flight:
            self._kin.freed(self)

    def _pick(self, affinity: str | None, guest: bool) -> Slot[M] | None:
        if affinity is not None:
            slot = self._affinities.get(affinity) or self._slots.labelled(affinity)
            if slot is not None and has_room(slot, self._limits):
                return slot
        return (choose_host if guest else choose)(self._slots, self._limits)

    def _grant(self, slot: Slot[M], affinity: str | None, guest: bool) -> None:
        slot.in_flight += 1
        slot.served += 1
        slot.guests += guest
        if affinity is not None:
            self._affinities.note(affinity, slot)

    def _settle(self, now: float | None = None) -> None:
        """Bring everything in line with what is known: the one place where things are decided."""
        now = self._loop.time() if now is None else now
        self._notice(now)
        self._serve()
        self._expire(now)
        todo = plan(
            self._slots,
            len(self._queue),
            self._limits,
            self._record.health,
            now,
            elsewhere=self._kin.elsewhere(self),
            shutting_down=self._shutting_down,
        )
        for slot in todo.drain:
            self._slots.move(slot, SlotState.DRAINING)
        for slot in todo.stop:
            self._slots.stop(slot)
        for _ in range(todo.start):
            self._slots.start(now)
        if todo.short:
            self._kin.make_room(self)
        if todo.refuse_until > now:
            self._refuse_hopeless(todo.refuse_until, now)
        self._wake_by(min(todo.wake_at, self._next_deadline(now)))
        self._notify()

    def _notice(self, now: float) -> None:
        """Take lost instances out of use, and see whether the others have proven themselves."""
        for slot in self._slots:
            if slot.state not in (SlotState.READY, SlotState.DRAINING):
                continue
            if self._record.health.failures and is_proven(slot, self._limits, now):
                self._record.forgive(slot.ready_at)
            if _is_lost(slot):
                self._lost(slot, now)

    def _serve(self) -> None:
        while self._queue and choose(self._slots, self._limits) is not None:
            self._serve_ticket(self._queue.pop())
        for ticket in [ticket for ticket in self._queue if ticket.guest]:
            if choose_host(self._slots, self._limits) is not None:
                self._queue.remove(ticket)
                self._serve_ticket(ticket)

    def _serve_ticket(self, ticket: _Ticket[M]) -> None:
        if ticket.granted.done():
            return  # cancelled, and about to leave
        slot = self._pick(ticket.affinity, ticket.guest)
        assert slot is not None
        self._grant(slot, ticket.affinity, ticket.guest)
        ticket.granted.set_result(slot)

    def _expire(self, now: float) -> None:
        """Refuse whoever waited too long for an instance to come free.

        Those that an instance being started will serve wait for it instead: a start has a
        deadline of its own, and the first one of a server may take longer than any queue.
        """
        starting = sum(slot.state is SlotState.STARTING for slot in self._slots)
        covered = starting * room_of(self._limits)
        for ticket in list(islice(self._queue, covered, None)):
            if ticket.deadline > now:
                break
            timeout = self._limits.queue_timeout
            self._refuse(ticket, refusals.queue_timeout(self._name, timeout))

    def _next_deadline(self, now: float) -> float:
        """When the queue is to be looked at again; deadlines grow from its head to its tail."""
        return next((t.deadline for t in self._queue if t.deadline > now), inf)

    def _refuse_hopeless(self, until: float, now: float) -> None:
        for ticket in [t for t in self._queue if t.deadline <= until]:
            self._refuse(ticket, refusals.backing_off(self._name, self._record.health, now))

    def _refuse(self, ticket: _Ticket[M], error: GatewayError) -> None:
        self._queue.remove(ticket)
        if not ticket.granted.done():
            ticket.granted.set_exception(error)

    def _wake_by(self, when: float) -> None:
        if when < self._timer_at and not self._closed:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = when
            self._timer = self._loop.call_at(when, self._wake, context=self._context.copy())

    def _wake(self) -> None:
        now = max(self._timer_at, self._loop.time())  # a coarse clock may fire a little early
        self._timer, self._timer_at = None, inf
        self._settle(now)

    def _notify(self) -> None:
        watchers, self._watchers = self._watchers, []
        for changed in watchers:
            if not changed.done():
                changed.set_result(None)

    def slot_ready(self, slot: Slot[M]) -> None:
        """See `SlotWatcher`."""
        self._record.ready()
        self._settle()

    def slot_lost(self, slot: Slot[M]) -> None:
        """See `SlotWatcher`."""
        self._settle()

    def slot_exited(self, slot: Slot[M], failure: StartFailed | None) -> None:
        """See `SlotWatcher`."""
        self._affinities.forget(slot)
        if failure is not None:
            self._record.fail(slot.started_at, failure, self._loop.time())
            self._answer_start_failure(failure)
        self._settle()
        self._kin.freed(self)

    def _lost(self, slot: Slot[M], now: float) -> None:
        # The end of one that serves its last lease says nothing about the next one.
        if slot.state is SlotState.READY and not is_proven(slot, self._limits, now):
            assert slot.member is not None
            error = refusals.lost_early(self._name, slot.member.exit)
            self._record.fail(slot.started_at, error, now)
        self._slots.move(slot, SlotState.STOPPING)

    def _answer_start_failure(self, failure: StartFailed) -> None:
        if self._limits.isolated:
            starting = sum(slot.state is SlotState.STARTING for slot in self._slots)
            oldest = self._queue.oldest()
            if oldest is not None and len(self._queue) > starting:
                self._refuse(oldest, failure)
        elif not any(s.state in (SlotState.STARTING, SlotState.READY) for s in self._slots):
            wait = self._record.health.retry_after(self._loop.time())
            for ticket in list(self._queue):
                self._refuse(ticket, refusals.retold(failure, wait))

    def shut_down(self) -> None:
        """Take no new work, and refuse whoever waits."""
        self._shutting_down = True
        for ticket in list(self._queue):
            self._refuse(ticket, refusals.shutting_down(self._name))
        self._settle()

    @property
    def size(self) -> int:
        """How many instances there are, those that start and stop included."""
        return len(self._slots)

    @property
    def is_stopping_one(self) -> bool:
        """Whether the place of an instance will be free soon."""
        return any(slot.state is SlotState.STOPPING for slot in self._slots)

    @property
    def wants_room(self) -> bool:
        """Whether somebody waits."""
        return bool(self._queue)

    def idle_since(self) -> float:
        """Since when the instance that idles for longest has done so; inf if none does."""
        return min((s.idle_since for s in self._slots if _is_idle(s)), default=inf)

    def shed(self) -> None:
        """Stop the instance that idles for longest."""
        idle = [slot for slot in self._slots if _is_idle(slot)]
        self._slots.stop(min(idle, key=lambda slot: slot.idle_since))

    def keep(self, count: int) -> None:
        """Have so many instances ready even if nobody asks."""
        self._limits = replace(self._limits, keep=count)
        if not self._closed:
            self._settle()

    def look_again(self) -> None:
        """Decide anew, since something changed outside."""
        self._settle()

    def close(self) -> None:
        """Stop every instance, even those in use; leaving `open_pool` waits for that."""
        self.shut_down()
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for slot in list(self._slots):
            if slot.state in (SlotState.READY, SlotState.DRAINING):
                self._slots.stop(slot)


def _is_idle(slot: Slot[M]) -> bool:
    return slot.state is SlotState.READY and not slot.in_flight


def _is_lost(slot: Slot[M]) -> bool:
    return slot.member is not None and slot.member.lost.is_set()
