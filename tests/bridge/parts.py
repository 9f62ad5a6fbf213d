"""Clients and servers of either era, and JSON both ways."""

import json
from typing import Any, Final

from msgspec import Raw

from mcpgw.protocol.client import ClientFacts
from mcpgw.protocol.handshake import ServerFacts
from mcpgw.protocol.messages import Outcome, Request, RequestId, Result
from mcpgw.protocol.rawjson import Fields, encode
from mcpgw.protocol.revisions import REVISIONS

LEGACY_DATES: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
DATES: Final = (*LEGACY_DATES, "2026-07-28")
PREFIX: Final = "io.modelcontextprotocol/"


def client(date: str = "2026-07-28", **capabilities: object) -> ClientFacts:
    info = Raw(b'{"name":"client","version":"1"}')
    return ClientFacts(REVISIONS[date], raw(capabilities), info)


def server(date: str = "2026-07-28", **capabilities: object) -> ServerFacts:
    info = Raw(b'{"name":"server","version":"2"}')
    return ServerFacts(REVISIONS[date], raw(capabilities), info, Raw(b'"be kind"'))


def raw(fields: dict[str, Any]) -> Fields:
    return {key: encode_any(value) for key, value in fields.items()}


def encode_any(value: Any) -> Raw:
    return Raw(json.dumps(value).encode())


def plain(fields: Fields) -> dict[str, Any]:
    return {key: json.loads(bytes(value)) for key, value in fields.items()}


def request(method: str, params: dict[str, Any] | None = None) -> Request:
    return Request(RequestId(b"1"), method, None if params is None else encode(params))


def result(**fields: Any) -> Result:
    return Result(encode_any(fields))


def content(outcome: Outcome) -> Any:
    """What an outcome holds, as Python objects."""
    return json.loads(bytes(outcome.value if isinstance(outcome, Result) else outcome.error))


def envelope(**more: Any) -> dict[str, Any]:
    """The `_meta` of a modern client's request."""
    return {
        PREFIX + "protocolVersion": "2026-07-28",
        PREFIX + "clientCapabilities": {"elicitation": {}},
        PREFIX + "clientInfo": {"name": "c", "version": "1"},
        **more,
    }
