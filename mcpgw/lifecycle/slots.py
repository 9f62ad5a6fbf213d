"""The slots of a pool, each with the one task that lives its instance's life."""

import asyncio
from collections.abc import Iterator, Sequence
from contextvars import copy_context
from functools import partial
from typing import Final, Generic, Protocol, overload

import structlog

from mcpgw.aio import Tasks
from mcpgw.errors import GatewayError, StartFailed
from mcpgw.lifecycle import refusals
from mcpgw.lifecycle.base import M, Opener
from mcpgw.lifecycle.states import Slot, SlotState

log = structlog.get_logger(__name__)

SLOT_MOVED: Final = "slot.moved"
SLOT_BROKEN: Final = "slot.broken"


class SlotWatcher(Protocol[M]):
    """Whoever has to know what becomes of the slots. Called on the event loop; never waits."""

    def slot_ready(self, slot: Slot[M]) -> None:
        """Learn that the instance may be leased."""

    def slot_lost(self, slot: Slot[M]) -> None:
        """Learn that the instance will never answer again; it is still to be cleaned up."""

    def slot_exited(self, slot: Slot[M], failure: StartFailed | None) -> None:
        """Learn that nothing is left of it, and why it never became ready, if that is so."""


class Slots(Sequence[Slot[M]], Generic[M]):
    """The slots of one pool, oldest first. `tasks` owns what runs in them."""

    def __init__(
        self, server: str, opener: Opener[M], tasks: Tasks, watcher: SlotWatcher[M]
    ) -> None:
        self._server = server
        self._opener = opener
        self._tasks = tasks
        self._watcher = watcher
        self._context = copy_context()  # an instance outlives the request that had it started
        self._slots: list[Slot[M]] = []
        self._running: dict[Slot[M], asyncio.Task[StartFailed | None]] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._slots)

    def __iter__(self) -> Iterator[Slot[M]]:
        return iter(self._slots)

    @overload
    def __getitem__(self, index: int) -> Slot[M]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Slot[M]]: ...
    def __getitem__(self, index: int | slice) -> Slot[M] | Sequence[Slot[M]]:
        return self._slots[index]

    def labelled(self, label: str) -> Slot[M] | None:
        """Return the slot whose instance has that label."""
        return next((slot for slot in self._slots if slot.label == label), None)

    def start(self, now: float) -> None:
        """Take a place and start an instance in it."""
        self._count += 1
        slot = Slot[M](self._count, started_at=now)
        self._slots.append(slot)
        self._context.run(self._run_as_task, slot)

    def stop(self, slot: Slot[M]) -> None:
        """Have the instance stopped in the background; until it is gone its place is taken."""
        self.move(slot, SlotState.STOPPING)
        self._running[slot].cancel()

    def move(self, slot: Slot[M], state: SlotState) -> None:
        """Change the state of a slot, and log it."""
        before = slot.state
        slot.move(state)
        log.debug(SLOT_MOVED, server=self._server, instance=slot.label, before=before, after=state)

    def _run_as_task(self, slot: Slot[M]) -> None:
        task = self._tasks.start(self._run(slot), name=f"slot-{slot.number}")
        self._running[slot] = task
        task.add_done_callback(partial(self._ended, slot))

    async def _run(self, slot: Slot[M]) -> StartFailed | None:
        """Live one instance's life; return why it could not be started, if it could not."""
        try:
            async with self._opener() as member:
                slot.member = member
                if slot.state is SlotState.STARTING:  # else it was told to stop meanwhile
                    self._ready(slot)
                    await member.lost.wait()
                    self._watcher.slot_lost(slot)
        except GatewayError as exc:
            if slot.member is None:
                return refusals.start_failure(exc)
            log.warning(SLOT_BROKEN, server=self._server, instance=slot.label, error=str(exc))
        except Exception:  # a bug behind the opener must not hang those who wait for it
            log.exception(SLOT_BROKEN, server=self._server, instance=slot.label)
        return None

    def _ready(self, slot: Slot[M]) -> None:
        slot.ready_at = slot.idle_since = asyncio.get_running_loop().time()
        self.move(slot, SlotState.READY)
        self._watcher.slot_ready(slot)

    def _ended(self, slot: Slot[M], task: asyncio.Task[StartFailed | None]) -> None:
        del self._running[slot]
        self._slots.remove(slot)
        failure = None
        if slot.state is SlotState.STARTING:
            told = None if task.cancelled() or task.exception() else task.result()
            failure = told or refusals.start_bug(self._server)
        self.move(slot, SlotState.EXITED)
        self._watcher.slot_exited(slot, failure)
