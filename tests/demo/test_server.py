"""The demo server over real pipes; the client checks every message against the schema."""

import subprocess
from collections.abc import Iterator

import pytest

from tests.demo.client import COMMAND, META, MODERN, Client, running, speaking
from tests.schema import validator

LEGACY = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")


@pytest.fixture(params=[*LEGACY, MODERN])
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    with speaking(request.param) as client:
        yield client


@pytest.fixture
def modern() -> Iterator[Client]:
    with speaking(MODERN) as client:
        yield client


@pytest.fixture
def legacy() -> Iterator[Client]:
    with speaking("2025-11-25") as client:
        yield client


def pages(client: Client) -> Iterator[list[str]]:
    cursor: dict[str, str] = {}
    while True:
        page = client.ask("resources/list", cursor)
        yield [resource["uri"] for resource in page["resources"]]
        if "nextCursor" not in page:
            return
        cursor = {"cursor": page["nextCursor"]}


def test_everything_it_lists_can_be_used(client: Client) -> None:
    tools = {tool["name"] for tool in client.ask("tools/list")["tools"]}
    assert tools == {"echo", "add", "slow", "big", "fail", "cancelled"}
    assert client.call("echo", text="grüß dich")["content"][0]["text"] == "grüß dich"
    assert client.call("fail")["isError"] is True
    assert [
        template["uriTemplate"]
        for template in client.ask("resources/templates/list")["resourceTemplates"]
    ] == ["demo://echo/{text}"]
    read = client.ask("resources/read", {"uri": "demo://echo/a%20b"})
    assert read["contents"][0]["text"] == "a b"
    assert [prompt["name"] for prompt in client.ask("prompts/list")["prompts"]] == ["greet"]
    greeting = client.ask("prompts/get", {"name": "greet", "arguments": {"name": "Ada"}})
    assert "Ada" in greeting["messages"][0]["content"]["text"]


def test_resources_come_in_pages(client: Client) -> None:
    found = list(pages(client))
    assert [len(page) for page in found] == [10, 10, 5]
    assert len({uri for page in found for uri in page}) == 25
    assert found[0][0] == "demo://greeting"


@pytest.mark.parametrize("revision", LEGACY)
def test_the_handshake_agrees_on_the_revision_asked_for(revision: str) -> None:
    with running() as client:
        result = client.initialize(revision)
        assert result["protocolVersion"] == revision
        assert client.ask("ping") == {}


def test_an_unknown_revision_is_answered_with_the_latest_legacy_one() -> None:
    with running() as client:
        params = {
            "protocolVersion": "1999-01-01",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        }
        assert client.ask("initialize", params)["protocolVersion"] == "2025-11-25"


def test_an_old_revision_gets_none_of_the_newer_fields() -> None:
    with speaking("2024-11-05") as client:
        result = client.call("add", a=1, b=2)
        [add] = [tool for tool in client.ask("tools/list")["tools"] if tool["name"] == "add"]
        assert set(result) == {"content"}
        assert set(add) == {"name", "description", "inputSchema"}


def test_structured_content_fits_the_output_schema(modern: Client) -> None:
    [add] = [tool for tool in modern.ask("tools/list")["tools"] if tool["name"] == "add"]
    result = modern.call("add", a=1.5, b=2)
    assert result["structuredContent"] == {"sum": 3.5}
    assert result["content"][0]["text"] == "3.5"
    assert add["outputSchema"]["required"] == ["sum"]


def test_discover_names_modern_revisions_only(modern: Client) -> None:
    result = modern.ask("server/discover")
    assert result["supportedVersions"] == [MODERN]
    assert result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "mcpgw-demo"


def test_every_modern_result_says_it_is_complete_and_who_made_it(modern: Client) -> None:
    for method in ("tools/list", "server/discover"):
        result = modern.ask(method)
        assert result["resultType"] == "complete"
        assert result["cacheScope"] == "public" and result["ttlMs"] > 0
    assert "ttlMs" not in modern.call("echo", text="")


