"""stdio framing: one message per line.

Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/stdio
"""

from io import BytesIO

from mcpgw.units import Bytes


class LineOverflow(ValueError):
    """A line passed the limit; the stream cannot be resynchronised after this."""


class LineDecoder:
    """Cuts a byte stream into lines, however it was chunked; cost is linear in the bytes.

    A line that comes in parts is gathered in a `BytesIO`, which hands over the very bytes
    it grew: joining 20 MB at once holds the event loop for 15 ms, all of it page faults.
    """

    def __init__(self, max_line: Bytes) -> None:
        self._max_line = max_line
        self._unfinished = BytesIO()
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        r"""Take the next bytes; return the lines they complete, without line ends and blanks.

        Raises:
            LineOverflow: The line being read is longer than allowed.
        """
        lines = data.split(b"\n")
        tail = lines.pop()
        if lines and self._size:
            self._unfinished.write(lines[0])
            lines[0] = self._unfinished.getvalue()
            self._unfinished, self._size = BytesIO(), 0
        if tail:
            self._size += self._unfinished.write(tail)
        if self._size > self._max_line or any(len(line) > self._max_line for line in lines):
            raise LineOverflow(f"a line longer than {self._max_line} bytes")
        return [stripped for line in lines if (stripped := line.strip())]
