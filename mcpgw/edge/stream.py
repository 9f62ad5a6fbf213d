"""Event streams that never hold anybody up but their own reader."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from aiohttp_sse import EventSourceResponse

from mcpgw.units import Bytes, Seconds

_SLICE: Final = 256 * 1024
"""Large events are written in slices, so that the loop turns between them."""

SEND_TIMEOUT: Final = Seconds(120)
"""How long one write may wait for a reader that takes nothing."""


class EventStream(EventSourceResponse):
    """An event stream of ready-made JSON: no decoding, no splitting into lines.

    JSON needs no line breaks, so each message is one ``data:`` line; keep-alive comments
    never fall between the slices of a large one.
    """

    def __init__(self, *, keep_alive: Seconds, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(
            headers=headers,
            sep="\n",
            allow_all_methods=True,
            send_timeout=SEND_TIMEOUT,
            ping_interval=keep_alive,
        )
        self.headers["Cache-Control"] = "no-cache, no-transform"
        self._sending = False

    async def send_message(self, message: bytes, *, event: str | None = None) -> None:
        """Send one JSON message as one event.

        Raises:
            ConnectionError: The reader is gone.
            TimeoutError: The reader takes nothing; the connection was aborted.
        """
        if b"\r" in message:  # legal between JSON values, but a line end to SSE
            message = message.replace(b"\r", b" ")
        head = b"data: " if event is None else b"event: %b\ndata: " % event.encode()
        self._sending = True
        try:
            await self._send_slices(b"".join((head, message, b"\n\n")))
        finally:
            self._sending = False

    async def _send_slices(self, frame: bytes) -> None:
        try:
            async with asyncio.timeout(SEND_TIMEOUT):
                if len(frame) <= _SLICE:
                    await self.write(frame)
                    return
                view = memoryview(frame)
                for start in range(0, len(view), _SLICE):
                    await self.write(view[start : start + _SLICE])
        except TimeoutError:
            self._abort_transport()
            raise

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(self._ping_interval)
            if self._sending:
                continue
            try:
                async with asyncio.timeout(SEND_TIMEOUT):
                    await self.write(b": keep-alive\n\n")
            except TimeoutError:
                self._abort_transport()
                return
            except (ConnectionError, RuntimeError):  # gone, or already ended
                return


class Outbox:
    """Messages on their way to one reader: bounded, filled from callbacks, emptied by one pump."""

    def __init__(self, limit: Bytes) -> None:
        self._limit = limit
        self._items: deque[bytes] = deque()
        self._size = 0
        self._wake = asyncio.Event()
        self._closed = False
        self.overflowed = False
        """Set when a message found no room: the reader is too slow and must be dropped."""
        self.on_overflow: Callable[[], None] | None = None
        """Drops the reader, for whom the pump may be waiting."""

    @property
    def is_full(self) -> bool:
        """Whether so much waits that nothing more should be added, not even an answer."""
        return self._size > self._limit

    def put(self, message: bytes) -> None:
        """Add a message; when there is no room, give the reader up instead."""
        if self._closed:
            return
        if self._size + len(message) > self._limit:
            self._overflow()
            return
        self._append(message)

    def answer(self, message: bytes) -> None:
        """Add an answer, whatever its size: it is held in memory already."""
        if not self._closed:
            self._append(message)

    def close(self) -> None:
        """Let the pump end once everything is sent."""
        self._closed = True
        self._wake.set()

    async def pump(self, stream: EventStream) -> None:
        """Send what is put, until closed.

        Raises:
            ConnectionError: The reader is gone.
            TimeoutError: The reader takes nothing.
        """
        while True:
            while self._items:
                message = self._items.popleft()
                self._size -= len(message)
                await stream.send_message(message)
            if self._closed:
                return
            self._wake.clear()
            await self._wake.wait()

    def _overflow(self) -> None:
        self.overflowed = True
        self._items.clear()
        self.close()
        if self.on_overflow is not None:
            self.on_overflow()

    def _append(self, message: bytes) -> None:
        self._items.append(message)
        self._size += len(message)
        self._wake.set()