def test_a_modern_connection_refuses_the_legacy_handshake(modern: Client) -> None:
    modern.ask("server/discover")
    modern.revision = "2025-11-25"
    error = modern.refused("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}})
    assert error["code"] == -32022
    assert error["data"] == {"supported": [MODERN], "requested": "2025-11-25"}


@pytest.mark.parametrize(
    "method", ["ping", "initialize", "logging/setLevel", "resources/subscribe"]
)
def test_a_modern_connection_knows_no_legacy_methods(modern: Client, method: str) -> None:
    modern.ask("server/discover")
    assert modern.refused(method)["code"] == -32601


def test_a_legacy_connection_refuses_modern_requests(legacy: Client) -> None:
    error = legacy.refused("tools/list", {"_meta": META})
    assert error["code"] == -32600
    assert legacy.refused("server/discover")["code"] == -32601


def test_a_second_handshake_is_refused(legacy: Client) -> None:
    assert legacy.refused("initialize", {"protocolVersion": "2025-11-25"})["code"] == -32600


def test_nothing_but_ping_is_served_before_an_era_is_chosen() -> None:
    with running() as client:
        assert client.ask("ping") == {}
        assert client.refused("tools/list")["code"] == -32602
        assert client.refused("server/discover")["code"] == -32602


@pytest.mark.parametrize("key", META)
def test_a_modern_request_without_its_metadata_is_refused(modern: Client, key: str) -> None:
    modern.ask("server/discover")
    modern.revision = "2025-11-25"  # no envelope of its own
    meta = {name: value for name, value in META.items() if name != key}
    assert modern.refused("tools/list", {"_meta": meta})["code"] == -32602


def test_an_unsupported_revision_is_named_and_leaves_the_era_open() -> None:
    with running() as client:
        meta = {**META, "io.modelcontextprotocol/protocolVersion": "2031-01-01"}
        error = client.refused("server/discover", {"_meta": meta})
        assert error["code"] == -32022
        assert error["data"] == {"supported": [MODERN], "requested": "2031-01-01"}
        assert client.initialize("2025-06-18")["protocolVersion"] == "2025-06-18"


def test_an_unknown_log_level_is_refused(modern: Client) -> None:
    meta = {"_meta": {"io.modelcontextprotocol/logLevel": "loud"}}
    assert modern.refused("tools/list", meta)["code"] == -32602


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("tools/call", {"name": "nothing", "arguments": {}}),
        ("prompts/get", {"name": "nothing"}),
        ("prompts/get", {"name": "greet"}),
        ("resources/list", {"cursor": "from-11"}),
        ("tools/list", {"cursor": "from-10"}),
        ("completion/complete", {"ref": {"type": "ref/prompt", "name": "nothing"}, "argument": {}}),
    ],
)
def test_names_it_does_not_have_are_invalid_params(
    client: Client, method: str, params: dict[str, object]
) -> None:
    assert client.refused(method, params)["code"] == -32602


def test_a_missing_resource_has_the_code_of_the_era(client: Client) -> None:
    expected = -32602 if client.revision == MODERN else -32002
    assert client.refused("resources/read", {"uri": "demo://nothing"})["code"] == expected


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("echo", {"text": 1}),
        ("add", {"a": "1", "b": 2}),
        ("add", {"a": 1e301, "b": 0}),
        ("add", {"a": True, "b": 0}),
        ("big", {"bytes": -1}),
        ("big", {"bytes": 1.5}),
        ("slow", {"steps": 0}),
    ],
)
def test_a_bad_argument_is_a_result_the_model_can_read(
    modern: Client, name: str, arguments: dict[str, object]
) -> None:
    result = modern.call(name, **arguments)
    assert result["isError"] is True
    assert result["content"][0]["text"].startswith(f"{name}: ")


def test_big_is_exactly_as_big_as_asked(modern: Client) -> None:
    assert len(modern.call("big", bytes=3_000_001)["content"][0]["text"]) == 3_000_001


def test_progress_comes_in_equal_steps_with_the_token_unchanged(client: Client) -> None:
    call = {"name": "slow", "arguments": {"seconds": 0.03, "steps": 3}}
    result = client.ask("tools/call", {**call, "_meta": {"progressToken": "1"}})
    told = [message["params"] for message in client.others]
    assert [(params["progress"], params["total"]) for params in told] == [(1, 3), (2, 3), (3, 3)]
    assert {params["progressToken"] for params in told} == {"1"}
    assert all(("message" in params) == (client.revision != "2024-11-05") for params in told)
    assert "0.03 s" in result["content"][0]["text"]


