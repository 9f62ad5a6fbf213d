"""One native instance: a process, its pipes, and the news of its end."""

import contextlib
import os
import signal
from typing import Final

from mcpgw.runtimes import orphans
from mcpgw.runtimes.base import Receiver
from mcpgw.runtimes.exits import ExitWatch, describe
from mcpgw.runtimes.instance import StreamedInstance, Waits
from mcpgw.runtimes.spawn import Spawned
from mcpgw.runtimes.streams import PipeStreams


class NativeInstance(StreamedInstance):
    """A running process; see `mcpgw.runtimes.base.Instance`. It takes over what was spawned."""

    def __init__(
        self,
        spawned: Spawned,
        receiver: Receiver,
        *,
        server: str,
        label: str,
        stderr_rate: int,
    ) -> None:
        super().__init__(
            receiver, server=server, label=label, stderr_rate=stderr_rate, waits=Waits()
        )
        self.pid: Final = spawned.process.pid
        """The id of the process, which is that of its group and session too."""
        self._watch = ExitWatch(spawned.process, self._process_ended)
        self.begin(PipeStreams(spawned.stdin, spawned.stdout, spawned.stderr, self.hooks))

    def kill(self) -> None:
        """See `Instance.kill`."""
        self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and its group, unless the process has ended."""
        self._watch.check()
        if not self.exited.is_set():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def look(self) -> None:
        """See `StreamedInstance.look`."""
        self._watch.check()

    def close(self) -> None:
        """Let go of the process and its pipes, and tell the receiver if it does not know yet."""
        super().close()
        self._watch.close()

    def _process_ended(self, code: int) -> None:
        orphans.disclaim(self.pid)
        self.end(describe(code), code)
