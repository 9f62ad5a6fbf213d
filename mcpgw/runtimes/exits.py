"""Learning of a process's end from the event loop, alike on every loop.

The loops' own ways differ: uvloop stops the loop for 2 to 10 ms per start, more the
more memory we use, and leaks duplicates of the pipes into the server, so that it can't
close its stdout; the standard loop of Python 3.11 spends a thread on each process.
So processes are started by `subprocess` (0.2 ms) and watched through pidfds.
"""

import asyncio
import os
import signal
import subprocess
import threading
from collections.abc import Callable


class ExitWatch:
    """Calls `on_exit` with the exit status, negative for a signal, once `process` has ended."""

    def __init__(self, process: "subprocess.Popen[bytes]", on_exit: Callable[[int], None]) -> None:
        self._process = process
        self._on_exit = on_exit
        self._loop = asyncio.get_running_loop()
        self._is_over = False
        self._handle = self._open_handle()

    def check(self) -> None:
        """Learn now what the event loop would tell soon."""
        if not self._is_over and (code := self._process.poll()) is not None:
            self.close()
            self._on_exit(code)

    def close(self) -> None:
        """End the watch, whether or not the process has ended."""
        self._is_over = True
        if self._handle is not None:
            self._loop.remove_reader(self._handle)
            os.close(self._handle)
            self._handle = None

    def _open_handle(self) -> int | None:
        try:
            handle = os.pidfd_open(self._process.pid)
        except (AttributeError, OSError):  # not Linux, an old kernel, or no descriptor left
            name = f"exit:{self._process.pid}"
            threading.Thread(target=self._wait, name=name, daemon=True).start()
            return None
        self._loop.add_reader(handle, self.check)
        return handle

    def _wait(self) -> None:
        self._process.wait()
        if not self._is_over and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.check)


def describe(code: int) -> str:
    """Complete "the server ...": ``exited with code 3``, ``was killed by SIGKILL``."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
