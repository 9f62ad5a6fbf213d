"""Descendants that outlive their instance: found, ended and reaped.

On Linux this process becomes the subreaper of its descendants: one whose parent dies
becomes our child, whatever session or group it moved to. Our children keep their ids
until we reap them, so that a signal can't hit a stranger. Elsewhere only the group
of the instance is reached.
"""

import asyncio
import ctypes
import os
import signal
import sys
from collections import Counter
from functools import cache
from typing import Final

from mcpgw.runtimes import procfs
from mcpgw.units import Seconds

IS_LINUX: Final = sys.platform.startswith("linux")
"""Whether there is a /proc to read and a subreaper to be."""

REAP_EVERY: Final = Seconds(5)
"""How often to look for adopted processes that have ended."""

_LOOKS_AT_HIDDEN: Final = 50
"""How often to look at a process that shows no environment before it counts as a stranger."""

_PR_SET_CHILD_SUBREAPER: Final = 36

_started: Final[set[int]] = set()
"""The processes this one started itself. Module state, as is what it mirrors: the kernel
keeps one list of children per process."""


def claim(pid: int) -> None:
    """Note that whoever started `pid` will also reap it."""
    _started.add(pid)


def disclaim(pid: int) -> None:
    """Note that `pid` was reaped."""
    _started.discard(pid)


@cache
def adopt_orphans() -> bool:
    """Become the parent of descendants whose own parent dies, if the system has that."""
    if not IS_LINUX:
        return False
    refused: int = ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    return not refused


def environment_marks(label: str) -> dict[str, str]:
    """Give the variables by which the descendants of instance `label` are known."""
    return {procfs.OWNER_VARIABLE: _owner(), procfs.INSTANCE_VARIABLE: label}


class Leftovers:
    """What is left of one instance once its first process, `leader`, has ended."""

    def __init__(self, label: str, leader: int) -> None:
        self._marks = {k.encode(): v.encode() for k, v in environment_marks(label).items()}
        self._leader = leader
        self._family = {leader}
        self._known: set[int] = set()
        self._looks: Counter[int] = Counter()
        self._undecided = False
        self._told: set[tuple[int, int]] = set()

    def find(self) -> bool:
        """Whether any are alive, or may be: ask again; those that are not get reaped."""
        if not adopt_orphans():
            return _signalled(self._leader, 0)
        while candidates := self._candidates():
            self._known = {pid for pid in candidates if not _reaped(pid)}
            if self._known:
                return True
            # Those just reaped may have left theirs to us.
        return self._undecided

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the groups of those found last, to each group once."""
        # A group never spans sessions, and theirs were made by the instance: no stranger is in it.
        groups = {os.getpgid(pid) for pid in self._known} if adopt_orphans() else {self._leader}
        for group in groups:
            if (group, number) not in self._told:
                self._told.add((group, number))
                _signalled(group, number)

    def _candidates(self) -> list[int]:
        self._undecided = False
        adopted = (pid for pid in procfs.children() if pid not in _started)
        return [pid for pid in adopted if self._belongs(pid)]

    def _belongs(self, pid: int) -> bool:
        status = procfs.status(pid)
        if status is None:
            return False
        found = procfs.environment(pid)
        if marks := {name: found[name] for name in self._marks if name in found}:
            if marks != self._marks:
                return False
            # The dead have no environment any more, but still an id and a session.
            self._family |= {pid, status.session}
        elif not found and not status.ended and self._looks[pid] < _LOOKS_AT_HIDDEN:
            # It may be changing programs just now, which hides its environment for a moment.
            self._looks[pid] += 1
            self._undecided = True
        return not self._family.isdisjoint({pid, status.session})


class Reaping:
    """Reaps adopted processes that end by themselves: as a context, one per instance.

    It goes on for a while after the last, until what that one left has ended too.
    """

    def __init__(self) -> None:
        self._users = 0
        self._suspects: frozenset[int] = frozenset()
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        self._users += 1
        if self._timer is None and adopt_orphans():
            self._schedule()

    def __exit__(self, *exc_info: object) -> None:
        self._users -= 1

    def _schedule(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(REAP_EVERY, self._reap)

    def _reap(self) -> None:
        self._timer = None
        self._suspects = reap_unclaimed(self._suspects)
        if self._users or self._suspects:
            self._schedule()


def reap_unclaimed(suspects: frozenset[int]) -> frozenset[int]:
    """Reap the dead among the adopted, if they were dead already when the last call found them.

    The delay leaves children that other code of this process started to that code.
    Pass what the last call gave.
    """
    adopted = (pid for pid in procfs.children() if pid not in _started)
    dead = {pid for pid in adopted if (status := procfs.status(pid)) is not None and status.ended}
    return frozenset(pid for pid in dead if not (pid in suspects and _reaped(pid)))


@cache
def _owner() -> str:
    return procfs.owner() if IS_LINUX else str(os.getpid())


def _reaped(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def _signalled(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
