"""Arguments that a modern client repeats in `Mcp-Param-*` headers, as a tool's schema asks.

A stdio server never sees a header, so the gateway checks them in its place. It knows what
to expect once a list of the tools has passed through.
Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from msgspec import Raw

from mcpgw.protocol.headers import BadHeader, decode_value
from mcpgw.protocol.rawjson import (
    Fields,
    NotJson,
    decode_any,
    decode_array,
    decode_object,
    decode_text,
    encode,
)

ANNOTATION: Final = "x-mcp-header"

_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_INTEGER: Final = re.compile(r"(-?[0-9]{1,16})(?:\.0+)?")
_TYPES: Final = ("integer", "string", "boolean")

_DEEPEST: Final = 32
"""How deep in a schema an annotation may be; nobody nests arguments so far."""

_MOST_TOOLS: Final = 10_000
"""How many tools' headers are remembered; beyond that they are not checked."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """One argument that has a header."""

    header: str
    path: tuple[str, ...]
    """Where in the arguments it is."""


class Mirrors:
    """What is known of one server's tools; filled by the lists that pass."""

    def __init__(self) -> None:
        self._by_tool: dict[str, tuple[Mirror, ...]] = {}

    @property
    def is_empty(self) -> bool:
        """Whether no header is expected of anybody."""
        return not self._by_tool

    def learn(self, value: Raw) -> Raw:
        """Read a `tools/list` result; return it without annotations that break the rules.

        Clients must drop a tool with such an annotation, which a stdio server may have
        had for years without harm.
        """
        if self.is_empty and ANNOTATION.encode() not in bytes(value):
            return value
        try:
            fields = decode_object(value)
            tools = [decode_object(raw) for raw in decode_array(fields["tools"])]
        except (KeyError, NotJson):
            return value
        repaired = [self._learn_tool(tool) for tool in tools]
        if not any(repaired):
            return value
        return encode({**fields, "tools": encode([encode(tool) for tool in tools])})

    def refusal(self, params: Fields, headers: Mapping[str, str]) -> str | None:
        """What is wrong with the headers of a call with these params, if anything is."""
        name = decode_text(params["name"]) if "name" in params else None
        if name is None or not (mirrors := self._by_tool.get(name)):
            return None
        try:
            arguments = decode_any(params["arguments"]) if "arguments" in params else {}
        except NotJson:
            return None
        told = (_mismatch(mirror, arguments, headers) for mirror in mirrors)
        return next((text for text in told if text is not None), None)

    def _learn_tool(self, tool: Fields) -> bool:
        """Note a tool's mirrors; whether it had to be repaired for that."""
        name = decode_text(tool.get("name", Raw(b"null")))
        raw = tool.get("inputSchema", Raw(b"null"))
        if name is None or ANNOTATION.encode() not in bytes(raw):
            self._by_tool.pop(name or "", None)
            return False
        try:
            schema = decode_any(raw)
        except NotJson:
            return False
        mirrors = tuple(_mirrors(schema, ()))
        if _is_legal(schema, mirrors):
            if mirrors and len(self._by_tool) < _MOST_TOOLS:
                self._by_tool[name] = mirrors
            return False
        self._by_tool.pop(name, None)
        for node in list(_annotated(schema)):
            del node[ANNOTATION]
        tool["inputSchema"] = encode(schema)
        return True


def _mirrors(schema: Any, path: tuple[str, ...]) -> Iterator[Mirror]:
    """The annotations that a chain of `properties` leads to, if their type allows them."""
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict) or len(path) >= _DEEPEST:
        return
    for key, inner in properties.items():
        if not isinstance(inner, dict):
            continue
        header = inner.get(ANNOTATION)
        if isinstance(header, str) and inner.get("type") in _TYPES and _TOKEN.fullmatch(header):
            yield Mirror(f"Mcp-Param-{header}", (*path, key))
        yield from _mirrors(inner, (*path, key))


def _is_legal(schema: Any, mirrors: tuple[Mirror, ...]) -> bool:
    """Whether there are no annotations but these, and no two of the same name."""
    names = {mirror.header.lower() for mirror in mirrors}
    return len(names) == len(mirrors) == len(list(_annotated(schema)))


def _annotated(schema: Any) -> Iterator[dict[str, Any]]:
    """Every object with an annotation, wherever it is; an argument of that name is none."""
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if ANNOTATION in node and not isinstance(node[ANNOTATION], dict):
                yield node
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node


def _mismatch(mirror: Mirror, arguments: Any, headers: Mapping[str, str]) -> str | None:
    value = arguments
    for key in mirror.path:
        value = value.get(key) if isinstance(value, dict) else None
    if value is None or isinstance(value, dict | list):
        return None  # then no header is expected
    header = headers.get(mirror.header)
    if header is None:
        return f"the {mirror.header} header is missing; list the tools again"
    try:
        told = decode_value(header)
    except BadHeader as exc:
        return f"the {mirror.header} header is not valid: {exc}"
    return None if _equal(told, value) else f"the {mirror.header} header does not match the body"


def _equal(told: str, value: str | float | bool) -> bool:
    if isinstance(value, bool):
        return told == ("true" if value else "false")
    if isinstance(value, str):
        return told == value
    number = _INTEGER.fullmatch(told)
    return number is not None and int(number[1]) == value