def test_without_a_token_there_is_no_progress(modern: Client) -> None:
    modern.call("slow", seconds=0.02, steps=2)
    assert modern.others == []


def test_a_slow_call_keeps_nobody_waiting(modern: Client) -> None:
    modern.send("tools/call", {"name": "slow", "arguments": {"seconds": 3600}})
    assert modern.call("echo", text="meanwhile")["content"][0]["text"] == "meanwhile"


def test_ids_of_different_types_are_different_calls(modern: Client) -> None:
    call = {"name": "slow", "arguments": {"seconds": 0.2, "steps": 1}}
    for id in (7, "7"):
        modern.send("tools/call", call, id=id)
    answered = [modern.receive(), modern.receive()]
    assert {repr(message and message["id"]) for message in answered} == {"7", "'7'"}


def test_an_id_in_flight_is_not_taken_again(modern: Client) -> None:
    modern.send("tools/call", {"name": "slow", "arguments": {"seconds": 3600}}, id="x")
    assert modern.answer(modern.send("tools/list", id="x"))["error"]["code"] == -32600


def test_nothing_comes_for_a_cancelled_call(client: Client) -> None:
    meta = {"_meta": {"progressToken": "t"}}
    call = {"name": "slow", "arguments": {"seconds": 0.2, "steps": 2}}
    cancelled = client.send("tools/call", {**call, **meta})
    client.notify("notifications/cancelled", {"requestId": cancelled})
    client.call("slow", seconds=0.6, steps=1)  # it would have answered before this one
    assert client.others == []
    assert client.call("cancelled")["content"][0]["text"] == "1"


def test_completion_offers_what_fits(client: Client) -> None:
    for ref, argument, expected in (
        ({"type": "ref/prompt", "name": "greet"}, {"name": "name", "value": "a"}, ["Ada", "Alan"]),
        (
            {"type": "ref/resource", "uri": "demo://echo/{text}"},
            {"name": "text", "value": "hello w"},
            ["hello world"],
        ),
    ):
        result = client.ask("completion/complete", {"ref": ref, "argument": argument})
        assert result["completion"]["values"] == expected


def test_what_is_no_message_is_skipped(modern: Client) -> None:
    for line in ("", "hello", "[]", "3", '{"jsonrpc": "2.0", "id": null, "method": "ping"}', "{}"):
        modern.write(line)
    modern.notify("notifications/unheard-of", {})
    assert modern.ask("tools/list")["tools"]
    assert modern.others == []


def test_batches_are_taken_where_the_revision_has_them() -> None:
    with speaking("2025-03-26") as client:
        client.write(
            '[{"jsonrpc": "2.0", "id": "a", "method": "ping"},'
            ' {"jsonrpc": "2.0", "id": "b", "method": "nothing"}]'
        )
        client._methods['"a"'] = "ping"
        assert client.answer("a")["result"] == {}
        assert client.answer("b")["error"]["code"] == -32601


def test_half_a_surrogate_pair_comes_back_as_it_was(modern: Client) -> None:
    assert modern.call("echo", text="\ud83d!")["content"][0]["text"] == "\ud83d!"


@pytest.mark.parametrize("seconds", [0, 3600])
def test_the_end_of_stdin_ends_it(modern: Client, seconds: int) -> None:
    modern.send("tools/call", {"name": "slow", "arguments": {"seconds": seconds}})
    modern.ask("tools/list")
    assert modern.close() == 0


def test_it_says_one_line_when_it_starts() -> None:
    done = subprocess.run(
        COMMAND, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10, check=True
    )
    [line] = done.stderr.splitlines()
    assert line.startswith("mcpgw demo-server: ")
    assert done.stdout == ""


def test_it_imports_nothing_heavy() -> None:
    """A launcher starts one process per call, so its start is what a user waits for."""
    probe = "from mcpgw.demo import server; import sys; print(*sys.modules)"
    command = (
        *COMMAND[:3],
        COMMAND[3].replace("from mcpgw.demo.server", f"{probe}; from mcpgw.demo.server"),
    )
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10, check=True
    )
    assert not {"asyncio", "aiohttp", "pydantic", "msgspec", "yaml"} & set(done.stdout.split())


def test_the_schema_check_can_fail() -> None:
    wrong = {"resultType": "complete", "tools": []}
    assert list(validator(MODERN, "ListToolsResult").iter_errors(wrong))
