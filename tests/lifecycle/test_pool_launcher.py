"""A launcher's pool, with real processes in it."""

import asyncio
from collections.abc import AsyncIterator
from math import inf

import pytest

from mcpgw import aio
from mcpgw.errors import StartFailed
from mcpgw.lifecycle.base import Owner
from mcpgw.lifecycle.pool import open_pool
from mcpgw.lifecycle.states import SlotState
from mcpgw.units import Seconds
from tests.lifecycle.pool_parts import (
    ALICE,
    BOB,
    LAUNCHER,
    SOON,
    Client,
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


async def test_every_lease_gets_an_instance_of_its_own(programs: Programs) -> None:
    labels: list[str] = []
    async with open_pool("cat", LAUNCHER, programs.open) as pool:
        for _ in range(3):
            async with pool.lease(ALICE) as lease:
                labels.append(lease.member.label)
    assert labels == ["cat#1", "cat#2", "cat#3"]


async def test_200_requests_10_at_a_time_never_exceed_max_and_leave_nothing(
    programs: Programs,
) -> None:
    labels: list[str] = []
    todo = iter(range(200))

    async def work(owner: Owner) -> None:
        for n in todo:
            async with pool.lease(owner) as lease:
                text = f"call {n}".encode()
                assert await lease.member.echo(text) == text
                labels.append(lease.member.label)

    async with (
        asyncio.timeout(60),
        open_pool("cat", limits(LAUNCHER, max=10, keep=2), programs.open) as pool,
        asyncio.TaskGroup() as workers,
    ):
        for n in range(10):
            workers.create_task(work(Owner(f"owner-{n}")))
    assert (len(labels), len(set(labels))) == (200, 200)
    assert programs.peak <= 10


async def test_a_warm_spare_is_used_once_and_replaced_at_once(
    programs: Programs, tasks: aio.Tasks
) -> None:
    async with open_pool("cat", limits(LAUNCHER, keep=1), programs.open) as pool:
        await reached(pool, ready=1)
        client = Client(pool, tasks, ALICE)
        assert (await client.program()).label == "cat#1"
        await reached(pool, draining=1, ready=1)  # replaced while the first is in use
        async with pool.lease(BOB) as lease:
            assert (lease.member.label, lease.queued) == ("cat#2", Seconds(0))
        await client.leave()


async def test_a_spare_is_replaced_when_its_call_is_over_not_while_it_competes(
    programs: Programs, tasks: aio.Tasks
) -> None:
    async with open_pool("cat", limits(LAUNCHER, keep=1), programs.open) as pool:
        await reached(pool, ready=1)
        async with pool.lease(ALICE):
            assert len(pool.snapshot().slots) == 1
        assert len(pool.snapshot().slots) == 2


async def test_spares_are_used_when_max_leaves_no_place(
    programs: Programs, tasks: aio.Tasks
) -> None:
    async with open_pool("cat", limits(LAUNCHER, keep=2, max=2), programs.open) as pool:
        await reached(pool, ready=2)
        clients = [Client(pool, tasks, ALICE) for _ in range(3)]
        assert {(await client.program()).label for client in clients[:2]} == {"cat#1", "cat#2"}
        await reached(pool, waiting=1, draining=2)
        await clients[0].leave()
        assert (await clients[2].program()).label == "cat#3"
        for client in clients[1:]:
            await client.leave()
    assert programs.peak == 2


async def test_stopping_a_used_instance_delays_nobody_but_takes_its_place(
    programs: Programs, tasks: aio.Tasks
) -> None:
    programs.may_be_gone.clear()
    async with open_pool("cat", limits(LAUNCHER, max=1), programs.open) as pool:
        async with asyncio.timeout(5):
            async with pool.lease(ALICE):
                pass
        client = Client(pool, tasks, BOB)
        await reached(pool, stopping=1, waiting=1)
        assert programs.peak == 1
        programs.may_be_gone.set()
        assert (await client.program()).label == "cat#2"
        await client.leave()


async def test_an_instance_whose_client_left_becomes_a_spare(
    programs: Programs, tasks: aio.Tasks
) -> None:
    programs.may_be_ready.clear()
    async with open_pool("cat", LAUNCHER, programs.open) as pool:
        client = Client(pool, tasks, ALICE)
        await reached(pool, starting=1)
        await client.cancel()
        programs.may_be_ready.set()
        await reached(pool, ready=1)
        async with pool.lease(BOB) as lease:
            assert (lease.member.label, lease.queued) == ("cat#1", Seconds(0))


async def test_a_spare_beyond_warm_is_stopped_after_a_while(
    programs: Programs, tasks: aio.Tasks
) -> None:
    programs.may_be_ready.clear()
    settings = limits(LAUNCHER, keep=1, idle_timeout=SOON)
    async with open_pool("cat", settings, programs.open) as pool:
        client = Client(pool, tasks, ALICE)
        await reached(pool, starting=2)
        await client.cancel()
        programs.may_be_ready.set()
        await reached(pool, starting=0, ready=1, stopping=0)
        assert programs.peak == 2


async def test_an_instance_granted_to_a_cancelled_client_stays_unused(
    programs: Programs, tasks: aio.Tasks
) -> None:
    async with open_pool("cat", LAUNCHER, programs.open) as pool:
        client = Client(pool, tasks, ALICE)
        programs.as_one_gets_ready = client.task.cancel
        async with asyncio.timeout(5):
            await asyncio.wait([client.task])
        assert client.task.cancelled()
        assert client.is_waiting
        await reached(pool, ready=1)
        assert pool.snapshot().slots[0].served == 0
        async with pool.lease(BOB) as lease:
            assert lease.member.label == "cat#1"


async def test_a_failed_start_is_the_answer_to_the_oldest_request_only(
    programs: Programs, tasks: aio.Tasks
) -> None:
    async with open_pool("cat", limits(LAUNCHER, max=1), programs.open) as pool:
        holder = Client(pool, tasks, ALICE)
        await holder.program()
        programs.broken = 1
        oldest, other = Client(pool, tasks, ALICE), Client(pool, tasks, BOB)
        await reached(pool, waiting=2)
        await holder.leave()
        with pytest.raises(StartFailed, match="exited before it was ready") as failure:
            await oldest.program()
        assert failure.value.stderr == ("no backend",)
        assert (await other.program()).label
        await other.leave()


async def test_a_request_is_not_failed_for_a_spare_that_failed(
    programs: Programs, tasks: aio.Tasks
) -> None:
    programs.may_be_ready.clear()
    programs.broken = 1
    async with open_pool("cat", limits(LAUNCHER, keep=1), programs.open) as pool:
        await reached(pool, starting=1)
        client = Client(pool, tasks, ALICE)
        await reached(pool, starting=2)
        programs.may_be_ready.set()
        assert (await client.program()).label == "cat#2"
        await client.leave()


async def test_requests_are_not_held_back_by_failures_but_spares_are(
    programs: Programs, tasks: aio.Tasks
) -> None:
    programs.broken = inf
    async with open_pool("cat", limits(LAUNCHER, keep=1), programs.open) as pool:
        async with asyncio.timeout(5):
            await pool.until(lambda now: now.failures >= 3)
        assert pool.snapshot().state == "failed"
        tried = len(programs.pids)
        with pytest.raises(StartFailed, match="exited before it was ready"):
            await Client(pool, tasks, ALICE).program()
        assert len(programs.pids) == tried + 1
        programs.broken = 0
        client = Client(pool, tasks, ALICE)
        await client.program()
        await client.leave()
        await reached(pool, ready=1)  # a success lets spares be started again
        assert pool.snapshot().failures == 0


async def test_a_session_may_hold_its_instance_while_others_come_and_go(
    programs: Programs, tasks: aio.Tasks
) -> None:
    async with open_pool("cat", limits(LAUNCHER, max=2), programs.open) as pool:
        session = Client(pool, tasks, ALICE)
        mine = await session.program()
        for _ in range(3):
            async with pool.lease(BOB) as lease:
                assert lease.member is not mine
        assert await mine.echo(b"hi") == b"hi"
        await session.leave()


async def test_the_crash_of_a_used_instance_holds_nothing_back(
    programs: Programs, tasks: aio.Tasks
) -> None:
    async with open_pool("cat", limits(LAUNCHER, max=2), programs.open) as pool:
        client = Client(pool, tasks, ALICE)
        program = await client.program()
        program.crash()
        async with asyncio.timeout(5):
            await pool.until(lambda now: now.count(SlotState.DRAINING) == 0)
        assert program.lost.is_set()
        assert pool.snapshot().failures == 0
        await client.leave()
