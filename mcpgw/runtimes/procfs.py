"""What Linux says about processes, and the guard that reads it after the gateway's death.

The guard is this very file, run alone by a bare interpreter: standard library only,
nothing of the package, and as few modules as possible, since each costs memory (hence no pathlib).
"""
# ruff: noqa: PTH116, PTH123, PTH208

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final

OWNER_VARIABLE: Final = "MCPGW_OWNER"
"""Marks every process of an instance with the gateway that started it, see `owner`."""

INSTANCE_VARIABLE: Final = "MCPGW_INSTANCE"
"""Marks every process of an instance with the instance's label."""

_PROC: Final = "/proc"

_SWEEP_FOR: Final = 5.0
"""Seconds after which a sweep gives up on processes that keep appearing or won't die."""

_QUIET_SCANS: Final = 2
"""Scans that find nothing before a sweep ends: a fork may be under way during one."""


class Status:
    """What ``/proc/<pid>/stat`` tells."""

    __slots__ = ("group", "parent", "session", "started", "state")

    def __init__(self, text: bytes) -> None:
        fields = text[text.rindex(b")") + 2 :].split()
        self.state = fields[0]
        self.parent, self.group, self.session = int(fields[1]), int(fields[2]), int(fields[3])
        self.started = int(fields[19])

    @property
    def ended(self) -> bool:
        """Whether the process is dead and only its exit status is left."""
        return self.state in {b"Z", b"X"}


def status(pid: int) -> Status | None:
    """Give the status of a process, or None if there is no such process."""
    text = _read(f"{_PROC}/{pid}/stat")
    return Status(text) if text else None


def environment(pid: int) -> dict[bytes, bytes]:
    """Give the environment a process was started with; empty if it is dead or hidden from us."""
    entries = _read(f"{_PROC}/{pid}/environ").split(b"\0")
    return {name: value for name, _, value in (entry.partition(b"=") for entry in entries) if name}


def children() -> list[int]:
    """Give the processes whose parent is this one: its own and those it adopted."""
    # Those started by another thread are missing, but orphans always come to the first.
    me = os.getpid()
    listed = f"{_PROC}/self/task/{me}/children"
    if os.access(listed, os.R_OK):
        return [int(pid) for pid in _read(listed).split()]
    return [pid for pid in pids() if (found := status(pid)) is not None and found.parent == me]


def pids() -> Iterator[int]:
    """Give every process there is."""
    return (int(name) for name in os.listdir(_PROC) if name.isdigit())


def owner() -> str:
    """Name this process for good: its id, start time and process id namespace.

    The namespace keeps a gateway on the host away from those inside containers, whose
    process ids mean something else.
    """
    me = status(os.getpid())
    started = me.started if me else 0
    return f"{os.getpid()}:{started}:{_namespace()}"


def is_orphaned(marker: str, namespace: int) -> bool:
    """Whether `marker` names a gateway of this namespace that is no longer alive."""
    parts = marker.split(":")
    if len(parts) != 3 or not all(part.isdecimal() for part in parts):
        return False
    pid, started, its_namespace = (int(part) for part in parts)
    if its_namespace != namespace:
        return False
    found = status(pid)
    return found is None or found.ended or found.started != started


def sweep(is_doomed: Callable[[str], bool]) -> list[str]:
    """Kill every process of ours whose owner is doomed; give the labels of what was killed."""
    killed: list[str] = []
    quiet, deadline = 0, time.monotonic() + _SWEEP_FOR
    while quiet < _QUIET_SCANS and time.monotonic() < deadline:
        found = [label for pid in pids() if (label := _kill_if(pid, is_doomed)) is not None]
        killed += found
        quiet = 0 if found else quiet + 1
        time.sleep(0.01)
    return killed


def stand_guard(owner_marker: str) -> bool:
    """Wait for the gateway's end; unless it said goodbye, kill what it left behind.

    Whether there was no goodbye, so that there may be more to clean up.
    Standard input is the gateway's lifeline: only its death or its goodbye ends it.
    """
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    namespace = _namespace()
    for label in sweep(lambda marker: is_orphaned(marker, namespace)):
        _report(label)
    os.close(1)
    if sys.stdin.read().endswith("goodbye\n"):
        return False
    sweep(lambda marker: marker == owner_marker)
    return True


def _kill_if(pid: int, is_doomed: Callable[[str], bool]) -> str | None:
    try:
        if os.stat(f"{_PROC}/{pid}").st_uid != os.getuid():
            return None
        # Opened before the look at its environment, so that the signal can hit no successor.
        handle = os.pidfd_open(pid)
    except OSError:
        return None
    try:
        found = environment(pid)
        marker = found.get(OWNER_VARIABLE.encode())
        if marker is None or not is_doomed(marker.decode(errors="replace")):
            return None
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        return found.get(INSTANCE_VARIABLE.encode(), b"?").decode(errors="replace")
    except OSError:
        return None
    finally:
        os.close(handle)


def _report(label: str) -> None:
    # Without a gateway there is nobody to tell.
    with contextlib.suppress(OSError):
        os.write(1, f"{label}\n".encode())


def _namespace() -> int:
    try:
        return os.stat(f"{_PROC}/self/ns/pid").st_ino
    except OSError:
        return 0


def _read(path: str) -> bytes:
    try:
        with open(path, "rb", 0) as file:
            return file.read()
    except OSError:
        return b""
