"""The gateway's end of one stdio pipe, without the pipe.

Many clients may share one pipe, and every client is free to call its first
request `1`. So requests travel under ids minted here (`WireId`), and progress
tokens are replaced by words that nobody outside can guess: a client that smuggles
a token of its own past us still cannot name another client's request.
"""

from collections.abc import Iterator
from typing import NewType, TypeAlias

from msgspec import Raw, Struct

from mcpgw.protocol.framing import LineDecoder
from mcpgw.protocol.messages import (
    InvalidMessage,
    Notification,
    Outcome,
    Request,
    Response,
    dump_notification,
    dump_request,
    dump_response,
    id_key,
    parse,
    parse_batch,
)
from mcpgw.protocol.meta import PROGRESS_TOKEN, SUBSCRIPTION_ID, meta_of
from mcpgw.protocol.methods import CANCELLED, LISTEN, PROGRESS
from mcpgw.protocol.rawjson import Fields, decode_text, encode, object_or_empty
from mcpgw.units import Bytes

WireId = NewType("WireId", int)
"""The id of a request on one pipe; unique for the life of that pipe."""

_BOM = b"\xef\xbb\xbf"

_ID_DIGITS = 20
"""No pipe lives to count so far, and reading thousands of digits as a number is refused."""


class Outbound(Struct, frozen=True, gc=False):
    """A request in the server's own terms, but for its id and progress token."""

    method: str
    params: Fields
    """The parameters without `_meta`."""
    meta: Fields
    """`_meta` without the progress token."""
    token: Raw | None = None
    """The client's progress token, as it wrote it; None if it wants no progress."""


class Answered(Struct, frozen=True, gc=False):
    """The server answered `wire_id`."""

    wire_id: WireId
    outcome: Outcome


class Progressed(Struct, frozen=True, gc=False):
    """The server reported progress on `wire_id`; the params carry the client's token again."""

    wire_id: WireId
    params: Raw


class Notified(Struct, frozen=True, gc=False):
    """The server sent a notification that names no request of ours."""

    notification: Notification


class Asked(Struct, frozen=True, gc=False):
    """The server sent a request of its own (legacy revisions only)."""

    request: Request


class Withdrawn(Struct, frozen=True, gc=False):
    """The server wants no answer to a request of its own any more."""

    id: bytes
    """The id of that request, as `id_key` has it."""


class Published(Struct, frozen=True, gc=False):
    """The server sent what the subscription `wire_id` is for (modern revisions only)."""

    wire_id: WireId
    notification: Notification


class Late(Struct, frozen=True, gc=False):
    """An answer to nothing we wait for: cancelled, timed out, or never asked."""

    id: bytes


class Noise(Struct, frozen=True, gc=False):
    """The server wrote a line that is not a message."""

    line: bytes
    reason: str


Event: TypeAlias = Answered | Progressed | Notified | Asked | Withdrawn | Published | Late | Noise


class ServerConnection:
    """Correlates requests and responses on one pipe.

    Call `send_*` and write what they return; feed what you read to
    `receive_data`. Nothing here blocks.
    """

    def __init__(self, *, max_line: Bytes, token_prefix: str) -> None:
        self._lines = LineDecoder(max_line)
        self._last_id = 0
        self._pending: dict[WireId, Raw | None] = {}
        self._subscriptions: set[WireId] = set()
        self._prefix = token_prefix + "-"
        self._started = False

    @property
    def in_flight(self) -> int:
        """How many requests await an answer."""
        return len(self._pending)

    def send_request(self, outbound: Outbound) -> tuple[WireId, bytes]:
        """Register a request; return the id it travels under and the line to write."""
        self._last_id += 1
        wire_id = WireId(self._last_id)
        self._pending[wire_id] = outbound.token
        if outbound.method == LISTEN:
            self._subscriptions.add(wire_id)
        params, meta = outbound.params, outbound.meta
        if outbound.token is not None:
            meta = {**meta, PROGRESS_TOKEN: encode(f"{self._prefix}{wire_id}")}
        if meta:
            params = {**params, "_meta": encode(meta)}
        raw = encode(params) if params else None
        return wire_id, dump_request(b"%d" % wire_id, outbound.method, raw)

    def send_cancel(self, wire_id: WireId, reason: str) -> bytes:
        """Forget `wire_id`; return the cancellation to write, or nothing if already answered."""
        if wire_id not in self._pending:
            return b""
        self._forget(wire_id)
        params = encode({"requestId": wire_id, "reason": reason})
        return dump_notification(CANCELLED, params) + b"\n"

    def send_notification(self, method: str) -> bytes:
        """The line for a notification without parameters."""
        return dump_notification(method) + b"\n"

    def send_response(self, request: Request, outcome: Outcome) -> bytes:
        """The line that answers a request of the server's."""
        return dump_response(request.id, outcome) + b"\n"

    def receive_data(self, data: bytes) -> list[Event]:
        """Take bytes the server wrote; return what they mean, in order.

        Raises:
            LineOverflow: The pipe is beyond repair; kill the instance.
        """
        return [event for line in self._lines.feed(data) for event in self._receive_line(line)]

    def _receive_line(self, line: bytes) -> Iterator[Event]:
        if not self._started:
            self._started = True
            line = line.removeprefix(_BOM)
        if line[:1] == b"[":  # a 2025-03-26 server may batch
            yield from self._receive_batch(line)
        else:
            yield self._receive_message(line)

    def _receive_batch(self, line: bytes) -> Iterator[Event]:
        try:
            items = parse_batch(line)
        except InvalidMessage as exc:
            yield Noise(line, str(exc))
            return
        for item in items:
            yield self._receive_message(bytes(item))

    def _receive_message(self, line: bytes) -> Event:
        try:
            message = parse(line)
        except InvalidMessage as exc:
            return Noise(line, str(exc))
        if isinstance(message, Response):
            return self._answered(message)
        if isinstance(message, Request):
            return Asked(message)
        if message.method == PROGRESS:
            return self._progressed(message)
        if message.method == CANCELLED:
            id = object_or_empty(message.params).get("requestId")
            return Withdrawn(id_key(bytes(id or b"")))
        return self._notified(message)

    def _notified(self, notification: Notification) -> Event:
        if self._subscriptions:
            named = meta_of(object_or_empty(notification.params)).get(SUBSCRIPTION_ID)
            wire_id = _wire_id(bytes(named)) if named is not None else None
            if wire_id is not None and wire_id in self._subscriptions:
                return Published(wire_id, notification)
        return Notified(notification)

    def _answered(self, response: Response) -> Event:
        id = response.id or b""
        wire_id = _wire_id(id)
        if wire_id is None or wire_id not in self._pending:
            return Late(id)
        self._forget(wire_id)
        return Answered(wire_id, response.outcome)

    def _forget(self, wire_id: WireId) -> None:
        del self._pending[wire_id]
        self._subscriptions.discard(wire_id)

    def _progressed(self, notification: Notification) -> Event:
        params = object_or_empty(notification.params)
        word = decode_text(params[PROGRESS_TOKEN]) if PROGRESS_TOKEN in params else None
        number = word.removeprefix(self._prefix) if word and word.startswith(self._prefix) else ""
        wire_id = _wire_id(number.encode())
        token = self._pending.get(wire_id) if wire_id is not None else None
        if wire_id is None or token is None:
            return Notified(notification)
        params[PROGRESS_TOKEN] = token
        return Progressed(wire_id, encode(params))


def _wire_id(text: bytes) -> WireId | None:
    """The id that the digits are, if one of ours can be so long."""
    return WireId(int(text)) if text.isdigit() and len(text) < _ID_DIGITS else None
