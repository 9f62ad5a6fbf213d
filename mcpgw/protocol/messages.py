"""The JSON-RPC messages of MCP: the envelope decoded, the contents left as bytes.

Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic#messages
"""

import re
from typing import Any, Final, Literal, NewType, TypeAlias

import msgspec
from msgspec import Raw, Struct

from mcpgw.protocol.rawjson import (
    NotJson,
    decode_array,
    decode_object,
    decode_text,
    encode,
    first_byte,
    is_json,
    is_utf8,
)
from mcpgw.units import KIB

RequestId = NewType("RequestId", bytes)
"""A request id exactly as its sender wrote it: ``1`` is not ``"1"``."""

EMPTY: Final = Raw(b"{}")

_LARGE: Final = 256 * KIB
"""Beyond this a response is cut open at both ends instead of being scanned: a megabyte of
small values takes the decoder 1.4 ms, 20 MB 40 ms, during which nobody else is served."""


class InvalidMessage(ValueError):
    """The bytes are not a JSON-RPC 2.0 message that MCP allows."""

    def __init__(self, reason: str, *, id: RequestId | None = None, is_json: bool = True) -> None:
        super().__init__(reason)
        self.id = id
        """The id of the broken request, if it could be read."""
        self.is_json = is_json


class Request(Struct, frozen=True, gc=False):
    """Asks for a response with the same id."""

    id: RequestId
    method: str
    params: Raw | None = None


class Notification(Struct, frozen=True, gc=False):
    """Is never answered."""

    method: str
    params: Raw | None = None


class Result(Struct, frozen=True, gc=False):
    """The contents of a response to a request that worked."""

    value: Raw


class Failure(Struct, frozen=True, gc=False):
    """The contents of a response to a request that did not: the error object."""

    error: Raw

    @property
    def code(self) -> int:
        """The error code; -32603 when the sender gave none."""
        raw = decode_object(self.error).get("code")
        try:
            return int(bytes(raw)) if raw is not None else -32603
        except ValueError:
            return -32603

    @property
    def message(self) -> str:
        """The error message."""
        raw = decode_object(self.error).get("message")
        return (decode_text(raw) if raw is not None else None) or "unknown error"


Outcome: TypeAlias = Result | Failure


class Response(Struct, frozen=True, gc=False):
    """Answers the request of the same id; `id` is None when the request could not be read."""

    id: RequestId | None
    outcome: Outcome


Message: TypeAlias = Request | Notification | Response


def failure(code: int, message: str, data: Any = None) -> Failure:
    """Build an error outcome of the gateway's own."""
    error = {"code": code, "message": message}
    return Failure(encode(error if data is None else {**error, "data": data}))


def parse(line: bytes | Raw) -> Message:
    """Read one message.

    Raises:
        InvalidMessage: Not JSON, not an object, or none of the three shapes.
    """
    if len(line := bytes(line)) > _LARGE and (cut := _cut_open(line)) is not None:
        return cut
    if not is_utf8(line):
        raise InvalidMessage("not UTF-8", is_json=False)
    try:
        return _shape(_ENVELOPE.decode(line))
    except (msgspec.MsgspecError, RecursionError):
        return _shape(_read_envelope(line))


def parse_batch(body: bytes | Raw) -> list[Raw]:
    """Open a batch (2025-03-26 only); the messages are not looked at.

    Raises:
        InvalidMessage: Not an array, or an empty one.
    """
    try:
        items = decode_array(body)
    except NotJson as exc:
        raise InvalidMessage(f"not JSON: {exc}", is_json=False) from None
    if not items:
        raise InvalidMessage("an empty batch")
    return items


def dump_request(id: bytes, method: str, params: Raw | None) -> bytes:
    """One request as one line, newline included."""
    written = one_line(_params(params))
    return b'{"jsonrpc":"2.0","id":%b,"method":%b%b}\n' % (id, _text(method), written)


def dump_notification(method: str, params: Raw | None = None) -> bytes:
    """One notification, no newline: for a pipe add one, for an event none is wanted."""
    return b'{"jsonrpc":"2.0","method":%b%b}' % (_text(method), _params(params))


def dump_response(id: bytes | None, outcome: Outcome) -> bytes:
    """One response, no newline. Without an id the key is absent, as the 2025-11-25 schema asks."""
    head = b'{"jsonrpc":"2.0"' if id is None else b'{"jsonrpc":"2.0","id":' + id
    if isinstance(outcome, Result):
        return b"".join((head, b',"result":', outcome.value, b"}"))
    return b"".join((head, b',"error":', outcome.error, b"}"))


