"""Messages and descriptors between the gateway and its runner, on one Unix socket.

A connection is for one instance, from its start to its end, or for one question. The
socket keeps the bounds of messages (SOCK_SEQPACKET), so there is no framing to get wrong.

=================  =========================================================================
to the runner      ``{"start": server}``, then ``{"look"|"kill"|"stop": true}``; or
                   ``{"status": true}``
from the runner    ``{"started": {"label", "carrier"}}`` with the descriptors, or
                   ``{"failed": {"kind", "text", "retry_after", "stderr"}}``; then
                   ``{"exited": [reason, code]}`` and ``{"stopped": true}``; ``{"status": ...}``
=================  =========================================================================

There is no way to say what is started but the name of a tool that the runner's own
configuration has: no image, program, argument, mount or variable.
"""

import asyncio
import json
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from mcpgw.units import KIB

LONGEST: Final = 64 * KIB
"""The longest message, in bytes."""

MOST_FDS: Final = 3

Message = dict[str, Any]


class Channel:
    """One connection, whose socket it owns. The callbacks must neither block nor raise."""

    def __init__(
        self,
        sock: socket.socket,
        on_message: Callable[[Message, list[int]], None],
        on_closed: Callable[[], None],
    ) -> None:
        """Take over `sock`; descriptors that come are the callback's to close."""
        self._sock = sock
        self._on_message = on_message
        self._on_closed = on_closed
        self.is_open = True
        """Whether there is somebody at the other end."""
        sock.setblocking(False)
        asyncio.get_running_loop().add_reader(sock.fileno(), self._read)

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send a message; one that cannot be sent is the end of the connection."""
        if not self.is_open:
            return
        try:
            socket.send_fds(self._sock, [json.dumps(message).encode()], list(fds))
        except OSError:
            self._end()

    def close(self) -> None:
        """Close it, without a call of `on_closed`."""
        if self.is_open:
            self.is_open = False
            asyncio.get_running_loop().remove_reader(self._sock.fileno())
            self._sock.close()

    def _read(self) -> None:
        try:
            data, fds, flags, _ = socket.recv_fds(self._sock, LONGEST, MOST_FDS)
        except BlockingIOError:
            return
        except OSError:
            data, fds, flags = b"", [], 0
        message = None if flags & socket.MSG_TRUNC else parsed(data)
        if message is None:
            close_fds(fds)
            self._end()
        else:
            self._on_message(message, fds)

    def _end(self) -> None:
        if self.is_open:
            self.close()
            self._on_closed()


def parsed(data: bytes) -> Message | None:
    """Give the message in `data`, or None if there is none."""
    try:
        message = json.loads(data)
    except ValueError:
        return None
    return message if isinstance(message, dict) else None


def close_fds(fds: Sequence[int]) -> None:
    """Close descriptors that nobody wants."""
    for fd in fds:
        with suppress(OSError):
            os.close(fd)
