"""A server's answer, in the words of the client that asked.

Same-era answers pass untouched, byte for byte. Across eras the table of the
specification's differences is applied; results are opened only as deep as a rule
has to look.
"""

from collections.abc import Callable
from typing import Final

from msgspec import Raw

from mcpgw.bridge.content import knows_all, retold
from mcpgw.errors import ProtocolViolation
from mcpgw.protocol import codes, meta
from mcpgw.protocol.client import ClientFacts
from mcpgw.protocol.handshake import ServerFacts
from mcpgw.protocol.messages import Failure, Outcome, Result
from mcpgw.protocol.methods import CACHEABLE
from mcpgw.protocol.rawjson import (
    Fields,
    NotJson,
    decode_array,
    decode_object,
    decode_text,
    encode,
    first_byte,
    object_or_empty,
)
from mcpgw.protocol.revisions import Era
from mcpgw.protocol.tasks import are_carried

COMPLETE: Final = Raw(b'"complete"')

_LARGE: Final = 256 * 1024
"""Beyond this a result that passes untouched is not opened to read its type: questions to a
user are short."""

_TASKED: Final = frozenset({"tools/call"})
"""What may become a task."""

_MODERN_RESULT_KEYS: Final = ("resultType", "ttlMs", "cacheScope")


def to_client(outcome: Outcome, method: str, client: ClientFacts, server: ServerFacts) -> Outcome:
    """What to answer.

    Raises:
        ProtocolViolation: The result is of a kind that was not asked for.
    """
    if isinstance(outcome, Failure):
        return _failure_to_client(outcome, client, server)
    if server.era is Era.MODERN and (client.era is not Era.MODERN or _is_small(outcome.value)):
        _check_complete(outcome.value, tasks=method in _TASKED and are_carried(client, server))
    if not knows_all(client) and _is_small(outcome.value):
        outcome = retold(outcome, method, client)
    if client.era is server.era:
        return outcome
    if client.era is Era.MODERN:
        return Result(modernise(outcome.value, method, server))
    return Result(_legacy_result(outcome.value, method))


def modernise(value: Raw, method: str, server: ServerFacts) -> Raw:
    """A legacy result as a modern one: typed, signed, and with caching hints where they must be.

    Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic#results
    """
    fields = _opened(value)
    fields["resultType"] = COMPLETE
    if method in CACHEABLE:
        fields["ttlMs"] = Raw(b"0")
        fields["cacheScope"] = Raw(b'"private"')
    signed = object_or_empty(fields.get("_meta"))
    if server.info is not None:
        signed[meta.SERVER_INFO] = server.info
    if signed:
        fields["_meta"] = encode(signed)
    if method == "tools/list":
        _each_tool(fields, _modern_tool)
    return encode(fields)


def _legacy_result(value: Raw, method: str) -> Raw:
    fields = _opened(value)
    for key in _MODERN_RESULT_KEYS:
        fields.pop(key, None)
    signed = object_or_empty(fields.pop("_meta", None))
    if kept := {key: raw for key, raw in signed.items() if key not in meta.ENVELOPE}:
        fields["_meta"] = encode(kept)
    if method == "tools/call" and not _is_object(fields.get("structuredContent")):
        fields.pop("structuredContent", None)  # the text beside it says the same
    if method == "tools/list":
        _each_tool(fields, _legacy_tool)
    return encode(fields)


def _each_tool(fields: Fields, change: Callable[[Fields], Fields | None]) -> None:
    """Keep what `change` makes of each tool of an opened list result that is well-formed."""
    try:
        tools = [decode_object(raw) for raw in decode_array(fields["tools"])]
    except (KeyError, NotJson):
        return
    fields["tools"] = encode([encode(tool) for tool in map(change, tools) if tool is not None])


def _modern_tool(tool: Fields) -> Fields | None:
    """Without what only tasks need; nothing for a tool that can't be called without them."""
    execution = object_or_empty(tool.pop("execution", None))
    return None if bytes(execution.get("taskSupport", b"")) == b'"required"' else tool


def _legacy_tool(tool: Fields) -> Fields:
    schema = object_or_empty(tool.get("outputSchema"))
    if bytes(schema.get("type", b"")) != b'"object"':
        tool.pop("outputSchema", None)
    return tool


def _check_complete(value: Raw, *, tasks: bool) -> None:
    """Refuse result types that were not invited; a missing one means complete.

    Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic#results
    """
    if b'"resultType"' not in bytes(value):
        return
    kind = decode_text(_opened(value).get("resultType", COMPLETE))
    if kind != "complete" and not (tasks and kind == "task"):
        raise ProtocolViolation(f"the server sent a result of the type {kind!r}, not asked for")


def _failure_to_client(outcome: Failure, client: ClientFacts, server: ServerFacts) -> Failure:
    if client.era is server.era:
        return outcome
    code = outcome.code
    if client.era is Era.MODERN:
        new = codes.INTERNAL_ERROR if code in codes.RESERVED_BY_SPEC else code
        if code == codes.RESOURCE_NOT_FOUND:
            new = codes.INVALID_PARAMS
    else:
        new = codes.INTERNAL_ERROR if code in codes.MODERN_ONLY else code
    return outcome if new == code else _recoded(outcome, new)


def _recoded(outcome: Failure, code: int) -> Failure:
    return Failure(encode({**decode_object(outcome.error), "code": encode(code)}))


def _opened(value: Raw) -> Fields:
    try:
        return decode_object(value)
    except NotJson as exc:
        raise ProtocolViolation(f"the server's result is not a JSON object: {exc}") from None


def _is_small(raw: Raw) -> bool:
    return len(memoryview(raw)) <= _LARGE


def _is_object(raw: Raw | None) -> bool:
    return raw is not None and first_byte(raw) == b"{"