def one_line(json: bytes) -> bytes:
    """The same JSON without line breaks, which may stand between its values.

    Clients may indent what they send; on a pipe, or in an event, each line would be read
    as a message of its own.
    """
    if b"\n" in json:
        json = json.replace(b"\n", b" ")
    return json.replace(b"\r", b" ") if b"\r" in json else json


def id_key(id: bytes) -> bytes:
    r"""Equal for equal ids however they were spelt: ``"a"`` and ``"\u0061"``."""
    if id[:1] == b'"' and b"\\" in id and (text := decode_text(id)) is not None:
        return bytes(encode(text))
    return id


_ABSENT: Final = Raw(b"")


class _Envelope(Struct, gc=False):
    """A message opened one level deep, whichever it is."""

    jsonrpc: Literal["2.0"]
    id: Raw = _ABSENT
    method: str = ""
    params: Raw = _ABSENT
    result: Raw = _ABSENT
    error: Raw = _ABSENT


_ENVELOPE: Final = msgspec.json.Decoder(_Envelope)


def _read_envelope(line: bytes) -> _Envelope:
    """Read what the decoder would not, or say what is wrong with it."""
    try:
        fields = decode_object(line)
    except NotJson as exc:
        raise InvalidMessage(f"not a JSON object: {exc}", is_json=is_json(line)) from None
    id = fields.get("id", _ABSENT)
    if (version := fields.get("jsonrpc")) is None or bytes(version) != b'"2.0"':
        raise InvalidMessage('"jsonrpc" must be "2.0"', id=_request_id(id))
    method = decode_text(fields["method"]) if "method" in fields else ""
    if method is None:
        raise InvalidMessage('"method" must be a string', id=_request_id(id))
    rest = (fields.get(key, _ABSENT) for key in ("params", "result", "error"))
    return _Envelope("2.0", id, method, *rest)


def _shape(envelope: _Envelope) -> Message:
    id = _request_id(envelope.id)
    if envelope.method:
        return _call(envelope, id)
    error, value = envelope.error, envelope.result
    if first_byte(error) == b"{":
        return Response(id, Failure(error))
    if value is not _ABSENT:
        if id is None or first_byte(value) != b"{":
            raise InvalidMessage("a result needs an id and an object", id=id)
        return Response(id, Result(value))
    raise InvalidMessage("neither a request nor a notification nor a response", id=id)


def _call(envelope: _Envelope, id: RequestId | None) -> Request | Notification:
    params: Raw | None = envelope.params
    first = first_byte(envelope.params)
    if first in (b"", b"n"):  # some clients send null for "no params"
        params = None
    elif first != b"{":
        raise InvalidMessage('"params" must be an object', id=id)
    if envelope.id is _ABSENT:
        return Notification(envelope.method, params)
    if id is None:
        raise InvalidMessage('"id" must be a string or a number')
    return Request(id, envelope.method, params)


def _request_id(raw: Raw) -> RequestId | None:
    id = bytes(raw)
    return RequestId(id) if id and id[:1] in b'"-0123456789' else None


_ID: Final = rb'("(?:[^"\\]|\\.){0,256}"|-?\d{1,32})'
_HEAD: Final = re.compile(
    rb'\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*|"id"\s*:\s*' + _ID + rb'\s*,\s*)*"result"\s*:\s*'
)
_TAIL: Final = re.compile(
    rb'(?:\s*,\s*"jsonrpc"\s*:\s*"2\.0"|\s*,\s*"id"\s*:\s*' + _ID + rb")*\s*\}\s*\Z"
)


def _cut_open(line: bytes) -> Response | None:
    """Read a large response from its two ends; None if it does not look like one.

    In valid JSON the last brace closes the message, and ``,"id":5`` right before it is a
    key of the message, since a string could not end there. What lies between is taken
    as the result without being read; it is the client's to parse.
    """
    head = _HEAD.match(line)
    if head is None:
        return None
    start = max(head.end(), len(line) - 1024)
    tail = _TAIL.search(line, start)
    if tail is None:
        return None
    id = head[1] or tail[1]
    ends = line[head.end() : head.end() + 1] + line[tail.start() - 1 : tail.start()]
    if id is None or (head[1] and tail[1]) or ends != b"{}":
        return None
    return Response(RequestId(id), Result(Raw(memoryview(line)[head.end() : tail.start()])))


def _text(value: str) -> bytes:
    return bytes(encode(value))


def _params(params: Raw | None) -> bytes:
    return b"" if params is None else b"".join((b',"params":', params))
