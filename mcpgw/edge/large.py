"""Large messages: never joined, written in slices, so that they hold nobody up.

Joining 20 MB holds the event loop for 15 ms, nearly all of it page faults.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from aiohttp import web
from msgspec import Raw

from mcpgw.protocol.messages import Outcome, Result, dump_response
from mcpgw.units import KIB, Seconds

SLICE: Final = 256 * KIB
"""What is written before others have their turn; a message beyond it counts as large."""

SEND_TIMEOUT: Final = Seconds(120)
"""How long one write may wait for a reader that takes nothing."""


class Large:
    """A large message in pieces."""

    def __init__(self, *pieces: bytes | memoryview) -> None:
        self._pieces = pieces
        self._size = sum(len(piece) for piece in pieces)

    def __len__(self) -> int:
        return self._size

    def followed_by(self, tail: bytes) -> "Large":
        """The same with more behind it; nothing is copied."""
        return Large(*self._pieces, tail)

    def slices(self) -> Iterator[memoryview]:
        """All of it, no slice larger than `SLICE`."""
        for piece in self._pieces:
            view = memoryview(piece)
            for start in range(0, len(view), SLICE):
                yield view[start : start + SLICE]


Message: TypeAlias = bytes | Large


def response_message(id: bytes, outcome: Outcome) -> Message:
    """One response, in pieces if it is large."""
    if not isinstance(outcome, Result) or len(value := memoryview(outcome.value)) <= SLICE:
        return dump_response(id, outcome)
    around = dump_response(id, Result(Raw(b"")))
    return Large(around[:-1], value, around[-1:])


class Watchdog:
    """Calls `abort` when one write waits longer than `patience`.

    One timer serves all the writes of a response; `asyncio.timeout` would make one for each.
    """

    def __init__(self, abort: Callable[[], None], patience: Seconds) -> None:
        self._abort = abort
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._since: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_watching(self) -> bool:
        """Whether something is being written."""
        return self._since is not None

    def __enter__(self) -> None:
        self.write_begins()

    def __exit__(self, *exc_info: object) -> None:
        self._since = None

    def write_begins(self) -> None:
        """Count from now on."""
        self._since = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_at(self._since + self._patience, self._check)

    def close(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        self._timer = None
        if self._since is None:
            return
        due = self._since + self._patience
        if due <= self._loop.time():
            self._abort()
        else:
            self._timer = self._loop.call_at(due, self._check)


class LargeResponse(web.StreamResponse):
    """A large message as the body of a response, with its length in the headers."""

    def __init__(self, message: Large, *, send_timeout: Seconds = SEND_TIMEOUT) -> None:
        super().__init__()
        self.content_type = "application/json"
        self.content_length = len(message)
        self._message: Large | None = message
        self._send_timeout = send_timeout

    async def write_eof(self, data: bytes = b"") -> None:
        """Write the message; the server calls this once the headers are out.

        Raises:
            ConnectionError: The reader is gone, or took nothing for too long.
        """
        message, self._message = self._message, None
        if message is not None:
            await self._write_slices(message)
        await super().write_eof(data)

    async def _write_slices(self, message: Large) -> None:
        watchdog = Watchdog(self._give_up, self._send_timeout)
        try:
            for part in message.slices():
                watchdog.write_begins()
                await self.write(part)
                await asyncio.sleep(0)  # for as long as the system takes it, writes do not wait
        finally:
            watchdog.close()

    def _give_up(self) -> None:
        if self._req is not None and self._req.transport is not None:
            self._req.transport.abort()
