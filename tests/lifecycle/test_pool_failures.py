"""What a daemon's pool does when its instances fail, with real processes that do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from math import inf

import pytest

from mcpgw import aio
from mcpgw.config.schema import Backoff
from mcpgw.errors import ProtocolViolation, StartFailed
from mcpgw.lifecycle.pool import open_pool
from mcpgw.lifecycle.states import PoolState
from mcpgw.units import Seconds
from tests.lifecycle.pool_parts import (
    ALICE,
    BOB,
    LONG,
    SOON,
    Broken,
    Client,
    Program,
    Programs,
    limits,
    reached,
    watched_programs,
)

ONE = limits(max=1, max_in_flight=1)
FAILS_AT_ONCE = limits(backoff=Backoff(initial=SOON, max=LONG, failures=1))


@pytest.fixture
async def programs() -> AsyncIterator[Programs]:
    async with watched_programs() as programs:
        yield programs


@pytest.fixture
async def tasks() -> AsyncIterator[aio.Tasks]:
    async with aio.Tasks("clients") as tasks:
        yield tasks


def no_jitter() -> float:
    return 0.0


async def test_a_failed_start_is_the_answer_to_all_who_wait(
    programs: Programs, tasks: aio.Tasks
) -> None:
    programs.broken = inf
    programs.may_be_ready.clear()
    async with open_pool("cat", limits(max_in_flight=9), programs.open) as pool:
        clients = [Client(pool, tasks, ALICE) for _ in range(5)]
        await reached(pool, waiting=5)
        programs.may_be_ready.set()
        failures = []
        for client in clients:
            with pytest.raises(StartFailed, match="exited before it was ready") as failure:
                await client.program()
            failures.append(failure.value)
        assert len(set(map(id, failures))) == 5
        assert {failure.stderr for failure in failures} == {("no backend",)}
        assert all(failure.retry_after for failure in failures)
        assert len(programs.pids) == 1


async def test_nobody_is_failed_while_another_start_may_succeed(
    programs: Programs, tasks: aio.Tasks
) -> None:
    programs.may_be_ready.clear()
    async with open_pool("cat", limits(max_in_flight=1, max=2), programs.open) as pool:
        clients = [Client(pool, tasks, ALICE)]
        await reached(pool, starting=1)
        programs.broken = 1
        clients.append(Client(pool, tasks, BOB))
        await reached(pool, starting=2)
        programs.may_be_ready.set()
        served = await clients[0].program()
        assert clients[1].is_waiting
        await clients[0].leave()
        assert await clients[1].program() is served
        await clients[1].leave()


async def test_a_request_waits_for_a_backoff_that_ends_in_time(
    programs: Programs, tasks: aio.Tasks
) -> None:
    programs.broken = inf
    async with open_pool("cat", limits(), programs.open) as pool:
        with pytest.raises(StartFailed):
            await Client(pool, tasks, ALICE).program()
        assert pool.snapshot().state is PoolState.BACKOFF
        programs.broken = 0
        client = Client(pool, tasks, ALICE)
        assert (await client.program()).label == "cat#2"
        assert pool.snapshot().state is PoolState.RUNNING
        assert pool.snapshot().failures == 1  # it is ready, but has proven nothing yet
        await client.leave()
        assert pool.snapshot().failures == 0


async def test_a_request_that_cannot_wait_for_the_next_try_is_refused_at_once(
    programs: Programs, tasks: aio.Tasks
) -> None:
    programs.broken = inf
    backoff = Backoff(initial=Seconds(20), max=LONG, failures=3)
    settings = limits(backoff=backoff, queue_timeout=Seconds(10))
    async with open_pool("cat", settings, programs.open, jitter=no_jitter) as pool:
        with pytest.raises(StartFailed):
            await Client(pool, tasks, ALICE).program()
        with pytest.raises(StartFailed, match=r"not tried again for .* the last time: ") as refusal:
            await Client(pool, tasks, ALICE).program()
        assert refusal.value.stderr == ("no backend",)
        assert refusal.value.retry_after is not None
        assert 15 < refusal.value.retry_after <= 20
        assert len(programs.pids) == 1


async def test_what_keeps_failing_is_refused_at_once_but_for_a_trial(
    programs: Programs, tasks: aio.Tasks
) -> None:
    programs.broken = inf
    backoff = Backoff(initial=SOON, max=Seconds(0.5), failures=2)
    async with open_pool("cat", limits(backoff=backoff), programs.open) as pool:
        for _ in range(2):
            with pytest.raises(StartFailed):
                await Client(pool, tasks, ALICE).program()
        assert pool.snapshot().state is PoolState.FAILED
        assert "failed: no instances; 0 in flight, 0 waiting; 2 failures, last: 'cat'" in repr(pool)
        with pytest.raises(StartFailed, match="'cat' keeps failing"):
            await Client(pool, tasks, ALICE).program()
        assert len(programs.pids) == 2
        programs.broken = 0
        await asyncio.sleep(pool.snapshot().retry_in + 0.01)
        trial = Client(pool, tasks, ALICE)
        await trial.program()
        await trial.leave()
        assert repr(pool) == "<Pool cat running: 1 ready; 0 in flight, 0 waiting>"


async def test_the_minimum_is_tried_again_without_being_asked_for(programs: Programs) -> None:
    programs.broken = inf
    async with open_pool("cat", limits(keep=1), programs.open) as pool:
        async with asyncio.timeout(5):
            await pool.until(lambda now: now.failures == 2)
        programs.broken = 0
        await reached(pool, ready=1)


async def test_a_crash_soon_after_the_start_counts_as_a_failure(programs: Programs) -> None:
    async with open_pool("cat", FAILS_AT_ONCE, programs.open) as pool:
        with pytest.raises(StartFailed, match="'cat' was killed soon after it was ready") as told:
            async with pool.lease(ALICE) as lease:
                lease.member.crash()
                await lease.member.lost.wait()
            async with pool.lease(ALICE):
                pass
        assert told.value.stderr == ("bye",)
        assert pool.snapshot().state is PoolState.FAILED


async def test_requests_that_wait_when_an_instance_crashes_early_are_answered_at_once(
    programs: Programs, tasks: aio.Tasks
) -> None:
    settings = limits(ONE, backoff=FAILS_AT_ONCE.backoff)
    async with open_pool("cat", settings, programs.open) as pool:
        holder = Client(pool, tasks, ALICE)
        program = await holder.program()
        waiting = Client(pool, tasks, BOB)
        await reached(pool, waiting=1)
        program.crash()
        with pytest.raises(StartFailed, match="soon after it was ready"):
            await waiting.program()
        await holder.leave()


async def test_what_worked_before_it_crashed_is_restarted_at_once(
    programs: Programs, tasks: aio.Tasks
) -> None:
    settings = limits(ONE, backoff=Backoff(initial=LONG, max=LONG))
    async with open_pool("cat", settings, programs.open) as pool:
        async with pool.lease(ALICE):
            pass
        holder = Client(pool, tasks, ALICE)
        program = await holder.program()
        waiting = Client(pool, tasks, BOB)
        await reached(pool, waiting=1)
        program.crash()
        assert (await waiting.program()).label == "cat#2"
        await waiting.leave()
        await holder.leave()


async def test_time_alone_proves_an_instance(programs: Programs) -> None:
    programs.broken = inf
    settings = limits(keep=1, stable_after=Seconds(0.2))
    async with open_pool("cat", settings, programs.open) as pool:
        async with asyncio.timeout(5):
            await pool.until(lambda now: now.failures == 1)
        programs.broken = 0
        await reached(pool, ready=1)
        assert pool.snapshot().failures == 1
        async with asyncio.timeout(5):
            await pool.until(lambda now: now.failures == 0)


async def test_an_instance_that_died_unnoticed_is_not_leased(programs: Programs) -> None:
    """Scripted, because a real one cannot be lost between two steps of the event loop."""
    async with open_pool("cat", limits(), programs.open) as pool:
        async with pool.lease(ALICE) as lease:
            lease.member.lost.set()
        async with pool.lease(ALICE) as lease:
            assert lease.member.label == "cat#2"
            assert pool.snapshot().failures == 1  # ending its only lease proved nothing


async def test_starts_that_fail_together_count_as_one_failure(
    programs: Programs, tasks: aio.Tasks
) -> None:
    programs.broken = inf
    programs.may_be_ready.clear()
    async with open_pool("cat", limits(max_in_flight=1), programs.open) as pool:
        clients = [Client(pool, tasks, ALICE) for _ in range(3)]
        await reached(pool, starting=3)
        programs.may_be_ready.set()
        for client in clients:
            with pytest.raises(StartFailed):
                await client.program()
        assert pool.snapshot().failures == 1


async def test_what_ran_before_a_failure_does_not_make_up_for_it(
    programs: Programs, tasks: aio.Tasks
) -> None:
    settings = limits(max_in_flight=1, backoff=Backoff(initial=LONG, max=LONG))
    async with open_pool("cat", settings, programs.open) as pool:
        holder = Client(pool, tasks, ALICE)
        await holder.program()
        programs.broken = inf
        waiting = Client(pool, tasks, BOB)
        async with asyncio.timeout(5):
            await pool.until(lambda now: now.failures == 1)
        await holder.leave()
        assert (await waiting.program()).label == "cat#1"
        await waiting.leave()
        assert (pool.snapshot().failures, len(programs.pids)) == (1, 2)


async def test_an_instance_that_cannot_be_stopped_cleanly_frees_its_place(
    programs: Programs, capsys: pytest.CaptureFixture[str]
) -> None:
    @asynccontextmanager
    async def open_and_break() -> AsyncIterator[Program]:
        try:
            async with programs.open() as program:
                yield program
        finally:
            raise ProtocolViolation("it said something after its end")

    async with open_pool("cat", limits(max=1, max_leases=1), open_and_break) as pool:
        for label in ("cat#1", "cat#2"):
            async with pool.lease(ALICE) as lease:
                assert lease.member.label == label
        await reached(pool, stopping=0)
    assert "it said something after its end" in capsys.readouterr().out


async def test_a_start_that_goes_on_although_it_was_told_to_stop_is_stopped_all_the_same(
    programs: Programs, tasks: aio.Tasks
) -> None:
    """Scripted, because nothing of ours ignores a cancellation."""

    @asynccontextmanager
    async def open_stubbornly() -> AsyncIterator[Program]:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        async with programs.open() as program:
            yield program

    async with open_pool("cat", limits(keep=1), open_stubbornly) as pool:
        await reached(pool, starting=1)
        await asyncio.sleep(0)  # let it start waiting
        await pool.drain(SOON)
        await reached(pool, starting=0, stopping=0)
    assert len(programs.pids) == 1


async def test_a_bug_in_the_opener_is_a_failed_start_with_a_neutral_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = KeyError("a secret")
    async with open_pool("cat", limits(), lambda: Broken(error)) as pool:
        with pytest.raises(StartFailed, match="a reason inside the gateway") as failure:
            async with pool.lease(ALICE):
                pass
    assert "secret" not in str(failure.value)
    assert "KeyError: 'a secret'" in capsys.readouterr().out


async def test_another_error_of_the_gateway_is_a_failed_start_with_its_text() -> None:
    error = ProtocolViolation("'cat' does not speak MCP", stderr=("meow",))
    async with open_pool("cat", limits(), lambda: Broken(error)) as pool:
        with pytest.raises(StartFailed, match="'cat' does not speak MCP") as failure:
            async with pool.lease(ALICE):
                pass
    assert failure.value.stderr == ("meow",)


async def test_a_start_that_is_cancelled_from_within_hangs_nobody() -> None:
    """Scripted, because nothing of ours does this on purpose."""
    error = asyncio.CancelledError()
    async with open_pool("cat", limits(), lambda: Broken(error)) as pool, asyncio.timeout(5):
        with pytest.raises(StartFailed, match="a reason inside the gateway"):
            async with pool.lease(ALICE):
                pass
