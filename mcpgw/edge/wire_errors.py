"""What a client sees of each error. The only place that pairs an exception with a status code.

JSON-RPC codes: MCP reserves -32020..-32099 for itself, retires -32000..-32019 and asks
for new codes outside -32768..-32000, so the gateway's own are -31000 and down. A client
can therefore tell our errors from its server's.
Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic#error-codes

HTTP status: it speaks of the gateway, the JSON-RPC error of the request. What broke
after a server had the request is a 200 with an error inside. In a legacy session every
answer to a request is: the widespread clients drop the whole session, and our words
with it, on any other status.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mcpgw import errors
from mcpgw.protocol import codes
from mcpgw.protocol.messages import Failure, failure


@dataclass(frozen=True, slots=True)
class WireError:
    """One row: what goes on the wire."""

    status: int
    code: int
    says: str | None = None
    """What a stranger is told; None when the exception's own message is fit for anybody."""


INTERNAL_TEXT: Final = "internal error of the gateway"

INTERNAL: Final = WireError(500, codes.INTERNAL_ERROR, INTERNAL_TEXT)

WIRE_ERRORS: Final[Mapping[type[errors.GatewayError], WireError]] = {
    errors.Unauthenticated: WireError(401, -31001),
    errors.TooManyCredentials: WireError(400, -31000),
    errors.Forbidden: WireError(403, -31002),
    errors.UnknownServer: WireError(404, -31003),
    errors.UnknownMethod: WireError(404, codes.METHOD_NOT_FOUND),
    errors.NotBridged: WireError(404, codes.METHOD_NOT_FOUND),
    errors.UnknownSession: WireError(404, -31006),
    # Not 404, which tells a client that its session ended, nor 405, on which TypeScript
    # clients stop without a word. On a 400 the official clients try once or twice more and
    # then give the stream up, not the session; VS Code opens no further stream.
    errors.EventsGone: WireError(400, -31009),
    errors.DuplicateId: WireError(400, codes.INVALID_REQUEST),
    errors.SessionLimit: WireError(429, -31004),
    errors.QueueFull: WireError(429, -31005),
    errors.TooManySuspended: WireError(429, -31007),
    errors.TooManyListens: WireError(429, -31008),
    errors.StartFailed: WireError(
        503, -31010, "the server could not be started; the gateway's log says why"
    ),
    errors.EngineUnavailable: WireError(
        503, -31013, "the container engine does not answer; the gateway's log says why"
    ),
    errors.ImageUnavailable: WireError(
        503, -31014, "the server's image is not there, or not yet; the gateway's log says why"
    ),
    errors.QueueTimeout: WireError(503, -31011),
    errors.ShuttingDown: WireError(503, -31012),
    errors.InstanceExited: WireError(200, -31020),
    errors.LineTooLong: WireError(200, -31021),
    errors.ProtocolViolation: WireError(200, -31022),
    errors.DeadlineExceeded: WireError(200, -31030),
}

CANCELLED: Final = -31040
"""The answer to a request that its own client cancelled, where no answer is not possible."""


_LAST_WORDS: Final = 200
"""How much of a server's last stderr line goes into the text of an error."""


def to_wire(exc: BaseException) -> WireError:
    """The row for `exc`: its own, or its nearest ancestor's, or the internal error."""
    for cls in type(exc).__mro__:
        if (row := WIRE_ERRORS.get(cls)) is not None:
            return row
    return INTERNAL


def to_failure(exc: BaseException, *, local: bool) -> Failure:
    """The JSON-RPC error for `exc`.

    `local` readers, on this machine with no proxy between, are told everything, the
    server's last stderr lines included; a stranger is not, since it may name paths.
    """
    row = to_wire(exc)
    if not isinstance(exc, errors.GatewayError):
        return failure(row.code, row.says or INTERNAL_TEXT)
    data: dict[str, object] = {}
    text = str(exc) if local or row.says is None else row.says
    if exc.retry_after is not None:
        data["retryAfter"] = round(exc.retry_after, 1)
    if exc.stderr and local:
        data["stderr"] = list(exc.stderr)
        text += f"; its last words: {exc.stderr[-1][:_LAST_WORDS]}"  # few clients show data
    return failure(row.code, text, data or None)


SERVER_ERROR_STATUS: Final[Mapping[int, int]] = {
    codes.METHOD_NOT_FOUND: 404,
    codes.HEADER_MISMATCH: 400,
    codes.MISSING_CAPABILITY: 400,
    codes.UNSUPPORTED_VERSION: 400,
}
"""The HTTP status of a modern answer that is one of these errors; 200 for any other (MUST)."""
