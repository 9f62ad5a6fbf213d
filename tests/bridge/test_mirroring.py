"""Headers that repeat a tool's arguments: which annotations count, and what is a mismatch."""

import json
from typing import Any

import pytest
from multidict import CIMultiDict

from mcpgw.bridge.mirroring import Mirrors
from mcpgw.protocol.rawjson import encode
from tests.bridge.parts import encode_any, raw

REGION = {"type": "string", "x-mcp-header": "Region"}


def schema(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def learned(*schemas: Any) -> tuple[Mirrors, list[Any]]:
    """What is learnt of tools t0, t1, ... and how their schemas come out."""
    tools = [{"name": f"t{n}", "inputSchema": one} for n, one in enumerate(schemas)]
    mirrors = Mirrors()
    value = mirrors.learn(encode_any({"tools": tools, "nextCursor": "c"}))
    listed = json.loads(bytes(value))
    assert listed["nextCursor"] == "c"
    return mirrors, [tool["inputSchema"] for tool in listed["tools"]]


def refusal(mirrors: Mirrors, arguments: Any, name: str = "t0", **headers: str) -> str | None:
    sent = CIMultiDict({f"Mcp-Param-{key}": value for key, value in headers.items()})
    return mirrors.refusal(raw({"name": name, "arguments": arguments}), sent)


@pytest.mark.spec("N8")
def test_an_argument_needs_its_header() -> None:
    mirrors, _ = learned(schema(region=REGION))
    assert "Mcp-Param-Region" in (refusal(mirrors, {"region": "us"}) or "")
    assert refusal(mirrors, {"region": "us"}, Region="us") is None
    assert refusal(mirrors, {"region": "us"}, REGION="us") is None


@pytest.mark.spec("N8")
@pytest.mark.parametrize(
    "arguments", [{}, {"region": None}, {"other": 1}, {"region": ["x"]}, None, 5]
)
def test_where_there_is_none_no_header_is_expected(arguments: Any) -> None:
    mirrors, _ = learned(schema(region=REGION))
    assert refusal(mirrors, arguments) is None
    assert mirrors.refusal(raw({"name": "t0"}), {}) is None
    assert mirrors.refusal({}, {}) is None
    assert refusal(mirrors, {"region": "us"}, name="unknown") is None


@pytest.mark.spec("N7", "N9")
@pytest.mark.parametrize(
    ("kind", "value", "header", "fits"),
    [
        ("string", "us", "us", True),
        ("string", "us", "US", False),
        ("string", "olá", "=?base64?b2zDoQ==?=", True),
        ("string", "olá", "ol?", False),
        ("string", "us", "=?base64?!?=", False),
        ("string", "", "", True),
        ("string", "true", "true", True),
        ("integer", 42, "42", True),
        ("integer", 42, "42.0", True),
        ("integer", 42.0, "42", True),
        ("integer", 42, "042x", False),
        ("integer", -7, "-7", True),
        ("integer", 2**53 - 1, "9007199254740991", True),
        ("integer", 42, "9" * 5000, False),
        ("integer", 1, "true", False),
        ("boolean", True, "true", True),
        ("boolean", False, "false", True),
        ("boolean", True, "True", False),
        ("boolean", True, "1", False),
    ],
)
def test_values_are_compared_by_their_kind(kind: str, value: Any, header: str, fits: bool) -> None:
    mirrors, _ = learned(schema(x={"type": kind, "x-mcp-header": "X"}))
    assert (refusal(mirrors, {"x": value}, X=header) is None) is fits


@pytest.mark.spec("N8")
def test_arguments_inside_arguments() -> None:
    mirrors, _ = learned(schema(where=schema(region=REGION)))
    assert refusal(mirrors, {"where": {"region": "us"}}, Region="us") is None
    assert refusal(mirrors, {"where": {"region": "us"}}) is not None
    assert refusal(mirrors, {"where": "us"}) is None


DEEP: dict[str, Any] = schema(region=REGION)
for _ in range(40):
    DEEP = schema(inner=DEEP)


@pytest.mark.parametrize(
    "bad",
    [
        schema(x={"type": "number", "x-mcp-header": "X"}),
        schema(x={"x-mcp-header": "X"}),
        schema(x={"type": ["string", "null"], "x-mcp-header": "X"}),
        schema(x={"type": "string", "x-mcp-header": ""}),
        schema(x={"type": "string", "x-mcp-header": "a b"}),
        schema(x={"type": "string", "x-mcp-header": "a\r\nb"}),
        schema(x={"type": "string", "x-mcp-header": "é"}),
        schema(x={"type": "string", "x-mcp-header": 5}),
        schema(x=REGION, y={"type": "string", "x-mcp-header": "REGION"}),
        schema(x={"type": "array", "items": REGION}),
        schema(x={"type": "array", "prefixItems": [schema(y=REGION)]}),
        {"type": "object", "oneOf": [schema(x=REGION)]},
        {"type": "object", "$defs": {"d": REGION}, **schema(x={"$ref": "#/$defs/d"})},
        {"type": "object", "x-mcp-header": "Whole"},
        DEEP,
    ],
)
def test_an_annotation_that_breaks_the_rules_is_taken_out(bad: Any) -> None:
    """Clients would drop the whole tool for it."""
    good = schema(region=REGION)
    mirrors, (repaired, kept) = learned(bad, good)
    assert "x-mcp-header" not in json.dumps(repaired)
    assert kept == good
    assert refusal(mirrors, {"x": "v", "region": "us"}, name="t0") is None
    assert refusal(mirrors, {"region": "us"}, name="t1") is not None


def test_an_argument_may_be_called_like_the_annotation() -> None:
    fine = schema(**{"x-mcp-header": {"type": "string"}})
    mirrors, (kept,) = learned(fine)
    assert kept == fine
    assert mirrors.is_empty


def test_lists_that_break_no_rule_keep_their_bytes() -> None:
    value = encode_any({"tools": [{"name": "t", "inputSchema": schema(region=REGION)}]})
    assert Mirrors().learn(value) is value
    others: list[dict[str, Any]] = [
        {"tools": 5},
        {"tools": [5]},
        {},
        {"tools": [{}]},
        {"tools": [{"name": "x"}]},
    ]
    for other in others:
        text = encode_any({**other, "x-mcp-header": 1})
        assert Mirrors().learn(text) is text


def test_a_later_list_is_right() -> None:
    mirrors, _ = learned(schema(region=REGION))
    plain = [{"name": "t0", "inputSchema": schema(region={"type": "string"})}]
    mirrors.learn(encode({"tools": plain}))
    assert mirrors.is_empty
    assert refusal(mirrors, {"region": "us"}) is None
