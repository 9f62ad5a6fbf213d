"""A daemon's pool, with real processes in it."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

import pytest
import structlog

from mcpgw import aio
from mcpgw.errors import QueueFull, QueueTimeout, ShuttingDown
from mcpgw.lifecycle.base import Lifecycle, Owner
from mcpgw.lifecycle.pool import Pool, open_pool
from mcpgw.units import Seconds
from tests.lifecycle.pool_parts import (
    ALICE,
    BOB,
    SOON,
    Client,
    Program,
    Programs,
    limits,
    reached,
    watched_programs,
)


@pytest.fixture
async def programs() -> AsyncIterator[Programs]:
    async with watched_programs() as programs:
        yield programs


@pytest.fixture
async def tasks() -> AsyncIterator[aio.Tasks]:
    async with aio.Tasks("clients") as tasks:
        yield tasks


async def test_a_request_gets_a_ready_instance(programs: Programs) -> None:
    async with open_pool("cat", limits(), programs.open) as pool:
        lifecycle: Lifecycle[Program] = pool
        async with lifecycle.lease(ALICE) as lease:
            assert await lease.member.echo(b"hi") == b"hi"
            assert lease.queued > 0
        async with lifecycle.lease(BOB) as lease:
            assert (lease.member.label, lease.queued) == ("cat#1", Seconds(0))


async def test_requests_share_one_cold_start(programs: Programs, tasks: aio.Tasks) -> None:
    programs.may_be_ready.clear()
    async with open_pool("cat", limits(max_in_flight=10), programs.open) as pool:
        clients = [Client(pool, tasks, Owner(f"owner-{n}")) for n in range(10)]
        await reached(pool, waiting=10, starting=1)
        programs.may_be_ready.set()
        assert {(await client.program()).label for client in clients} == {"cat#1"}
        for client in clients:
            await client.leave()


async def test_one_instance_is_filled_before_the_next_is_started_and_max_is_kept(
    programs: Programs, tasks: aio.Tasks
) -> None:
    async with open_pool("cat", limits(max=2), programs.open) as pool:
        clients = []
        for label in ("cat#1", "cat#1", "cat#2", "cat#2"):
            clients.append(Client(pool, tasks, ALICE))
            assert (await clients[-1].program()).label == label
        last = Client(pool, tasks, ALICE)
        await reached(pool, waiting=1, ready=2)
        assert repr(pool) == "<Pool cat running: 2 ready; 4 in flight, 1 waiting>"
        await clients[0].leave()
        assert (await last.program()).label == "cat#1"
        for client in [*clients[1:], last]:
            await client.leave()
        assert programs.peak == 2


async def test_a_session_keeps_its_instance_while_that_has_room(
    programs: Programs, tasks: aio.Tasks
) -> None:
    async with open_pool("cat", limits(), programs.open) as pool:
        fillers = [Client(pool, tasks, ALICE) for _ in range(2)]
        for filler in fillers:
            await filler.program()
        async with pool.lease(BOB, affinity="session") as lease:
            assert lease.member.label == "cat#2"
        await fillers[0].leave()  # now the first one is the fuller one with room
        async with pool.lease(BOB) as lease:
            assert lease.member.label == "cat#1"
        async with pool.lease(BOB, affinity="session") as lease:
            assert lease.member.label == "cat#2"
        await fillers[1].leave()


# --- the queue ---


async def full_pool(pool: Pool[Program], tasks: aio.Tasks) -> Client:
    holder = Client(pool, tasks, ALICE)
    await holder.program()
    return holder


ONE = limits(max=1, max_in_flight=1)


async def test_owners_take_turns(programs: Programs, tasks: aio.Tasks) -> None:
    served: list[str] = []

    async def use(owner: Owner) -> None:
        async with pool.lease(owner):
            served.append(owner)

    async with open_pool("cat", ONE, programs.open) as pool:
        holder = await full_pool(pool, tasks)
        async with aio.Tasks("users") as users:
            running = [users.start(use(owner), name=owner) for owner in [ALICE] * 3 + [BOB]]
            await reached(pool, waiting=4)
            await holder.leave()
            async with asyncio.timeout(5):
                await asyncio.wait(running)
    assert served == ["alice", "bob", "alice", "alice"]


async def test_one_request_too_many_is_refused(programs: Programs, tasks: aio.Tasks) -> None:
    async with open_pool("cat", limits(ONE, queue_size=2), programs.open) as pool:
        await full_pool(pool, tasks)
        waiting = [Client(pool, tasks, ALICE) for _ in range(2)]
        await reached(pool, waiting=2)
        with pytest.raises(QueueFull, match="'cat' is busy: 2 requests wait") as refusal:
            await Client(pool, tasks, BOB).program()
        assert refusal.value.retry_after
        assert all(client.is_waiting for client in waiting)


async def test_a_request_is_refused_when_it_waited_its_time(
    programs: Programs, tasks: aio.Tasks
) -> None:
    async with open_pool("cat", limits(ONE, queue_timeout=Seconds(0.3)), programs.open) as pool:
        holder = await full_pool(pool, tasks)
        with pytest.raises(QueueTimeout, match=r"within 0.3 s .*: all are in use"):
            await Client(pool, tasks, BOB).program()
        await holder.leave()
        await (later := Client(pool, tasks, BOB)).program()
        await later.leave()


async def test_a_start_may_take_longer_than_the_queue_and_only_those_beyond_it_are_refused(
    programs: Programs, tasks: aio.Tasks
) -> None:
    programs.may_be_ready.clear()
    async with open_pool("cat", limits(ONE, queue_timeout=SOON), programs.open) as pool:
        first = Client(pool, tasks, ALICE)
        await reached(pool, waiting=1)
        with pytest.raises(QueueTimeout):
            await Client(pool, tasks, BOB).program()
        assert first.is_waiting
        programs.may_be_ready.set()
        await first.program()
        await first.leave()


async def test_a_cancelled_request_leaves_the_queue_at_once(
    programs: Programs, tasks: aio.Tasks
) -> None:
    async with open_pool("cat", ONE, programs.open) as pool:
        holder = await full_pool(pool, tasks)
        leaver, stayer = Client(pool, tasks, ALICE), Client(pool, tasks, ALICE)
        await reached(pool, waiting=2)
        await leaver.cancel()
        assert pool.snapshot().waiting == 1
        await holder.leave()
        await stayer.program()
        await stayer.leave()


async def test_what_a_request_gets_as_it_is_cancelled_goes_to_the_next(
    programs: Programs, tasks: aio.Tasks
) -> None:
    async with open_pool("cat", ONE, programs.open) as pool:
        async with pool.lease(ALICE):
            leaver, next_one = Client(pool, tasks, ALICE), Client(pool, tasks, BOB)
            await reached(pool, waiting=2)
        assert pool.snapshot().waiting == 1  # granted, but the one it was granted to sleeps still
        await leaver.cancel()
        assert leaver.is_waiting
        assert (await next_one.program()).label == "cat#1"
        await next_one.leave()


async def test_a_request_cancelled_while_its_instance_starts_leaves_a_usable_instance(
    programs: Programs, tasks: aio.Tasks
) -> None:
    programs.may_be_ready.clear()
    async with open_pool("cat", ONE, programs.open) as pool:
        client = Client(pool, tasks, ALICE)
        await reached(pool, starting=1)
        await client.cancel()
        programs.may_be_ready.set()
        await reached(pool, ready=1)
        async with pool.lease(BOB) as lease:
            assert lease.queued == Seconds(0)


async def test_a_cancelled_holder_gives_its_instance_back(
    programs: Programs, tasks: aio.Tasks
) -> None:
    async with open_pool("cat", ONE, programs.open) as pool:
        holder = await full_pool(pool, tasks)
        waiting = Client(pool, tasks, BOB)
        await reached(pool, waiting=1)
        await holder.cancel()
        assert (await waiting.program()).label == "cat#1"
        await waiting.leave()


# --- ends of instances ---


async def test_idle_instances_are_stopped_down_to_the_minimum(
    programs: Programs, tasks: aio.Tasks
) -> None:
    settings = limits(keep=1, max_in_flight=1, idle_timeout=SOON)
    async with open_pool("cat", settings, programs.open) as pool:
        clients = [Client(pool, tasks, ALICE) for _ in range(3)]
        for client in clients:
            await client.program()
        assert pool.snapshot().in_flight == 3
        for client in clients:
            await client.leave()
        await reached(pool, ready=1, stopping=0)


async def test_requests_that_meet_an_idle_stop_are_served_all_the_same(
    programs: Programs,
) -> None:
    labels: list[str] = []
    async with open_pool("cat", limits(max=1, idle_timeout=SOON), programs.open) as pool:
        for _ in range(5):
            async with pool.lease(ALICE) as lease:
                assert await lease.member.echo(b"hi") == b"hi"
                labels.append(lease.member.label)
            await reached(pool, stopping=1)
    assert labels == [f"cat#{n}" for n in range(1, 6)]
    assert programs.peak == 1


async def test_an_aged_instance_is_replaced_without_losing_a_request(
    programs: Programs, tasks: aio.Tasks
) -> None:
    settings = limits(keep=1, max_age=Seconds(0.2))
    async with open_pool("cat", settings, programs.open) as pool:
        old = Client(pool, tasks, ALICE)
        assert (await old.program()).label == "cat#1"
        await reached(pool, draining=1, ready=1)
        async with pool.lease(BOB) as lease:
            assert lease.member.label != "cat#1"
        assert await (await old.program()).echo(b"still here") == b"still here"
        await old.leave()


async def test_an_instance_is_replaced_after_so_many_requests(programs: Programs) -> None:
    labels: list[str] = []
    async with open_pool("cat", limits(max_leases=2), programs.open) as pool:
        for _ in range(6):
            async with pool.lease(ALICE) as lease:
                labels.append(lease.member.label)
    assert labels == [f"cat#{n}" for n in (1, 1, 2, 2, 3, 3)]


async def test_the_minimum_runs_before_anybody_asks_and_after_a_crash(programs: Programs) -> None:
    async with open_pool("cat", limits(keep=2), programs.open) as pool:
        await reached(pool, ready=2)
        async with pool.lease(ALICE) as lease:
            first = lease.member
        first.crash()
        async with asyncio.timeout(5):
            await pool.until(lambda now: first.label not in {slot.label for slot in now.slots})
        await reached(pool, ready=2)
        assert pool.snapshot().failures == 0  # it had proven itself
        assert len(programs.pids) == 3


async def test_nothing_is_kept_of_an_instance_that_is_gone(programs: Programs) -> None:
    async with open_pool("cat", limits(idle_timeout=SOON), programs.open) as pool:
        async with pool.lease(ALICE, affinity="session") as lease:
            member = weakref.ref(lease.member)
        del lease
        async with asyncio.timeout(5):
            await pool.until(lambda now: not now.slots)
            await asyncio.sleep(0)
        gc.collect()
        assert member() is None


async def test_an_instance_outlives_the_context_of_the_request_that_started_it(
    programs: Programs,
) -> None:
    request_id: ContextVar[str] = ContextVar("request_id", default="none")
    seen: list[str] = []

    @asynccontextmanager
    async def open_program() -> AsyncIterator[Program]:
        seen.append(request_id.get())
        async with programs.open() as program:
            yield program

    async with open_pool("cat", limits(), open_program) as pool:
        request_id.set("a request's")
        async with pool.lease(ALICE):
            pass
    assert seen == ["none"]


async def test_what_the_timer_logs_belongs_to_no_request(programs: Programs) -> None:
    request_id: ContextVar[str] = ContextVar("request_id", default="none")
    seen: dict[str, str] = {}

    def note(_: object, __: str, event: structlog.types.EventDict) -> str:
        seen[event["after"]] = request_id.get()
        raise structlog.DropEvent

    structlog.configure(processors=[note])
    try:
        async with open_pool("cat", limits(idle_timeout=SOON), programs.open) as pool:
            request_id.set("a request's")
            async with pool.lease(ALICE):
                pass
            await reached(pool, stopping=1)
    finally:
        structlog.reset_defaults()
    assert seen["stopping"] == "none"


# --- the end of the pool ---


async def test_draining_refuses_new_and_queued_requests_and_lets_others_finish(
    programs: Programs, tasks: aio.Tasks
) -> None:
    async with open_pool("cat", ONE, programs.open) as pool:
        holder, queued = await full_pool(pool, tasks), Client(pool, tasks, BOB)
        await reached(pool, waiting=1)
        drain = tasks.start(pool.drain(Seconds(5)), name="drain")
        with pytest.raises(ShuttingDown):
            await queued.program()
        with pytest.raises(ShuttingDown, match="'cat' takes no new requests"):
            await Client(pool, tasks, BOB).program()
        assert not drain.done()
        assert await (await holder.program()).echo(b"hi") == b"hi"
        await holder.leave()
        async with asyncio.timeout(5):
            await drain
        await reached(pool, draining=0, stopping=0)


async def test_draining_ends_when_its_time_is_over(programs: Programs, tasks: aio.Tasks) -> None:
    async with open_pool("cat", ONE, programs.open) as pool:
        holder = await full_pool(pool, tasks)
        async with asyncio.timeout(5):
            await pool.drain(SOON)
        assert pool.snapshot().in_flight == 1
        await holder.leave()


async def test_leaving_stops_everything_in_whatever_state(
    programs: Programs, tasks: aio.Tasks
) -> None:
    async with asyncio.timeout(5):
        async with open_pool("cat", limits(ONE, max=3), programs.open) as pool:
            await full_pool(pool, tasks)
            programs.may_be_ready.clear()
            queued = Client(pool, tasks, BOB)
            await reached(pool, ready=1, starting=1)
    assert programs.alive == 0
    with pytest.raises(ShuttingDown):
        await queued.program()


async def test_instances_are_stopped_all_at_once(programs: Programs, tasks: aio.Tasks) -> None:
    async with asyncio.timeout(5):
        async with open_pool("cat", limits(keep=3), programs.open) as pool:
            await reached(pool, ready=3)
            programs.may_be_gone.clear()
            let_go = tasks.start(_let_go(pool, programs), name="let-go")
    await let_go


async def _let_go(pool: Pool[Program], programs: Programs) -> None:
    await reached(pool, stopping=3)
    programs.may_be_gone.set()
