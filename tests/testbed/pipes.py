"""Lines of a subprocess, each awaited for a bounded time."""

import queue
import threading
from typing import IO


class Lines:
    """Reads a pipe to its end in a thread of its own, so that nobody who writes to it blocks."""

    def __init__(self, pipe: IO[str]) -> None:
        self._pipe = pipe
        self._queue: queue.Queue[str | None] = queue.Queue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def next(self, within: float) -> str | None:
        """The next line without its end, or None at the end of the pipe.

        Raises:
            TimeoutError: Nothing came in time.
        """
        try:
            line = self._queue.get(timeout=within)
        except queue.Empty:
            raise TimeoutError(f"no line within {within} s") from None
        if line is None:
            self._queue.put(None)  # the end stays the end
        return line

    def close(self) -> None:
        """Wait for the end of the pipe, which its process must have closed, and close our end."""
        self._thread.join(timeout=5)
        self._pipe.close()

    def _read(self) -> None:
        for line in self._pipe:
            self._queue.put(line.rstrip("\n"))
        self._queue.put(None)
