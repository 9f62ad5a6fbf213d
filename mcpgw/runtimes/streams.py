"""The three streams of an instance, whatever carries them."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from mcpgw.runtimes.pipes import ReadPipe, WritePipe


@dataclass(frozen=True, slots=True)
class Hooks:
    """Who is called when something happens on the streams; none of them may block or raise."""

    stdout: Callable[[bytes], None]
    stderr: Callable[[bytes], None]
    ended: Callable[[], None]
    """One of the two has ended."""

    stdin_broke: Callable[[], None]
    """The server will not read any more."""


class Streams(Protocol):
    """What goes in and comes out; data is pushed to `Hooks`."""

    @property
    def writable(self) -> asyncio.Event:
        """Cleared while more is queued than should be; set for good when stdin is closed."""

    @property
    def takes_input(self) -> bool:
        """Whether there is somebody to write to, as far as is known."""

    @property
    def has_output(self) -> bool:
        """Whether more may come on stdout."""

    @property
    def has_errors(self) -> bool:
        """Whether more may come on stderr."""

    def write(self, data: bytes) -> None:
        """Write or queue `data`.

        Raises:
            BrokenPipeError: There is nobody to read it; `Hooks.stdin_broke` was not called.
        """

    def close_stdin(self) -> None:
        """Let the server read what is queued, and then the end."""

    def abort_stdin(self) -> None:
        """Forget what is queued; nothing is written any more."""

    def close_stdout(self) -> None:
        """Take no more output, without a call of `Hooks.ended`."""

    def close(self) -> None:
        """Let go of everything."""


class PipeStreams:
    """Three pipes, whose descriptors it owns; see `Streams`."""

    def __init__(self, stdin: int, stdout: int, stderr: int, hooks: Hooks) -> None:
        # stderr comes first: a server that fails explains itself there.
        self._stderr = ReadPipe(stderr, on_data=hooks.stderr, on_end=hooks.ended)
        self._stdout = ReadPipe(stdout, on_data=hooks.stdout, on_end=hooks.ended)
        self._stdin = WritePipe(stdin, on_broken=hooks.stdin_broke)
        self.writable = self._stdin.writable

    @property
    def takes_input(self) -> bool:
        """See `Streams`."""
        return self._stdin.is_open

    @property
    def has_output(self) -> bool:
        """See `Streams`."""
        return self._stdout.is_open

    @property
    def has_errors(self) -> bool:
        """See `Streams`."""
        return self._stderr.is_open

    def write(self, data: bytes) -> None:
        """See `Streams`."""
        self._stdin.write(data)

    def close_stdin(self) -> None:
        """See `Streams`."""
        self._stdin.close()

    def abort_stdin(self) -> None:
        """See `Streams`."""
        self._stdin.abort()

    def close_stdout(self) -> None:
        """See `Streams`."""
        self._stdout.close()

    def close(self) -> None:
        """See `Streams`."""
        self._stdin.abort()
        self._stdout.close()
        self._stderr.close()
