"""From headers and a body to what the client wants: the rungs every POST climbs. Pure.

Each rung either passes or yields a `Refusal`; the first refusal is the answer. The order
is the one the official conformance suite expects.
Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from msgspec import Raw, Struct

from mcpgw.protocol import codes, meta
from mcpgw.protocol.client import ClientFacts
from mcpgw.protocol.headers import BadHeader, decode_value
from mcpgw.protocol.messages import (
    Failure,
    InvalidMessage,
    Message,
    Notification,
    Request,
    RequestId,
    Response,
    failure,
    parse,
    parse_batch,
)
from mcpgw.protocol.meta import Opened, open_params
from mcpgw.protocol.methods import INITIALIZE, NAMED_BY
from mcpgw.protocol.rawjson import Fields, decode_text, first_byte, object_or_empty
from mcpgw.protocol.revisions import (
    MODERN_SUPPORTED,
    REVISIONS,
    SUPPORTED,
    Era,
    legacy_revision,
    negotiate,
)

VERSION_HEADER = "MCP-Protocol-Version"
SESSION_HEADER = "Mcp-Session-Id"


@dataclass(frozen=True, slots=True)
class Refusal:
    """The first rung that did not hold."""

    status: int
    error: Failure
    id: RequestId | None = None


class ModernRequest(Struct, frozen=True, gc=False):
    """A self-contained request of the modern era, every header checked."""

    request: Request
    opened: Opened
    client: ClientFacts


@dataclass(frozen=True, slots=True)
class ModernNotification:
    """Accepted and dropped: no client notification means anything over modern HTTP."""


@dataclass(frozen=True, slots=True)
class LegacyInitialize:
    """The start of a session."""

    request: Request
    client: ClientFacts


class LegacyMessage(Struct, frozen=True, gc=False):
    """A message of a session; whether the session exists is for the caller to see."""

    message: Message
    session_id: str


@dataclass(frozen=True, slots=True)
class LegacyBatch:
    """Several messages of a session that may negotiate batches."""

    items: list[Raw]
    session_id: str


Rung: TypeAlias = (
    Refusal | ModernRequest | ModernNotification | LegacyInitialize | LegacyMessage | LegacyBatch
)


def classify(headers: Mapping[str, str], body: bytes) -> Rung:
    """What a POST asks for."""
    if body.lstrip()[:1] == b"[":
        return _classify_batch(headers, body)
    try:
        message = parse(body)
    except InvalidMessage as exc:
        code = codes.INVALID_REQUEST if exc.is_json else codes.PARSE_ERROR
        return Refusal(400, failure(code, str(exc)), exc.id)
    if isinstance(message, Response):
        return _legacy(headers, message)
    opened = open_params(message.params)
    claimed = _text(opened.meta.get(meta.VERSION))
    if isinstance(message, Request) and message.method == INITIALIZE and not _is_modern(claimed):
        return _initialize(headers, message)
    header = headers.get(VERSION_HEADER)
    modern = legacy_revision(header) is None if header is not None else False
    if claimed is not None and (_is_modern(claimed) or SESSION_HEADER not in headers):
        modern = True
    return _modern(headers, message, opened) if modern else _legacy(headers, message)


def read_initialize(request: Request) -> ClientFacts:
    """What a legacy client says about itself in `initialize`."""
    params = object_or_empty(request.params)
    requested = _text(params.get("protocolVersion"))
    return ClientFacts(
        negotiate(requested), object_or_empty(params.get("capabilities")), params.get("clientInfo")
    )


def _classify_batch(headers: Mapping[str, str], body: bytes) -> Rung:
    session_id = headers.get(SESSION_HEADER)
    version = headers.get(VERSION_HEADER)
    row = legacy_revision(version)
    if session_id is None or (version is not None and (row is None or not row.batches)):
        return _invalid("batches exist in revision 2025-03-26 only, inside a session")
    try:
        return LegacyBatch(parse_batch(body), session_id)
    except InvalidMessage as exc:
        code = codes.INVALID_REQUEST if exc.is_json else codes.PARSE_ERROR
        return Refusal(400, failure(code, str(exc)))


def _initialize(headers: Mapping[str, str], request: Request) -> Rung:
    if SESSION_HEADER in headers:
        return _invalid("initialize begins a session, so it cannot name one", request.id)
    return LegacyInitialize(request, read_initialize(request))


def _legacy(headers: Mapping[str, str], message: Message) -> Rung:
    id = message.id if isinstance(message, Request) else None
    session_id = headers.get(SESSION_HEADER)
    if session_id is None:
        return _invalid(
            f"the {SESSION_HEADER} header is missing: begin with initialize, or send a "
            "2026-07-28 request with its _meta",
            id,
        )
    version = headers.get(VERSION_HEADER)
    if version is not None and legacy_revision(version) is None:
        return _unsupported(version, id)
    return LegacyMessage(message, session_id)


def _modern(headers: Mapping[str, str], message: Request | Notification, opened: Opened) -> Rung:
    if isinstance(message, Notification):
        return ModernNotification()
    params, given = opened.params, opened.meta
    version = _text(given.get(meta.VERSION))
    capabilities = given.get(meta.CAPABILITIES)
    if version is None or capabilities is None or first_byte(capabilities) != b"{":
        missing = meta.CAPABILITIES if version is not None else meta.VERSION
        return _bad(400, codes.INVALID_PARAMS, f'params._meta["{missing}"] is required', message)
    if (mismatch := _header_mismatch(headers, message, version, params)) is not None:
        return mismatch
    client = ClientFacts(
        REVISIONS[version], object_or_empty(capabilities), given.get(meta.CLIENT_INFO)
    )
    return ModernRequest(message, opened, client)


def _header_mismatch(
    headers: Mapping[str, str], request: Request, version: str, params: Fields
) -> Refusal | None:
    header = headers.get(VERSION_HEADER)
    if header != version:
        return _mismatch(VERSION_HEADER, header, version, request)
    row = REVISIONS.get(version)
    if row is None or row.era is not Era.MODERN:
        return _unsupported(version, request.id, MODERN_SUPPORTED)
    if (method := headers.get("Mcp-Method")) != request.method:
        return _mismatch("Mcp-Method", method, request.method, request)
    if (key := NAMED_BY.get(request.method)) is None:
        return None
    named = _text(params.get(key))
    if named is None and request.method.startswith("tasks/"):
        return None  # of an extension, which the server may not know
    if named is None:
        return _bad(400, codes.INVALID_PARAMS, f"params.{key} must be a string", request)
    return _name_mismatch(headers.get("Mcp-Name"), named, request)


def _name_mismatch(header: str | None, named: str, request: Request) -> Refusal | None:
    try:
        told = None if header is None else decode_value(header)
    except BadHeader as exc:
        return _bad(400, codes.HEADER_MISMATCH, f"the Mcp-Name header is not valid: {exc}", request)
    return None if told == named else _mismatch("Mcp-Name", header, named, request)


def _text(raw: Raw | None) -> str | None:
    """The string that a value is; None if it is missing or something else."""
    return decode_text(raw) if raw is not None else None


def _is_modern(date: str | None) -> bool:
    return date is not None and legacy_revision(date) is None


def _mismatch(name: str, header: str | None, body: str, request: Request) -> Refusal:
    told = "is missing" if header is None else "does not match the body"
    return _bad(
        400, codes.HEADER_MISMATCH, f"the {name} header {told}; the body says {body!r}", request
    )


def _unsupported(
    version: str, id: RequestId | None, supported: tuple[str, ...] = SUPPORTED
) -> Refusal:
    data = {"supported": list(supported), "requested": version}
    error = failure(codes.UNSUPPORTED_VERSION, "unsupported protocol version", data)
    return Refusal(400, error, id)


def _invalid(text: str, id: RequestId | None = None) -> Refusal:
    return Refusal(400, failure(codes.INVALID_REQUEST, text), id)


def _bad(status: int, code: int, text: str, request: Request, data: Any = None) -> Refusal:
    return Refusal(status, failure(code, text, data), request.id)
