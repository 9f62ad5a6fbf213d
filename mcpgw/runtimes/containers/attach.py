"""The streams of a container: one connection to the engine that carries all three.

aiodocker opens the connection and this module takes it over, so that bytes are pushed
as they come, input can be closed while output goes on, and nothing ever stops reading:
while an attached client of a busy container does not read, the engine lets nobody stop,
remove or even look at it (moby#41827).
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Final, cast

from aiodocker.containers import DockerContainer
from aiodocker.stream import Stream

from mcpgw.runtimes.pipes import HIGH_WATER
from mcpgw.runtimes.streams import Hooks

STDOUT: Final = 1
STDERR: Final = 2
_HEADER: Final = 8


class Attachment:
    """An open connection to the streams of a container that has not been started."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    @classmethod
    async def open(cls, container: DockerContainer) -> "Attachment":
        """Attach to all streams of `container`; do it once, and before it is started."""
        stream = container.attach(stdin=True, stdout=True, stderr=True)
        attachment = cls(stream)
        try:
            # aiodocker opens at the first read or write; a first read and a first write at once
            # would open two connections.
            await stream._init()
        except BaseException:
            attachment.close()
            raise
        return attachment

    @property
    def transport(self) -> asyncio.Transport:
        """The connection."""
        response = self._stream._resp
        assert response is not None
        assert response.connection is not None
        return cast("asyncio.Transport", response.connection.transport)

    def detach(self) -> socket.socket:
        """Give the connection itself, whose owner the caller is from now on.

        Call it before the container is started: nothing has been read yet.
        """
        transport = self.transport
        transport.pause_reading()
        sock = transport.get_extra_info("socket")
        return socket.fromfd(sock.fileno(), sock.family, sock.type)

    def close(self) -> None:
        """End the connection, or our part in it if it was detached."""
        self._stream._closed = True  # or it would try to close the input of what is closed
        if self._stream._resp is not None:
            self._stream._resp.close()


class Frames:
    """Takes apart what the engine sends: stdout and stderr in frames, cut anywhere."""

    def __init__(self, stdout: Callable[[bytes], None], stderr: Callable[[bytes], None]) -> None:
        self._sinks = {STDOUT: stdout, STDERR: stderr}
        self._sink: Callable[[bytes], None] | None = None
        self._left = 0
        self._header = b""

    def feed(self, data: bytes) -> None:
        """Take the next bytes, and pass on at once what of them is output."""
        at = 0
        while at < len(data):
            if self._left:
                piece = data[at : at + self._left]
                self._left -= len(piece)
                at += len(piece)
                if self._sink is not None:
                    self._sink(piece)
            else:
                needed = _HEADER - len(self._header)
                self._header += data[at : at + needed]
                at += needed
                if len(self._header) == _HEADER:
                    self._sink = self._sinks.get(self._header[0])
                    self._left = int.from_bytes(self._header[4:])
                    self._header = b""


class AttachStreams(asyncio.Protocol):
    """The three streams on one connection, which it owns; see `Streams`."""

    _transport: asyncio.Transport

    def __init__(self, hooks: Hooks, release: Callable[[], None] | None = None) -> None:
        self._hooks = hooks
        self._release = release
        self._frames = Frames(self._take_output, hooks.stderr)
        self._muted = False
        self.is_open = True
        """Whether more may come."""
        self.takes_input = True
        """Whether there is somebody to write to, as far as is known."""
        self.writable = asyncio.Event()
        """Cleared while more is queued than should be; set for good when closed."""
        self.writable.set()

    def take_over(self, transport: asyncio.Transport) -> None:
        """Make `transport`, which was somebody else's, the connection."""
        transport.set_protocol(self)
        self.connection_made(transport)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=HIGH_WATER, low=0)

    @property
    def has_output(self) -> bool:
        """See `Streams`."""
        return self.is_open and not self._muted

    @property
    def has_errors(self) -> bool:
        """See `Streams`."""
        return self.is_open

    def write(self, data: bytes) -> None:
        """See `Streams`."""
        if not self.is_open or self._transport.is_closing():
            raise BrokenPipeError
        self._transport.write(data)

    def close_stdin(self) -> None:
        """See `Streams`. Over TLS only both directions can be closed."""
        if not self.takes_input:
            return
        self._end_input()
        if not self._transport.is_closing():
            if self._transport.can_write_eof():
                self._transport.write_eof()
            else:
                self._transport.close()

    def abort_stdin(self) -> None:
        """See `Streams`."""
        self._end_input()

    def close_stdout(self) -> None:
        """See `Streams`. What still comes is read, and dropped."""
        self._muted = True

    def close(self) -> None:
        """See `Streams`."""
        self.is_open = False
        self._end_input()
        self._transport.abort()
        if self._release is not None:
            self._release()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._frames.feed(data)

    def eof_received(self) -> bool:
        """See `asyncio.Protocol`."""
        self._end()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._end()

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        if self.takes_input:
            self.writable.clear()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.writable.set()

    def _take_output(self, data: bytes) -> None:
        if not self._muted:
            self._hooks.stdout(data)

    def _end_input(self) -> None:
        self.takes_input = False
        self.writable.set()

    def _end(self) -> None:
        if self.is_open:
            self.is_open = False
            self._end_input()
            self._hooks.ended()
