"""What a request becomes on its way to a server of either era."""

import json
from typing import Any

import msgspec
import pytest

from mcpgw.bridge.outbound import check_method, to_server, upstream_capabilities
from mcpgw.errors import NotBridged, Refused, UnknownMethod
from tests.bridge.parts import (
    DATES,
    LEGACY_DATES,
    PREFIX,
    client,
    envelope,
    plain,
    request,
    server,
)

MODERN = "2026-07-28"
LEGACY = "2025-11-25"


@pytest.mark.spec("CM2")
@pytest.mark.parametrize("date", DATES)
@pytest.mark.parametrize("params", [None, {}, {"name": "t"}, {"_meta": {"trace": "x"}}])
def test_every_request_to_a_modern_server_has_an_envelope(
    date: str, params: dict[str, Any] | None
) -> None:
    sent = plain(to_server(request("tools/call", params), client(date), server()).meta)
    assert sent[PREFIX + "protocolVersion"] == MODERN
    assert sent[PREFIX + "clientCapabilities"] == {}
    assert sent[PREFIX + "clientInfo"] == {"name": "client", "version": "1"}
    assert sent.get("trace") == (params or {}).get("_meta", {}).get("trace")


@pytest.mark.spec("CM2")
def test_a_client_without_a_name_goes_by_ours() -> None:
    nameless = msgspec.structs.replace(client(), info=None)
    sent = plain(to_server(request("tools/list"), nameless, server()).meta)
    assert sent[PREFIX + "clientInfo"]["name"] == "mcpgw"


@pytest.mark.spec("CM11", "CL5")
def test_what_the_gateway_cannot_keep_is_not_declared() -> None:
    modern = client(
        elicitation={},
        sampling={},
        roots={},
        extensions={"com.example/x": {"a": 1}, PREFIX + "tasks": {}},
    )
    declared = json.loads(bytes(upstream_capabilities(modern, asks=True, tasks=False)))
    extensions = {"com.example/x": {"a": 1}}
    asks: dict[str, object] = {"elicitation": {}, "sampling": {}, "roots": {}}
    assert declared == {**asks, "extensions": extensions}
    assert json.loads(bytes(upstream_capabilities(modern, asks=False, tasks=False))) == {
        "extensions": extensions
    }
    legacy = client(LEGACY, extensions={"x/y": {}}, roots={"listChanged": True}, tasks={})
    assert bytes(upstream_capabilities(legacy, asks=False, tasks=True)) == b"{}"
    assert json.loads(bytes(upstream_capabilities(legacy, asks=True, tasks=True))) == {"roots": {}}


@pytest.mark.parametrize("date", DATES)
def test_nothing_of_the_modern_envelope_reaches_a_legacy_server(date: str) -> None:
    meta = envelope(**{PREFIX + "logLevel": "info", "traceparent": "t", "com.example/own": 1})
    sent = to_server(
        request("tools/call", {"name": "t", "_meta": meta}), client(date), server(LEGACY)
    )
    if date == MODERN:
        assert plain(sent.meta) == {"traceparent": "t", "com.example/own": 1}
    assert plain(sent.params) == {"name": "t"}


def test_a_legacy_request_to_a_legacy_server_is_left_alone() -> None:
    params = {"name": "t", "arguments": {"a": [1, {"b": None}]}, "cursor": "c"}
    sent = to_server(request("tools/call", params), client(LEGACY), server(LEGACY))
    assert (plain(sent.params), sent.meta, sent.token) == (params, {}, None)


def test_answers_to_questions_are_for_modern_servers_only() -> None:
    params = {"name": "t", "inputResponses": {"k": {}}, "requestState": "s"}
    assert plain(to_server(request("tools/call", params), client(), server()).params) == params
    legacy = to_server(request("tools/call", params), client(), server(LEGACY))
    assert plain(legacy.params) == {"name": "t"}


@pytest.mark.parametrize("date", LEGACY_DATES)
@pytest.mark.parametrize("to", [LEGACY, MODERN])
def test_a_call_never_becomes_a_task_nobody_offered(date: str, to: str) -> None:
    params = {"name": "t", "task": {"ttl": 5}}
    sent = to_server(request("tools/call", params), client(date), server(to))
    assert plain(sent.params) == {"name": "t"}


@pytest.mark.spec("X8")
@pytest.mark.parametrize("token", ["a", "", "1", 1, 0, 1.5, -2])
@pytest.mark.parametrize("to", [LEGACY, MODERN])
def test_the_progress_token_travels_apart(token: object, to: str) -> None:
    params = {"_meta": {"progressToken": token}}
    sent = to_server(request("tools/call", params), client(LEGACY), server(to))
    assert sent.token is not None
    assert plain({"t": sent.token}) == {"t": token}
    assert "progressToken" not in sent.meta


@pytest.mark.parametrize("token", [None, True, {"a": 1}, [1]])
def test_what_is_no_token_is_no_wish_for_progress(token: object) -> None:
    params = {"_meta": {"progressToken": token}}
    sent = to_server(request("tools/call", params), client(LEGACY), server(LEGACY))
    assert (sent.token, sent.meta) == (None, {})


RELAYED = (
    "tools/list",
    "tools/call",
    "prompts/list",
    "prompts/get",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "completion/complete",
)
REMOVED = ("initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe")
NOT_CARRIED = ("subscriptions/listen", "tasks/get", "tasks/list", "tasks/result", "tasks/cancel")


@pytest.mark.parametrize("method", RELAYED)
@pytest.mark.parametrize("date", DATES)
@pytest.mark.parametrize("to", [LEGACY, MODERN, None])
def test_what_every_era_knows_is_carried(method: str, date: str, to: str | None) -> None:
    check_method(method, client(date), server(to) if to else None)


@pytest.mark.spec("N5")
@pytest.mark.parametrize("method", REMOVED)
@pytest.mark.parametrize("to", [LEGACY, MODERN, None])
def test_what_was_removed_is_unknown_to_modern_clients(method: str, to: str | None) -> None:
    with pytest.raises(UnknownMethod):
        check_method(method, client(), server(to) if to else None)


@pytest.mark.parametrize("method", [*NOT_CARRIED, *REMOVED[2:]])
@pytest.mark.parametrize("date", DATES)
def test_what_was_never_offered_is_refused(method: str, date: str) -> None:
    with pytest.raises(Refused) as caught:
        check_method(method, client(date))
    assert isinstance(caught.value, NotBridged | UnknownMethod)


@pytest.mark.parametrize(
    ("date", "to", "carried"),
    [
        (LEGACY, LEGACY, True),
        (MODERN, MODERN, True),
        (LEGACY, MODERN, False),
        (MODERN, LEGACY, False),
    ],
)
def test_an_extension_stays_within_its_era(date: str, to: str, carried: bool) -> None:
    check_method("com.example/do", client(date))  # not known yet: let the server be found
    if carried:
        check_method("com.example/do", client(date), server(to))
        return
    with pytest.raises(UnknownMethod):
        to_server(request("com.example/do"), client(date), server(to))
