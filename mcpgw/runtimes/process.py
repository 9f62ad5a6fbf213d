"""One native instance: a process, its pipes, and the news of its end."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from typing import Final

from mcpgw.config.schema import ServerSpec
from mcpgw.runtimes import orphans
from mcpgw.runtimes.base import Receiver
from mcpgw.runtimes.detached import Carrier, End
from mcpgw.runtimes.exits import ExitWatch, describe
from mcpgw.runtimes.instance import StreamedInstance
from mcpgw.runtimes.spawn import Spawned
from mcpgw.runtimes.stopping import stop
from mcpgw.runtimes.streams import PipeStreams


class _Process:
    """A process that was spawned, and how it ends."""

    def __init__(self, spawned: Spawned, on_exit: Callable[[int], None]) -> None:
        self.pid: Final = spawned.process.pid
        self._on_exit = on_exit
        self._is_over = False
        self._watch = ExitWatch(spawned.process, self._ended)

    def look(self) -> None:
        """Learn now of an end that would be told soon."""
        self._watch.check()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and its group, unless the process has ended."""
        self._watch.check()
        if not self._is_over:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def close(self) -> None:
        """End the watch."""
        self._watch.close()

    def _ended(self, code: int) -> None:
        self._is_over = True
        orphans.disclaim(self.pid)
        self._on_exit(code)


class NativeInstance(StreamedInstance):
    """A running process; see `mcpgw.runtimes.base.Instance`. It takes over what was spawned."""

    def __init__(self, spawned: Spawned, spec: ServerSpec, receiver: Receiver, label: str) -> None:
        super().__init__(spec, receiver, label)
        self._process = _Process(spawned, self._process_ended)
        self.pid: Final = self._process.pid
        """The id of the process, which is that of its group and session too."""
        self.begin(PipeStreams(spawned.stdin, spawned.stdout, spawned.stderr, self.hooks))

    def kill(self) -> None:
        """See `Instance.kill`."""
        self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and its group, unless the process has ended."""
        self._process.signal(number)

    def look(self) -> None:
        """See `StreamedInstance.look`."""
        self._process.look()

    def close(self) -> None:
        """Let go of the process and its pipes, and tell the receiver if it does not know yet."""
        super().close()
        self._process.close()

    def _process_ended(self, code: int) -> None:
        self.end(describe(code), code)


class DetachedProcess:
    """A process whose pipes are somebody else's; see `mcpgw.runtimes.detached.Detached`."""

    carrier: Final = Carrier.PIPES

    def __init__(self, spawned: Spawned, spec: ServerSpec, label: str) -> None:
        self._end: End | None = None
        self._fds = [spawned.stdin, spawned.stdout, spawned.stderr]
        self._timeouts = spec.timeouts
        self._stopped = False
        self.server: Final = spec.name
        """The name of the tool it runs for."""
        self.label: Final = label
        """Its name in this process's log."""
        self.exited: Final = asyncio.Event()
        """Set once it is known how it ended."""
        self.reported: Final = asyncio.Event()
        """Set from the start: nobody here listens to it."""
        self.reported.set()
        self._process = _Process(spawned, self._process_ended)
        self.pid: Final = self._process.pid
        """The id of the process, which is that of its group and session too."""

    def take_fds(self) -> list[int]:
        """See `Detached.take_fds`."""
        fds, self._fds = self._fds, []
        return fds

    async def end(self, *, asked: bool) -> End | None:
        """See `Detached.end`."""
        if asked:
            self._process.look()
        else:
            await self.exited.wait()
        return self._end

    def kill(self) -> None:
        """See `Detached.kill`."""
        self.signal(signal.SIGKILL)

    async def stop(self) -> None:
        """See `Detached.stop`."""
        if not self._stopped:
            self._stopped = True
            await stop(self, self._timeouts)

    def close_stdin(self) -> None:
        """Close what nobody took; the rest is closed by whoever has it."""
        for fd in self.take_fds():
            os.close(fd)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and its group, unless the process has ended."""
        self._process.signal(number)

    def close(self) -> None:
        """Let go of the process."""
        self._process.close()

    def _process_ended(self, code: int) -> None:
        self._end = describe(code), code
        self.exited.set()
