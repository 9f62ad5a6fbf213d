"""Whose task is where: who made one may ask about it, at the instance that works on it."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

import msgspec

from mcpgw import aio
from mcpgw.gateway.calling import Caller
from mcpgw.gateway.exchange import Exchange
from mcpgw.gateway.held import Suspended
from mcpgw.lifecycle.base import Lease, Owner
from mcpgw.lifecycle.link import ServerLink
from mcpgw.protocol import codes
from mcpgw.protocol.messages import Notification, Outcome, Request, failure
from mcpgw.protocol.meta import open_params
from mcpgw.protocol.rawjson import encode, object_or_empty
from mcpgw.protocol.tasks import LIST, RESULT, Created, has_ended, list_of, task_id
from mcpgw.units import Seconds

_LONGEST: Final = Seconds(3600)
"""How long a task is kept whose server says nothing, or more."""


@dataclass(eq=False, slots=True)
class _Task:
    """One task. Its instance is kept until it is over."""

    id: str
    owner: Owner
    lease: Lease[ServerLink]
    held: AsyncExitStack
    tell: Callable[[Notification], None] | None
    expiry: asyncio.TimerHandle | None = None


class TaskDesk:
    """The tasks of one server whose instances are not a session's own."""

    def __init__(self, caller: Caller, suspended: Suspended, tasks: aio.Tasks) -> None:
        self._caller = caller
        self._suspended = suspended
        self._owned = tasks
        self._loop = asyncio.get_running_loop()
        self._tasks: dict[str, _Task] = {}

    def keep(
        self,
        exchange: Exchange,
        created: Created,
        lease: Lease[ServerLink],
        held: AsyncExitStack,
    ) -> None:
        """Take on a task, and what ends the lease of its instance.

        Raises:
            TooManySuspended: As many calls and tasks are kept as may be.
        """
        self._suspended.take()
        task = _Task(created.id, exchange.owner, lease, held, exchange.tell)
        patience = min(created.ttl or _LONGEST, _LONGEST)
        task.expiry = self._loop.call_later(patience, self._forget, task)
        self._tasks[created.id] = task

    async def serve(self, exchange: Exchange) -> Outcome:
        """Answer a question about tasks; nobody learns of another's.

        Raises:
            GatewayError: The instance did not answer.
        """
        if exchange.request.method == LIST:
            mine = [task for task in self._tasks.values() if task.owner == exchange.owner]
            return list_of([await self._get(exchange, task) for task in mine])
        opened = exchange.opened or open_params(exchange.request.params)
        task = self._tasks.get(task_id(opened.params) or "")
        if task is None or task.owner != exchange.owner:
            return failure(codes.INVALID_PARAMS, "there is no such task")
        outcome = await self._ask(exchange, task)
        if exchange.request.method == RESULT or has_ended(outcome):
            self._release(task)
        return outcome

    def hear(self, notification: Notification) -> None:
        """Tell a task's owner of its status."""
        task = self._tasks.get(task_id(object_or_empty(notification.params)) or "")
        if task is not None and task.tell is not None:
            task.tell(notification)

    def drain(self) -> None:
        """Let go of all: nobody can ask about them any more."""
        for task in tuple(self._tasks.values()):
            self._forget(task)

    async def _get(self, exchange: Exchange, task: _Task) -> Outcome:
        params = encode({"taskId": task.id})
        request = Request(exchange.request.id, "tasks/get", params)
        return await self._ask(
            msgspec.structs.replace(exchange, request=request, opened=None), task
        )

    async def _ask(self, exchange: Exchange, task: _Task) -> Outcome:
        if task.lease.member.lost.is_set():
            self._forget(task)
        return await self._caller.call(task.lease, exchange)

    def _release(self, task: _Task) -> None:
        """Let others use its instance. Its result can be asked for as long as that lives."""
        held, task.held = task.held, AsyncExitStack()
        _ = self._owned.start(held.aclose(), name="task")

    def _forget(self, task: _Task) -> None:
        if self._tasks.pop(task.id, None) is not None:
            if task.expiry is not None:
                task.expiry.cancel()
            self._suspended.give()
            self._release(task)
