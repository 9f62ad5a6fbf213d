"""Owning tasks. The only module allowed to call ``asyncio.create_task``."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")


@asynccontextmanager
async def background(coro: Coroutine[Any, Any, T], *, name: str) -> AsyncIterator[asyncio.Task[T]]:
    """Run one task for the length of the block; cancel it and wait for it on the way out.

    Unlike a `TaskGroup`, an exception raised in the block leaves it unwrapped.
    An exception raised by the task surfaces here, unless the block is already failing.
    """
    task = asyncio.create_task(coro, name=name)
    try:
        yield task
    except BaseException:
        task.cancel()
        await _finish(task)
        raise
    task.cancel()
    await _finish(task)
    if not task.cancelled():
        task.result()


async def unhurried(coro: Coroutine[Any, Any, T], *, name: str) -> T:
    """Await `coro` to its end even if we are cancelled meanwhile; then honour the cancellation.

    For teardown only, and only around coroutines whose every wait is bounded.
    """
    task = asyncio.create_task(coro, name=name)
    await _finish(task)
    return task.result()


class Tasks:
    """Owns tasks whose lives differ from any one block: sessions, slots, exchanges.

    An exception of one task leaves the others alone; it is reported to the loop's
    exception handler, since nobody awaits it. Leaving the context cancels what is
    still running and waits for it.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, coro: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Start a task that this object owns."""
        if self._closed:
            coro.close()
            raise RuntimeError(f"{self._name} is closed")
        task = asyncio.create_task(coro, name=f"{self._name}:{name}")
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            task.get_loop().call_exception_handler(
                {"message": f"task {task.get_name()} failed", "exception": exc, "task": task}
            )

    async def __aenter__(self) -> "Tasks":
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._closed = True
        cancelled: asyncio.CancelledError | None = None
        for task in self._tasks:
            task.cancel()
        while self._tasks:
            try:
                await asyncio.wait(self._tasks)
                await asyncio.sleep(0)  # let the done callbacks run
            except asyncio.CancelledError as exc:
                cancelled = exc
        if cancelled is not None:
            raise cancelled


async def _finish(task: asyncio.Task[Any]) -> None:
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as exc:
            cancelled = exc
    if cancelled is not None:
        raise cancelled
