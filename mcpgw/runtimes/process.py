"""One native instance: a process, its pipes, and the news of its end."""

import asyncio
import contextlib
import os
import signal
from typing import Final, NoReturn

from mcpgw.errors import InstanceExited
from mcpgw.runtimes import orphans
from mcpgw.runtimes.base import Exit, Receiver
from mcpgw.runtimes.exits import ExitWatch, describe
from mcpgw.runtimes.pipes import ReadPipe, WritePipe
from mcpgw.runtimes.spawn import Spawned
from mcpgw.runtimes.stderr import StderrLog
from mcpgw.units import Seconds

_STDOUT_AFTER_EXIT: Final = Seconds(0.5)
"""How long to wait for the rest of stdout: a descendant may hold it open for ever."""

_STDERR_AFTER_EXIT: Final = Seconds(0.1)
"""How long to wait for the rest of stderr, so that last words can be quoted."""

_EXIT_AFTER_STDOUT: Final = Seconds(0.2)
"""How long to wait for the exit status, which says more than the end of stdout does."""

_EXIT_AFTER_STDIN: Final = Seconds(0.5)
"""How long a server that closed its stdin may still answer what it had read."""


class NativeInstance:
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
        self.server: Final = server
        """The name of the tool it runs for."""
        self._label = label
        self._receiver = receiver
        self._code: int | None = None
        self._stdin_broke = False
        self._report: asyncio.TimerHandle | None = None
        self.pid: Final = spawned.process.pid
        """The id of the process, which is that of its group and session too."""
        self.exited: Final = asyncio.Event()
        """Set once the process has ended and was reaped."""
        self.reported: Final = asyncio.Event()
        """Set once the receiver was told that nothing will follow."""
        self._watch = ExitWatch(spawned.process, self._process_ended)
        self._log = StderrLog(server=server, instance=label, rate=stderr_rate)
        # stderr comes first: a server that fails explains itself there.
        self._stderr = ReadPipe(spawned.stderr, on_data=self._log.receive, on_end=self._settle)
        self._stdout = ReadPipe(spawned.stdout, on_data=receiver.data_received, on_end=self._settle)
        self._stdin = WritePipe(spawned.stdin, on_broken=self._stdin_ended)

    @property
    def label(self) -> str:
        """See `Instance.label`."""
        return self._label

    @property
    def congested(self) -> bool:
        """See `Instance.congested`."""
        return not self._stdin.writable.is_set()

    def write(self, data: bytes) -> None:
        """See `Instance.write`."""
        if not self._stdin.is_open:
            self._refuse()
        try:
            self._stdin.write(data)
        except BrokenPipeError:
            self._stdin.abort()
            self._stdin_ended()
            self._refuse()

    async def drain(self) -> None:
        """See `Instance.drain`."""
        await self._stdin.writable.wait()
        if not self._stdin.is_open:
            self._refuse()

    def close_stdin(self) -> None:
        """Let the server read what is queued, and then the end."""
        self._stdin.close()

    def kill(self) -> None:
        """See `Instance.kill`."""
        self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and its group, unless the process has ended."""
        self._watch.check()
        if self._code is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def close(self) -> None:
        """Let go of the process and its pipes, and tell the receiver if it does not know yet."""
        self._lose()
        self._watch.close()
        self._stdin.abort()
        self._stdout.close()
        self._stderr.close()

    def _process_ended(self, code: int) -> None:
        self._code = code
        orphans.disclaim(self.pid)
        self.exited.set()
        self._settle()

    def _stdin_ended(self) -> None:
        self._stdin_broke = True
        self._watch.check()
        self._settle()

    def _settle(self) -> None:
        """Tell the receiver about the end, if this is it, once no more can be learnt."""
        patience = self._patience()
        if self.reported.is_set() or patience is None:
            return
        self._stdin.abort()
        if self._report is not None:
            self._report.cancel()
        self._report = asyncio.get_running_loop().call_later(patience, self._lose)

    def _patience(self) -> Seconds | None:
        if self._code is not None:
            if self._stdout.is_open:
                return _STDOUT_AFTER_EXIT
            return _STDERR_AFTER_EXIT if self._stderr.is_open else Seconds(0)
        if not self._stdout.is_open:
            return _EXIT_AFTER_STDOUT
        return _EXIT_AFTER_STDIN if self._stdin_broke else None

    def _lose(self) -> None:
        if self._report is not None:
            self._report.cancel()
        if self.reported.is_set():
            return
        self.reported.set()
        self._log.finish()
        exit = Exit(self._reason(), self._code, self._log.tail())
        self._stdin.abort()
        self._stdout.close()
        self._receiver.instance_lost(exit)

    def _reason(self) -> str:
        if self._code is not None:
            return describe(self._code)
        if not self._stdout.is_open:
            return "closed its stdout"
        return "closed its stdin" if self._stdin_broke else "was stopped"

    def _refuse(self) -> NoReturn:
        raise InstanceExited(
            f"{self.server}: the server {self._reason()} (instance {self._label}); "
            "its last stderr lines say why, if it wrote any",
            stderr=self._log.tail(),
        )
