"""What all instances have in common: three streams, an end, and one report of it."""

import asyncio
from dataclasses import dataclass
from typing import Final, NoReturn

from mcpgw.config.schema import ServerSpec
from mcpgw.errors import InstanceExited
from mcpgw.runtimes.base import Exit, Receiver
from mcpgw.runtimes.stderr import StderrLog
from mcpgw.runtimes.streams import Hooks, Streams
from mcpgw.units import Seconds


@dataclass(frozen=True, slots=True)
class Waits:
    """How long to wait for what may still be learnt after one sign of the end."""

    output_after_exit: Seconds = Seconds(0.5)
    """For the rest of stdout: a descendant may hold it open for ever."""

    errors_after_exit: Seconds = Seconds(0.1)
    """For the rest of stderr, so that last words can be quoted."""

    exit_after_output: Seconds = Seconds(0.2)
    """For the exit status, which says more than the end of stdout does."""

    exit_after_input: Seconds = Seconds(0.5)
    """For the answers to what a server that closed its stdin had read."""


_USUAL_WAITS: Final = Waits()


class StreamedInstance:
    """A running instance; see `mcpgw.runtimes.base.Instance`.

    Whoever makes one calls `begin` with its streams, which push to its `hooks`, and
    `end` when it knows how the server ended.
    """

    def __init__(
        self, spec: ServerSpec, receiver: Receiver, label: str, waits: Waits = _USUAL_WAITS
    ) -> None:
        self.server: Final = spec.name
        """The name of the tool it runs for."""
        self._label = label
        self._receiver = receiver
        self._waits = waits
        self._exit: Exit | None = None
        self._stdin_broke = False
        self._begun = False
        self._report: asyncio.TimerHandle | None = None
        self._log = StderrLog(server=spec.name, instance=label, rate=spec.limits.stderr_rate)
        self.exited: Final = asyncio.Event()
        """Set once it is known how the server ended."""
        self.reported: Final = asyncio.Event()
        """Set once the receiver was told that nothing will follow."""
        self.hooks: Final = Hooks(
            receiver.data_received, self._log.receive, self._settle, self._stdin_ended
        )
        """What the streams call."""

    def begin(self, streams: Streams) -> None:
        """Take over the streams. The end may be known already."""
        self._streams = streams
        self._begun = True
        if self._exit is not None:
            self._settle()

    @property
    def label(self) -> str:
        """See `Instance.label`."""
        return self._label

    @property
    def congested(self) -> bool:
        """See `Instance.congested`."""
        return not self._streams.writable.is_set()

    def write(self, data: bytes) -> None:
        """See `Instance.write`."""
        if not self._streams.takes_input:
            self._refuse()
        try:
            self._streams.write(data)
        except BrokenPipeError:
            self._streams.abort_stdin()
            self._stdin_ended()
            self._refuse()

    async def drain(self) -> None:
        """See `Instance.drain`."""
        await self._streams.writable.wait()
        if not self._streams.takes_input:
            self._refuse()

    def close_stdin(self) -> None:
        """Let the server read what is queued, and then the end."""
        self._streams.close_stdin()

    def end(self, reason: str, code: int | None) -> None:
        """Learn how the server ended; see `Exit`. Only the first time counts."""
        if self._exit is None:
            self._exit = Exit(reason, code)
            self.exited.set()
            if self._begun:
                self._settle()

    def abandon(self) -> None:
        """Let go of the streams of an instance that never started: nobody is told."""
        self.reported.set()
        self._streams.close()

    def close(self) -> None:
        """Let go of the streams, and tell the receiver if it does not know yet."""
        self._lose()
        self._streams.close()

    def look(self) -> None:
        """Learn now what would be told soon, where that is possible."""

    def _stdin_ended(self) -> None:
        self._stdin_broke = True
        self.look()
        self._settle()

    def _settle(self) -> None:
        """Tell the receiver about the end, if this is it, once no more can be learnt."""
        patience = self._patience()
        if self.reported.is_set() or patience is None:
            return
        self._streams.abort_stdin()
        if self._report is not None:
            self._report.cancel()
        self._report = asyncio.get_running_loop().call_later(patience, self._lose)

    def _patience(self) -> Seconds | None:
        if self._exit is not None:
            if self._streams.has_output:
                return self._waits.output_after_exit
            return self._waits.errors_after_exit if self._streams.has_errors else Seconds(0)
        if not self._streams.has_output:
            return self._waits.exit_after_output
        return self._waits.exit_after_input if self._stdin_broke else None

    def _lose(self) -> None:
        if self._report is not None:
            self._report.cancel()
        if self.reported.is_set():
            return
        self.reported.set()
        self._log.finish()
        code = self._exit.code if self._exit is not None else None
        exit = Exit(self._reason(), code, self._log.tail())
        self._streams.abort_stdin()
        self._streams.close_stdout()
        self._receiver.instance_lost(exit)

    def _reason(self) -> str:
        if self._exit is not None:
            return self._exit.reason
        if not self._streams.has_output:
            return "closed its stdout"
        return "closed its stdin" if self._stdin_broke else "was stopped"

    def _refuse(self) -> NoReturn:
        raise InstanceExited(
            f"{self.server}: the server {self._reason()} (instance {self._label}); "
            "its last stderr lines say why, if it wrote any",
            stderr=self._log.tail(),
        )
