"""How a server is introduced: only what the gateway keeps, in the client's own words."""

import json
from typing import Any

import pytest
from msgspec import Raw

from mcpgw.bridge.introductions import discover_result, initialize_result
from mcpgw.protocol.handshake import ServerFacts
from mcpgw.protocol.revisions import REVISIONS
from tests.bridge.parts import LEGACY_DATES, PREFIX, client, server

MODERN = "2026-07-28"
LEGACY = "2025-11-25"
EVERYTHING: dict[str, Any] = {
    "tools": {"listChanged": True},
    "prompts": {"listChanged": True, "own": 1},
    "resources": {"listChanged": True, "subscribe": True},
    "completions": {},
    "logging": {},
    "tasks": {"list": {}},
    "experimental": {"x": {}},
    "extensions": {"com.example/x": {}, PREFIX + "tasks": {}},
    "unheardOf": {},
}


def discovered(date: str, *, alone: bool = False) -> Any:
    return json.loads(bytes(discover_result(server(date, **EVERYTHING), alone=alone)))


def initialized(date: str, by: str, *, alone: bool = False) -> Any:
    found = initialize_result(server(date, **EVERYTHING), client(by), "tool", alone=alone)
    return json.loads(bytes(found))


@pytest.mark.spec("N1", "N15", "N16", "N17")
@pytest.mark.parametrize("date", [LEGACY, MODERN])
def test_discover_names_modern_revisions_only_and_carries_hints(date: str) -> None:
    found = discovered(date)
    del found["capabilities"]
    assert found == {
        "resultType": "complete",
        "supportedVersions": [MODERN],
        "ttlMs": 0,
        "cacheScope": "private",
        "instructions": "be kind",
        "_meta": {PREFIX + "serverInfo": {"name": "server", "version": "2"}},
    }


LISTS = {
    "tools": {"listChanged": True},
    "prompts": {"listChanged": True, "own": 1},
    "resources": {"listChanged": True, "subscribe": True},
    "completions": {},
}


@pytest.mark.spec("L19")
@pytest.mark.parametrize("alone", [False, True])
def test_what_a_modern_client_is_offered(alone: bool) -> None:
    logging: dict[str, object] = {"logging": {}} if alone else {}
    assert discovered(LEGACY, alone=alone)["capabilities"] == {**LISTS, **logging}
    assert discovered(MODERN, alone=alone)["capabilities"] == {
        **LISTS,
        "logging": {},
        "experimental": {"x": {}},
        "extensions": {"com.example/x": {}, PREFIX + "tasks": {}},
    }


@pytest.mark.spec("L19")
@pytest.mark.parametrize("alone", [False, True])
def test_what_a_legacy_client_is_offered(alone: bool) -> None:
    logging: dict[str, object] = {"logging": {}} if alone else {}
    offered = initialized(LEGACY, LEGACY, alone=alone)["capabilities"]
    assert offered == {**LISTS, **logging, "experimental": {"x": {}}, "tasks": {"list": {}}}
    older = initialized(LEGACY, "2025-06-18", alone=alone)["capabilities"]
    assert older == {**LISTS, **logging, "experimental": {"x": {}}}
    assert initialized(MODERN, LEGACY, alone=alone)["capabilities"] == {**LISTS, "logging": {}}


@pytest.mark.spec("L15")
@pytest.mark.parametrize("by", LEGACY_DATES)
@pytest.mark.parametrize("date", [LEGACY, MODERN])
def test_a_legacy_client_gets_its_own_revision(date: str, by: str) -> None:
    found = initialized(date, by)
    assert found["protocolVersion"] == by
    assert found["serverInfo"] == {"name": "server", "version": "2"}
    assert found["instructions"] == "be kind"
    assert set(found) == {"protocolVersion", "serverInfo", "instructions", "capabilities"}


def test_a_server_that_says_little() -> None:
    silent = ServerFacts(REVISIONS[MODERN], {"tools": Raw(b"5")}, None, None)
    found = json.loads(bytes(initialize_result(silent, client(LEGACY), "tool", alone=True)))
    assert found["serverInfo"] == {"name": "tool", "version": "unknown"}
    assert "instructions" not in found
    assert found["capabilities"] == {"tools": {}}
    assert "_meta" not in json.loads(bytes(discover_result(silent, alone=True)))
