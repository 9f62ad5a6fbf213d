"""stdio framing: one message per line.

Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/stdio
"""

from mcpgw.units import Bytes


class LineOverflow(ValueError):
    """A line passed the limit; the stream cannot be resynchronised after this."""


class LineDecoder:
    """Cuts a byte stream into lines, however it was chunked; cost is linear in the bytes."""

    def __init__(self, max_line: Bytes) -> None:
        self._max_line = max_line
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        r"""Take the next bytes; return the lines they complete, without line ends and blanks.

        Raises:
            LineOverflow: The line being read is longer than allowed.
        """
        lines = data.split(b"\n")
        tail = lines.pop()
        if lines and self._parts:
            self._parts.append(lines[0])
            lines[0] = b"".join(self._parts)
            self._parts.clear()
            self._size = 0
        if tail:
            self._parts.append(tail)
            self._size += len(tail)
        if self._size > self._max_line or any(len(line) > self._max_line for line in lines):
            raise LineOverflow(f"a line longer than {self._max_line} bytes")
        return [stripped for line in lines if (stripped := line.strip())]
