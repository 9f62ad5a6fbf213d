"""Every rung of the ladder, and that the first one that does not hold is the answer."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from multidict import CIMultiDict

from mcpgw.edge.ladder import (
    LegacyBatch,
    LegacyInitialize,
    LegacyMessage,
    ModernNotification,
    ModernRequest,
    Refusal,
    Rung,
    classify,
    read_initialize,
)
from mcpgw.protocol.messages import Request, Response
from tests.edge.replies import Json
from tests.edge.world import LEGACY_DATES, MODERN, PREFIX

META: Json = {PREFIX + "protocolVersion": MODERN, PREFIX + "clientCapabilities": {}}
HEADERS = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": "t"}
SESSION = {"Mcp-Session-Id": "s"}


def climb(body: object, **headers: str) -> Rung:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return classify(CIMultiDict({k.replace("_", "-"): v for k, v in headers.items()}), data)


def modern(headers: dict[str, str | None] | None = None, **changes: Any) -> Rung:
    """A good modern call, but for the changes; None takes something away."""
    meta = {**META, **changes.pop("meta", {})}
    params = {"name": "t", **changes.pop("params", {})}
    params["_meta"] = {key: value for key, value in meta.items() if value is not None}
    body = {"jsonrpc": "2.0", "id": "i", "method": "tools/call", "params": params, **changes}
    sent = {k: v for k, v in {**HEADERS, **(headers or {})}.items() if v is not None}
    return climb(body, **sent)


def refused(rung: Rung, status: int, code: int, id: bytes | None) -> str:
    assert isinstance(rung, Refusal), rung
    assert (rung.status, rung.error.code, rung.id) == (status, code, id)
    return rung.error.message


def call(method: str = "tools/list", **more: Any) -> Json:
    return {"jsonrpc": "2.0", "id": 1, "method": method, **more}


@pytest.mark.parametrize("body", [b"", b"hello", b'{"a"', b"\xff{}", b"\xef\xbb\xbf{}"])
def test_what_is_not_json(body: bytes) -> None:
    refused(climb(body), 400, -32700, None)


@pytest.mark.parametrize("body", [5, "x", None, {}, {"jsonrpc": "1.0"}, {"jsonrpc": "2.0"}])
def test_what_is_no_message(body: object) -> None:
    refused(climb(body), 400, -32600, None)


@pytest.mark.spec("H8")
def test_an_id_of_null() -> None:
    refused(climb({"jsonrpc": "2.0", "id": None, "method": "ping"}), 400, -32600, None)


@pytest.mark.spec("L14")
@pytest.mark.parametrize("version", [None, "2025-03-26"])
def test_a_batch_is_for_sessions_of_its_revision(version: str | None) -> None:
    headers = SESSION | ({"MCP-Protocol-Version": version} if version else {})
    rung = climb([call(), call()], **headers)
    assert isinstance(rung, LegacyBatch) and len(rung.items) == 2
    assert isinstance(climb(b" \n\t[{}]", **headers), LegacyBatch)


@pytest.mark.parametrize("version", [MODERN, "2025-06-18", "2025-11-25", "2024-11-05", "x"])
def test_a_batch_is_for_no_other(version: str) -> None:
    headers = {**SESSION, "MCP-Protocol-Version": version}
    refused(climb([call()], **headers), 400, -32600, None)
    refused(climb([call()]), 400, -32600, None)


def test_a_broken_batch() -> None:
    refused(climb(b"[1", **SESSION), 400, -32700, None)
    refused(climb([], **SESSION), 400, -32600, None)


@pytest.mark.spec("H6")
def test_a_response_is_for_a_session() -> None:
    body = {"jsonrpc": "2.0", "id": 1, "result": {}}
    refused(climb(body), 400, -32600, None)
    refused(climb(body, MCP_Protocol_Version=MODERN), 400, -32600, None)
    rung = climb(body, **SESSION)
    assert isinstance(rung, LegacyMessage) and isinstance(rung.message, Response)


@pytest.mark.parametrize("header", [None, *LEGACY_DATES, MODERN, "x"])
def test_initialize_opens_a_session_whatever_the_header_says(header: str | None) -> None:
    headers = {"MCP-Protocol-Version": header} if header else {}
    rung = climb(call("initialize", params={"protocolVersion": "2025-06-18"}), **headers)
    assert isinstance(rung, LegacyInitialize)
    assert rung.client.revision.date == "2025-06-18"


@pytest.mark.spec("X4")
def test_initialize_cannot_name_a_session() -> None:
    refused(climb(call("initialize"), **SESSION), 400, -32600, b"1")


def test_what_initialize_says_of_the_client() -> None:
    params = {"protocolVersion": 5, "capabilities": {"roots": {}}, "clientInfo": {"name": "n"}}
    rung = climb(call("initialize", params=params))
    assert isinstance(rung, LegacyInitialize)
    assert rung.client.revision.date == "2025-11-25"
    assert set(rung.client.capabilities) == {"roots"}
    assert rung.client.info is not None
    assert read_initialize(Request(rung.request.id, "initialize")).capabilities == {}


@pytest.mark.spec("N5")
def test_initialize_with_a_modern_envelope_is_a_method_like_any_other() -> None:
    rung = modern({"Mcp-Method": "initialize"}, method="initialize")
    assert isinstance(rung, ModernRequest)


@pytest.mark.spec("L8")
@pytest.mark.parametrize("header", [None, *LEGACY_DATES])
def test_a_legacy_request_without_a_session(header: str | None) -> None:
    headers = {"MCP-Protocol-Version": header} if header else {}
    assert "Mcp-Session-Id" in refused(climb(call(), **headers), 400, -32600, b"1")


@pytest.mark.spec("L11")
@pytest.mark.parametrize("header", [None, *LEGACY_DATES])
def test_a_legacy_request_of_a_session(header: str | None) -> None:
    headers = SESSION | ({"MCP-Protocol-Version": header} if header else {})
    rung = climb(call(), **headers)
    assert isinstance(rung, LegacyMessage) and rung.session_id == "s"


@pytest.mark.spec("L11")
@pytest.mark.parametrize("header", ["2023-01-01", "", "latest", "2025-11-25 "])
def test_a_version_nobody_knows_is_400(header: str) -> None:
    rung = climb(call(), **SESSION, MCP_Protocol_Version=header)
    assert isinstance(rung, Refusal) and rung.status == 400


@pytest.mark.parametrize("version", LEGACY_DATES)
def test_an_envelope_of_a_legacy_revision(version: str) -> None:
    meta = {PREFIX + "protocolVersion": version, PREFIX + "clientCapabilities": {}}
    body = call(params={"_meta": meta})
    assert isinstance(climb(body, **SESSION), LegacyMessage)
    refused(climb(body, MCP_Protocol_Version=version), 400, -32022, b"1")
    refused(climb(body), 400, -32020, b"1")


@pytest.mark.spec("N14")
def test_a_modern_request_needs_and_heeds_no_session() -> None:
    rung = modern({"Mcp-Session-Id": "whatever", "Last-Event-ID": "5"})
    assert isinstance(rung, ModernRequest)
    assert rung.client.revision.date == MODERN


def test_a_modern_notification_is_taken_and_dropped() -> None:
    body = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"_meta": META}}
    assert isinstance(climb(body), ModernNotification)
    assert isinstance(
        climb({**body, "params": {}}, MCP_Protocol_Version=MODERN), ModernNotification
    )


@pytest.mark.spec("N2")
@pytest.mark.parametrize(
    "meta",
    [
        {PREFIX + "protocolVersion": None},
        {PREFIX + "protocolVersion": 5},
        {PREFIX + "clientCapabilities": None},
        {PREFIX + "clientCapabilities": []},
        {PREFIX + "clientCapabilities": "x"},
    ],
)
def test_the_envelope_is_required(meta: Json) -> None:
    missing = refused(modern(meta=meta), 400, -32602, b'"i"')
    assert next(iter(meta)) in missing


@pytest.mark.spec("N2")
@pytest.mark.parametrize("params", [{}, {"params": {}}, {"params": {"_meta": {}}}])
def test_a_modern_header_alone_is_not_enough(params: Json) -> None:
    refused(climb(call(**params), MCP_Protocol_Version=MODERN), 400, -32602, b"1")


@pytest.mark.spec("N3", "N9")
@pytest.mark.parametrize(
    "headers",
    [
        {"MCP-Protocol-Version": None},
        {"MCP-Protocol-Version": "2025-11-25"},
        {"Mcp-Method": None},
        {"Mcp-Method": "tools/list"},
        {"Mcp-Method": "Tools/Call"},
        {"Mcp-Name": None},
        {"Mcp-Name": "T"},
        {"Mcp-Name": "t2"},
        {"Mcp-Name": "=?base64?eA==?="},
    ],
)
def test_headers_must_say_what_the_body_says(headers: dict[str, str | None]) -> None:
    (name,) = headers
    assert name in refused(modern(headers), 400, -32020, b'"i"')


@pytest.mark.spec("N7")
@pytest.mark.parametrize("value", ["=?base64?!?=", "é", "=?base64?/w==?=", "a\x01b"])
def test_an_illegal_name_is_refused(value: str) -> None:
    assert "Mcp-Name" in refused(modern({"Mcp-Name": value}), 400, -32020, b'"i"')


@pytest.mark.spec("N7", "N9")
@pytest.mark.parametrize(
    ("name", "header"),
    [("t", "t"), ("olá", "=?base64?b2zDoQ==?="), ("t", "=?base64?dA==?="), ("t", " t ")],
)
def test_the_name_is_decoded_before_it_is_compared(name: str, header: str) -> None:
    assert isinstance(modern({"Mcp-Name": header}, params={"name": name}), ModernRequest)


@pytest.mark.spec("N9")
@pytest.mark.parametrize("change", [str.upper, str.lower])
def test_header_names_have_no_case(change: Callable[[str], str]) -> None:
    body = {**call("tools/call"), "params": {"name": "t", "_meta": META}}
    rung = classify(
        CIMultiDict({change(key): value for key, value in HEADERS.items()}),
        json.dumps(body).encode(),
    )
    assert isinstance(rung, ModernRequest)


@pytest.mark.spec("N3")
@pytest.mark.parametrize(
    ("method", "key"), [("tools/call", "name"), ("prompts/get", "name"), ("resources/read", "uri")]
)
def test_what_the_name_mirrors(method: str, key: str) -> None:
    body = {**call(method), "params": {key: "n", "_meta": META}}
    good = {"MCP-Protocol-Version": MODERN, "Mcp-Method": method, "Mcp-Name": "n"}
    assert isinstance(climb(body, **good), ModernRequest)
    refused(climb(body, **{**good, "Mcp-Name": "m"}), 400, -32020, b"1")
    refused(climb({**body, "params": {"_meta": META}}, **good), 400, -32602, b"1")


def test_other_methods_have_no_name() -> None:
    body = {**call("tools/list"), "params": {"_meta": META}}
    headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/list", "Mcp-Name": "ignored"}
    assert isinstance(climb(body, **headers), ModernRequest)


@pytest.mark.spec("N4")
@pytest.mark.parametrize("version", ["2027-01-01", "x", "2025-11-25"])
def test_a_revision_we_do_not_speak(version: str) -> None:
    rung = modern({"MCP-Protocol-Version": version}, meta={PREFIX + "protocolVersion": version})
    refused(rung, 400, -32022, b'"i"')
    assert isinstance(rung, Refusal)
    data = json.loads(bytes(rung.error.error))["data"]
    assert data == {"supported": [MODERN], "requested": version}


@pytest.mark.spec("N2", "N3", "N4")
def test_the_order_of_the_rungs() -> None:
    bad: Json = {PREFIX + "protocolVersion": "2027-01-01", PREFIX + "clientCapabilities": None}
    wrong: dict[str, str | None] = {"MCP-Protocol-Version": "2028-01-01", "Mcp-Method": None}
    refused(modern(wrong, meta=bad), 400, -32602, b'"i"')
    bad[PREFIX + "clientCapabilities"] = {}
    refused(modern(wrong, meta=bad), 400, -32020, b'"i"')
    wrong["MCP-Protocol-Version"] = "2027-01-01"
    refused(modern(wrong, meta=bad), 400, -32022, b'"i"')
    bad[PREFIX + "protocolVersion"] = wrong["MCP-Protocol-Version"] = MODERN
    refused(modern(wrong, meta=bad), 400, -32020, b'"i"')


def test_what_is_known_of_a_modern_client() -> None:
    meta: Json = {
        PREFIX + "clientInfo": {"name": "n"},
        PREFIX + "clientCapabilities": {"roots": {}},
    }
    rung = modern(meta=meta)
    assert isinstance(rung, ModernRequest)
    assert rung.client.info is not None and bytes(rung.client.info) == b'{"name": "n"}'
    assert set(rung.client.capabilities) == {"roots"}
