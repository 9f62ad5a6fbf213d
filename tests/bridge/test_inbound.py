"""What an answer becomes on its way to a client of either era: each row of the table."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from mcpgw.bridge.inbound import to_client
from mcpgw.errors import ProtocolViolation
from mcpgw.protocol.messages import Result, failure
from tests.bridge.parts import LEGACY_DATES, PREFIX, client, content, result, server
from tests.protocol.parts import objects, written

MODERN = "2026-07-28"
LEGACY = "2025-11-25"
SERVER_INFO = {PREFIX + "serverInfo": {"name": "server", "version": "2"}}
SAME_ERA = [(MODERN, MODERN), *((date, LEGACY) for date in LEGACY_DATES)]


def modernised(method: str, **fields: Any) -> Any:
    return content(to_client(result(**fields), method, client(), server(LEGACY)))


def aged(method: str, **fields: Any) -> Any:
    return content(to_client(result(**fields), method, client(LEGACY), server()))


@pytest.mark.parametrize(("theirs", "ours"), SAME_ERA)
@given(value=objects.filter(lambda o: "resultType" not in o), data=st.data())
def test_within_an_era_results_keep_their_bytes(
    theirs: str, ours: str, value: dict[str, Any], data: st.DataObject
) -> None:
    outcome = Result(Raw(data.draw(written(value)).strip()))
    assert to_client(outcome, "tools/call", client(theirs), server(ours)) is outcome


@pytest.mark.spec("N24")
@pytest.mark.parametrize(("theirs", "ours"), SAME_ERA)
@pytest.mark.parametrize("code", [-32601, -32002, -32020, -32042, -32603, 5])
def test_within_an_era_errors_pass(theirs: str, ours: str, code: int) -> None:
    outcome = failure(code, "no", {"a": 1})
    assert to_client(outcome, "tools/call", client(theirs), server(ours)) is outcome


@pytest.mark.spec("N15", "N17")
def test_a_legacy_result_becomes_complete_and_signed() -> None:
    assert modernised("tools/call", content=[], _meta={"own": 1}) == {
        "content": [],
        "resultType": "complete",
        "_meta": {"own": 1, **SERVER_INFO},
    }


@pytest.mark.spec("N16")
@pytest.mark.parametrize(
    "method",
    ["tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read"],
)
def test_cacheable_results_say_how_long(method: str) -> None:
    hints = modernised(method)
    assert (hints["ttlMs"], hints["cacheScope"]) == (0, "private")


@pytest.mark.spec("N16")
@pytest.mark.parametrize(
    "method", ["tools/call", "prompts/get", "completion/complete", "com.example/x"]
)
def test_other_results_do_not(method: str) -> None:
    assert not {"ttlMs", "cacheScope"} & set(modernised(method))


def test_tools_lose_what_only_tasks_need() -> None:
    tools = [
        {"name": "plain", "inputSchema": {"type": "object"}},
        {"name": "may", "execution": {"taskSupport": "optional"}},
        {"name": "must", "execution": {"taskSupport": "required"}},
        {"name": "odd", "execution": 5},
    ]
    listed = modernised("tools/list", tools=tools, nextCursor="c")
    assert listed["tools"] == [tools[0], {"name": "may"}, {"name": "odd"}]
    assert listed["nextCursor"] == "c"


@pytest.mark.parametrize("tools", [None, 5, [5], {}, [{"name": "x"}, "y"]])
def test_a_list_that_is_no_list_is_the_clients_to_judge(tools: object) -> None:
    assert modernised("tools/list", tools=tools)["tools"] == tools
    assert aged("tools/list", tools=tools)["tools"] == tools


@pytest.mark.spec("CM8")
def test_a_modern_result_loses_what_legacy_clients_do_not_know() -> None:
    fields = {
        "resultType": "complete",
        "ttlMs": 5,
        "cacheScope": "public",
        "contents": [],
        "_meta": {"own": 1, **SERVER_INFO, PREFIX + "other": 2},
    }
    assert aged("resources/read", **fields) == {
        "contents": [],
        "_meta": {"own": 1, PREFIX + "other": 2},
    }
    assert aged("resources/read", contents=[], _meta=SERVER_INFO) == {"contents": []}


@pytest.mark.parametrize("structured", [5, "x", [1], None, True])
def test_structured_content_that_is_no_object_is_dropped(structured: object) -> None:
    text = [{"type": "text", "text": "5"}]
    assert aged("tools/call", content=text, structuredContent=structured) == {"content": text}
    kept = {"content": text, "structuredContent": {"a": 1}}
    assert aged("tools/call", **kept) == kept


@pytest.mark.parametrize(
    "schema", [True, {}, {"type": "array"}, {"type": ["object"]}, {"anyOf": []}]
)
def test_output_schemas_of_anything_but_objects_are_dropped(schema: object) -> None:
    tool = {"name": "t", "inputSchema": {"type": "object"}}
    kept = {**tool, "outputSchema": {"type": "object", "properties": {}}}
    listed = aged("tools/list", tools=[{**tool, "outputSchema": schema}, kept, tool])
    assert listed["tools"] == [tool, kept, tool]


@pytest.mark.spec("CM8")
@pytest.mark.parametrize("date", [MODERN, LEGACY])
@pytest.mark.parametrize("kind", ["task", "", 5, None])
def test_a_result_of_an_unknown_type_is_invalid(date: str, kind: object) -> None:
    with pytest.raises(ProtocolViolation, match="type"):
        to_client(result(resultType=kind), "tools/call", client(date), server())


@pytest.mark.spec("CM8")
@pytest.mark.parametrize("date", [MODERN, LEGACY])
@pytest.mark.parametrize(
    "fields", [{}, {"resultType": "complete"}, {"text": '"resultType":"task"'}]
)
def test_a_result_without_a_type_is_complete(date: str, fields: dict[str, Any]) -> None:
    to_client(result(**fields), "tools/call", client(date), server())


@pytest.mark.parametrize("date", [MODERN, LEGACY])
def test_a_question_to_the_user_is_no_answer(date: str) -> None:
    with pytest.raises(ProtocolViolation):
        to_client(result(resultType="input_required"), "tools/call", client(date), server())


def test_a_large_question_is_no_empty_success() -> None:
    large = result(resultType="input_required", inputRequests={"k": "x" * 300_000})
    with pytest.raises(ProtocolViolation):
        to_client(large, "tools/call", client(LEGACY), server())


@pytest.mark.spec("N24")
@pytest.mark.parametrize(
    ("code", "seen"),
    [
        (-32002, -32602),
        (-32042, -32603),
        (-32020, -32603),
        (-32021, -32603),
        (-32022, -32603),
        (-32099, -32603),
        (-32000, -32000),
        (-32001, -32001),
        (-32019, -32019),
        (-32100, -32100),
        (-32601, -32601),
        (-32602, -32602),
        (-1, -1),
        (7, 7),
    ],
)
def test_legacy_errors_for_modern_clients(code: int, seen: int) -> None:
    outcome = to_client(failure(code, "no", {"a": 1}), "resources/read", client(), server(LEGACY))
    assert content(outcome) == {"code": seen, "message": "no", "data": {"a": 1}}


@pytest.mark.parametrize(
    ("code", "seen"),
    [
        (-32020, -32603),
        (-32021, -32603),
        (-32022, -32603),
        (-32602, -32602),
        (-32601, -32601),
        (7, 7),
    ],
)
def test_modern_errors_for_legacy_clients(code: int, seen: int) -> None:
    outcome = to_client(failure(code, "no", {"a": 1}), "tools/call", client(LEGACY), server())
    assert content(outcome) == {"code": seen, "message": "no", "data": {"a": 1}}


@pytest.mark.parametrize(("theirs", "ours"), [(MODERN, LEGACY), (LEGACY, MODERN)])
def test_a_result_that_is_cut_off_is_the_servers_fault(theirs: str, ours: str) -> None:
    with pytest.raises(ProtocolViolation):
        to_client(Result(Raw(b'{"a":{}')), "tools/call", client(theirs), server(ours))
