"""Our ends of a process's pipes, driven by readiness callbacks of the event loop.

The loops' own pipe transports are no faster, take several turns of the loop to open
and to close, and on uvloop close the descriptor behind its file object's back. These
open and close at once: starting an instance awaits nothing, and a closed instance
holds no descriptor.
"""

import asyncio
import os
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Final

from mcpgw.units import KIB, Bytes

_READ_SIZE: Final = 64 * KIB
"""What a pipe holds by default. Larger pipes were measured: no gain at 20 MB lines."""

HIGH_WATER: Final = Bytes(64 * KIB)
"""The queue at which writers should wait, until it is empty: the pipe holds as much again."""

_MOST_BUFFERS: Final = 64
"""How many queued messages go into one system call; the system allows 1,024."""


class ReadPipe:
    """Reads `fd`, which it owns, as soon as there is something, until its end."""

    def __init__(
        self, fd: int, *, on_data: Callable[[bytes], None], on_end: Callable[[], None]
    ) -> None:
        self._fd = fd
        self._on_data = on_data
        self._on_end = on_end
        self.is_open = True
        """Whether more may follow."""
        os.set_blocking(fd, False)
        asyncio.get_running_loop().add_reader(fd, self._read)

    def close(self) -> None:
        """Stop reading, without a call of `on_end`."""
        if self.is_open:
            self.is_open = False
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)

    def _read(self) -> None:
        try:
            data = os.read(self._fd, _READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._on_data(data)
        else:
            self.close()
            self._on_end()


class WritePipe:
    """Writes to `fd`, which it owns, and queues what its reader does not take yet."""

    def __init__(self, fd: int, *, on_broken: Callable[[], None]) -> None:
        self._fd = fd
        self._on_broken = on_broken
        self._queue: deque[memoryview] = deque()
        self._queued = 0
        self._is_fd_open = True
        self.is_open = True
        """Whether there is somebody to write to, as far as is known."""
        self.writable: Final = asyncio.Event()
        """Cleared while more is queued than should be; set for good when closed."""
        self.writable.set()
        os.set_blocking(fd, False)

    def write(self, data: bytes) -> None:
        """Write or queue `data`; the queue has no bound but what waiting for `writable` gives it.

        Raises:
            BrokenPipeError: The reader has gone; `on_broken` was not called.
        """
        if not self._queue:
            written = self._send([data])
            if written == len(data):
                return
            asyncio.get_running_loop().add_writer(self._fd, self._flush)
            self._append(memoryview(data)[written:])
        else:
            self._append(memoryview(data))

    def close(self) -> None:
        """Close once the queue is written."""
        self.is_open = False
        self.writable.set()
        if not self._queue:
            self.abort()

    def abort(self) -> None:
        """Close at once."""
        self.is_open = False
        self.writable.set()
        if self._is_fd_open:
            self._is_fd_open = False
            if self._queue:
                self._queue.clear()
                asyncio.get_running_loop().remove_writer(self._fd)
            os.close(self._fd)

    def _append(self, data: memoryview) -> None:
        self._queue.append(data)
        self._queued += len(data)
        if self._queued > HIGH_WATER:
            self.writable.clear()

    def _flush(self) -> None:
        try:
            written = self._send(list(islice(self._queue, _MOST_BUFFERS)))
        except BrokenPipeError:
            self.abort()
            self._on_broken()
            return
        self._queued -= written
        while self._queue and written >= len(self._queue[0]):
            written -= len(self._queue.popleft())
        if not self._queue:
            asyncio.get_running_loop().remove_writer(self._fd)
            if not self.is_open:
                self.abort()
            self.writable.set()
        else:
            self._queue[0] = self._queue[0][written:]

    def _send(self, buffers: "list[bytes] | list[memoryview]") -> int:
        try:
            return os.writev(self._fd, buffers)
        except BlockingIOError:
            return 0
