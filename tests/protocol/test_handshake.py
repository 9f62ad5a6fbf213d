"""What the answers to a probe, a discover and an initialize prove."""

import json
from typing import Any

import pytest

from mcpgw.protocol import meta
from mcpgw.protocol.handshake import (
    HandshakeFailed,
    Verdict,
    discover,
    initialize,
    is_modern_refusal,
    judge_probe,
    read_discover,
    read_initialize,
)
from mcpgw.protocol.messages import Failure, Outcome, Result, failure
from mcpgw.protocol.rawjson import encode
from mcpgw.protocol.revisions import Era

MODERN = "2026-07-28"
LEGACY = ["2025-11-25", "2025-06-18"]


def result(**fields: Any) -> Result:
    return Result(encode(fields))


def refusal(code: int, *supported: str) -> Failure:
    return failure(code, "no", {"supported": list(supported)} if supported else None)


@pytest.mark.spec("CM1")
@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (result(supportedVersions=[MODERN]), Verdict.MODERN),
        (result(supportedVersions=[MODERN, *LEGACY]), Verdict.MODERN),
        (result(supportedVersions=LEGACY), Verdict.LEGACY),
        (result(supportedVersions="2026-07-28"), Verdict.LEGACY),
        (result(), Verdict.LEGACY),
        (refusal(-32022, MODERN), Verdict.MODERN),
        (refusal(-32022), Verdict.MODERN),
        (refusal(-32022, "2027-01-01"), Verdict.MODERN),
        (refusal(-32022, *LEGACY, MODERN), Verdict.MODERN),
        (refusal(-32022, *LEGACY), Verdict.LEGACY),
        (refusal(-32020), Verdict.MODERN),
        (refusal(-32021), Verdict.MODERN),
        *((refusal(code), Verdict.LEGACY) for code in (-32601, -32602, -32600, -32000, 0, -32001)),
        (Failure(encode({})), Verdict.LEGACY),
        (Failure(encode({"code": "x", "message": 5})), Verdict.LEGACY),
        (Failure(encode({"code": -32022, "data": [1]})), Verdict.MODERN),
    ],
)
def test_the_verdict_on_a_probe(answer: Outcome, verdict: Verdict) -> None:
    assert judge_probe(answer) is verdict


@pytest.mark.parametrize(
    ("answer", "proves"),
    [(refusal(-32022, MODERN), True), (refusal(-32601), False), (result(), False)],
)
def test_a_refused_initialize_can_prove_a_server_modern(answer: Outcome, proves: bool) -> None:
    assert is_modern_refusal(answer) is proves


@pytest.mark.spec("CM2")
def test_discover_carries_the_envelope_and_nothing_else() -> None:
    sent = discover()
    assert (sent.method, sent.params) == ("server/discover", {})
    envelope = {key: json.loads(bytes(raw)) for key, raw in sent.meta.items()}
    assert envelope[meta.VERSION] == MODERN
    assert envelope[meta.CAPABILITIES] == {}
    assert envelope[meta.CLIENT_INFO]["name"] == "mcpgw"


@pytest.mark.spec("CL4", "CL5")
def test_initialize_offers_the_newest_revision_and_no_capability() -> None:
    sent = initialize({})
    params = {key: json.loads(bytes(raw)) for key, raw in sent.params.items()}
    assert params["protocolVersion"] == "2025-11-25"
    assert params["capabilities"] == {}
    assert params["clientInfo"]["name"] == "mcpgw"
    assert sent.meta == {}


def test_facts_of_a_modern_server() -> None:
    facts = read_discover(
        result(
            supportedVersions=[MODERN],
            capabilities={"tools": {}},
            instructions="be kind",
            _meta={meta.SERVER_INFO: {"name": "n"}},
        )
    )
    assert facts.era is Era.MODERN
    assert {key: bytes(raw) for key, raw in facts.capabilities.items()} == {"tools": b"{}"}
    assert facts.info is not None and bytes(facts.info) == b'{"name":"n"}'
    assert facts.instructions is not None and bytes(facts.instructions) == b'"be kind"'


def test_a_release_candidate_says_its_name_elsewhere() -> None:
    facts = read_discover(result(supportedVersions=[MODERN], serverInfo={"name": "n"}))
    assert facts.info is not None and bytes(facts.info) == b'{"name":"n"}'


@pytest.mark.spec("CL4")
@pytest.mark.parametrize("date", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
def test_a_legacy_server_may_answer_any_legacy_revision(date: str) -> None:
    facts = read_initialize(result(protocolVersion=date, serverInfo={"name": "n"}))
    assert facts.revision.date == date
    assert facts.era is Era.LEGACY
    assert facts.capabilities == {}


@pytest.mark.spec("CL4")
@pytest.mark.parametrize("date", [MODERN, "2023-01-01", "", None, 5])
def test_a_revision_that_nobody_knows_ends_the_handshake(date: object) -> None:
    with pytest.raises(HandshakeFailed, match="protocol version"):
        read_initialize(result(protocolVersion=date))


@pytest.mark.parametrize("reader", [read_discover, read_initialize])
@pytest.mark.parametrize("answer", [refusal(-32000), result(), Result(encode([]))])
def test_what_is_no_introduction_ends_the_handshake(reader: Any, answer: Outcome) -> None:
    with pytest.raises(HandshakeFailed):
        reader(answer)
