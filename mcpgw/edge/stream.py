"""Event streams that never hold anybody up but their own reader."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from aiohttp_sse import EventSourceResponse

from mcpgw.edge.large import SEND_TIMEOUT, SLICE, Large, Message, Watchdog
from mcpgw.units import KIB, Bytes, Seconds

_BATCH: Final = 64 * KIB
"""How much of what waits goes into one write."""

RETRY_MS: Final = 1000
"""How long a client should wait before it resumes: what the official clients take for the
first time by themselves."""


class EventStream(EventSourceResponse):
    """An event stream of ready-made JSON: no decoding, no splitting into lines.

    JSON needs no line breaks, so each message is one ``data:`` line; keep-alive comments
    never fall between the slices of a large one. A carriage return, legal between JSON
    values, ends a line in an event, so it is sent as a space.
    """

    def __init__(
        self,
        *,
        keep_alive: Seconds,
        headers: Mapping[str, str] | None = None,
        send_timeout: Seconds = SEND_TIMEOUT,
    ) -> None:
        super().__init__(
            headers=headers,
            sep="\n",
            allow_all_methods=True,
            send_timeout=send_timeout,
            ping_interval=keep_alive,
        )
        self.headers["Cache-Control"] = "no-cache, no-transform"
        self._watchdog = Watchdog(self._abort_transport, send_timeout)

    async def send_message(self, message: bytes, *, event: str | None = None) -> None:
        """Send one message as one event.

        Raises:
            ConnectionError: The reader is gone, or took nothing for too long.
        """
        name = b"" if event is None else b"event: %b\n" % event.encode()
        with self._watchdog:
            await self.write(b"%bdata: %b\n\n" % (name, message.replace(b"\r", b" ")))

    async def send_prime(self, id: str) -> None:
        """Send an event without data, by whose id a client can resume, and how soon it should.

        Raises:
            ConnectionError: The reader is gone, or took nothing for too long.
        """
        with self._watchdog:
            await self.write(b"id: %b\nretry: %d\ndata: \n\n" % (id.encode(), RETRY_MS))

    async def send_messages(self, messages: Sequence[bytes]) -> None:
        """Send JSON messages, each as one event, in one write.

        Raises:
            ConnectionError: The reader is gone, or took nothing for too long.
        """
        frames = b"data: %b\n\n" % b"\n\ndata: ".join(messages)
        with self._watchdog:
            await self.write(frames.replace(b"\r", b" "))

    async def send_large(self, message: Large) -> None:
        """Send one large JSON message as one event, slice by slice.

        Raises:
            ConnectionError: The reader is gone, or took nothing for too long.
        """
        with self._watchdog:
            await self.write(b"data: ")
            for part in message.slices():
                self._watchdog.write_begins()
                await self.write(part.tobytes().replace(b"\r", b" "))
                await asyncio.sleep(0)  # for as long as the system takes it, writes do not wait
            await self.write(b"\n\n")

    async def write_eof(self, data: bytes = b"") -> None:
        """End the stream; a reader who does not take the end is given up."""
        try:
            with self._watchdog:
                await super().write_eof(data)
        finally:
            self._watchdog.close()

    def stop_streaming(self) -> None:
        """Send no more comments."""
        super().stop_streaming()
        self._watchdog.close()

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(self._ping_interval)
            if self._watchdog.is_watching:
                continue
            try:
                async with asyncio.timeout(self._send_timeout):
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
        self._items: deque[Message] = deque()
        self._size = 0
        self._wake = asyncio.Event()
        self._closed = False
        self.given_up = False
        """Set when the reader must be dropped: it is too slow, or another took its place."""
        self.on_given_up: Callable[[], None] | None = None
        """Drops the reader, for whom the pump may be waiting."""

    @property
    def is_full(self) -> bool:
        """Whether so much waits that nothing more should be added, not even an answer."""
        return self._size > self._limit

    def put(self, message: Message) -> None:
        """Add a message; when there is no room, give the reader up instead."""
        if self._closed:
            return
        if self._size + len(message) > self._limit:
            self.give_up()
            return
        self._append(message)

    def answer(self, message: Message) -> None:
        """Add an answer, whatever its size: it is held in memory already."""
        if not self._closed:
            self._append(message)

    def catch_up(self, messages: Sequence[Message]) -> None:
        """Add what a reader missed, which leaves as much room for the rest as there was.

        It had no time yet to be slow.
        """
        for message in messages:
            self._limit = Bytes(self._limit + len(message))
            self._append(message)

    def close(self) -> None:
        """Let the pump end once everything is sent."""
        self._closed = True
        self._wake.set()

    def give_up(self) -> None:
        """Have the reader dropped; what waits for it is not sent."""
        self.given_up = True
        self._items.clear()
        self.close()
        if self.on_given_up is not None:
            self.on_given_up()

    async def pump(self, stream: EventStream) -> None:
        """Send what is put, until closed.

        Raises:
            ConnectionError: The reader is gone, or took nothing for too long.
        """
        while True:
            while self._items:
                message = self._take()
                if isinstance(message, Large):
                    await stream.send_large(message)
                else:
                    await stream.send_messages(message)
            if self._closed:
                return
            self._wake.clear()
            await self._wake.wait()

    def _take(self) -> Large | list[bytes]:
        """The next large message, or as many small ones as go into one write."""
        taken: list[bytes] = []
        room: int = _BATCH
        while self._items:
            message = self._items[0]
            if taken and (isinstance(message, Large) or len(message) > room):
                break
            self._items.popleft()
            self._size -= len(message)
            if isinstance(message, Large):
                return message
            room -= len(message)
            taken.append(message)
        return taken

    def _append(self, message: Message) -> None:
        if isinstance(message, bytes) and len(message) > SLICE:
            message = Large(message)
        self._items.append(message)
        self._size += len(message)
        self._wake.set()
