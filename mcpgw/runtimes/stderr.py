"""What servers write to stderr: logged by the line, at a bounded rate, its end kept.

A server may write whatever it likes there; it is never taken for an error.
"""

import asyncio
import re
from collections import deque
from typing import Final

import structlog

from mcpgw.units import KIB

LINE_BYTES: Final = 4 * KIB
"""Where a line is cut."""

KEPT_LINES: Final = 20
"""How many of the last lines are quoted when an instance fails."""

KEPT_BYTES: Final = 8 * KIB
"""How many bytes those may have together."""

_WINDOW: Final = 1.0
"""The seconds over which the rate is counted."""

_UNPRINTABLE: Final = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0a-\x1f\x7f-\x9f]")
"""Terminal commands: a log is read on terminals, and a server has no business there."""

_log = structlog.get_logger()


class StderrLog:
    """Takes one instance's stderr, of which at most `rate` lines a second reach the log."""

    def __init__(self, *, server: str, instance: str, rate: int) -> None:
        self._names = {"server": server, "instance": instance}
        self._rate = rate
        self._partial = b""
        self._kept: deque[bytes] = deque(maxlen=KEPT_LINES)
        self._logged = 0
        self._suppressed = 0
        self._window: asyncio.TimerHandle | None = None

    def tail(self) -> tuple[str, ...]:
        """Give the last lines, oldest first, an unfinished one included."""
        lines: deque[str] = deque()
        size = 0
        unfinished = [self._partial] if self._partial else []
        for line in [*unfinished, *reversed(self._kept)][:KEPT_LINES]:
            size += min(len(line), LINE_BYTES)
            if size > KEPT_BYTES:
                break
            lines.appendleft(_readable(line))
        return tuple(lines)

    def receive(self, data: bytes) -> None:
        """Take the next bytes. Both ``\\n`` and ``\\r`` end a line; empty lines do not count."""
        *lines, rest = data.replace(b"\r", b"\n").split(b"\n")
        if lines:
            lines[0] = self._partial + lines[0]
            self._partial = b""
            self._take([line for line in lines if line])
        # One byte more than is shown tells that the line was cut.
        self._partial = (self._partial + rest)[: LINE_BYTES + 1]

    def finish(self) -> None:
        """Log what is still held back; more may follow, from descendants."""
        partial, self._partial = self._partial, b""
        if partial:
            self._take([partial])
        if self._window is not None:
            self._window.cancel()
            self._end_window()

    def _take(self, lines: list[bytes]) -> None:
        self._kept.extend(lines)
        admitted = lines[: max(0, self._rate - self._logged)]
        self._logged += len(admitted)
        self._suppressed += len(lines) - len(admitted)
        if self._window is None:
            self._window = asyncio.get_running_loop().call_later(_WINDOW, self._end_window)
        for line in admitted:
            _log.info("instance.stderr", **self._names, line=_readable(line))

    def _end_window(self) -> None:
        if self._suppressed:
            _log.info("instance.stderr", **self._names, suppressed=self._suppressed)
        self._window = None
        self._logged = self._suppressed = 0


def _readable(line: bytes) -> str:
    cut = "…" if len(line) > LINE_BYTES else ""
    return _UNPRINTABLE.sub("", line[:LINE_BYTES].decode(errors="replace")) + cut
