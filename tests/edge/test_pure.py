"""Accept, routes, origins, the error table: each decides alone, on values."""

import inspect
import json
from pathlib import Path

import pytest

from mcpgw import errors
from mcpgw.config.load import parse
from mcpgw.config.schema import Config
from mcpgw.edge.accept import parse_accept
from mcpgw.edge.origin import OriginPolicy, policy_for
from mcpgw.edge.routes import Route, find_route
from mcpgw.edge.stream import Outbox
from mcpgw.edge.wire_errors import INTERNAL, WIRE_ERRORS, to_failure, to_wire
from mcpgw.errors import GatewayError
from mcpgw.units import Bytes, Seconds


@pytest.mark.parametrize(
    ("header", "json_ok", "sse_ok"),
    [
        (None, True, True),
        ("", True, True),
        ("  ", True, True),
        ("*/*", True, True),
        ("application/json, text/event-stream", True, True),
        ("text/event-stream,application/json;q=0.5", True, True),
        ("Application/JSON", True, False),
        ("application/*", True, False),
        ("text/*", False, True),
        ("text/event-stream; charset=utf-8", False, True),
        ("application/json;q=0, text/event-stream", False, True),
        ("*/*, text/event-stream;q=0", True, False),
        ("*/*;q=0, application/json", True, False),
        ("text/*;q=0.000, */*;q=0.1", True, False),
        ("application/json; q = 0", False, False),
        ("text/html", False, False),
        ("text/event-streams", False, False),
        ("application/json;q=0.001", True, False),
    ],
)
def test_accept(header: str | None, json_ok: bool, sse_ok: bool) -> None:
    found = parse_accept(header)
    assert (found.json, found.sse) == (json_ok, sse_ok)


@pytest.mark.spec("L1")
@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/mcp/fs", Route("fs", False, True)),
        ("/fs", Route("fs", False, False)),
        ("/mcp/fs/sse", Route("fs", True, True)),
        ("/fs/sse", Route("fs", True, False)),
        ("/mcp/fs?x=/mcp/other", Route("fs", False, True)),
        ("/mcp/a-b_c9", Route("a-b_c9", False, True)),
        ("/mcp/sse", Route("sse", False, True)),
        ("/mcp/" + "a" * 63, Route("a" * 63, False, True)),
    ],
)
def test_routes(path: str, route: Route) -> None:
    assert find_route(path) == route


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/mcp",
        "/mcp/",
        "/mcp/mcp",
        "/mcp/fs/",
        "/mcp//fs",
        "//mcp/fs",
        "/mcp/fs/sse/",
        "/mcp/fs/message",
        "/mcp/fs/../other",
        "/mcp/../fs",
        "/mcp/./fs",
        "/mcp/%66s",
        "/mcp/fs%2Fsse",
        "/mcp%2Ffs",
        "/mcp/fs%00",
        "/mcp/fs;x=1",
        "/mcp/fs#x",
        "/MCP/fs",
        "/mcp/FS",
        "/mcp/-fs",
        "/mcp/fs-",
        "/mcp/f.s",
        "/mcp/f s",
        "/mcp/fś",
        "/mcp/fs\n",
        "\n/mcp/fs",
        "/mcp\\fs",
        "/mcp/" + "a" * 64,
        "mcp/fs",
        "http://127.0.0.1/mcp/fs",
        "/.well-known/oauth-protected-resource/mcp/fs",
        "*",
    ],
)
def test_what_is_no_route(path: str) -> None:
    assert find_route(path) is None


def config(**settings: object) -> Config:
    content = {"tools": {"t": {"cmd": "true"}}, **settings}
    return parse(json.dumps(content), name="test", base_dir=Path())


LOCAL = policy_for(config())
PUBLIC = policy_for(
    config(
        listen={"host": "0.0.0.0"},
        allow_anonymous=True,
        public_url="https://MCP.example.com/mcp",
        allowed_hosts=["alias.example.com", "tunnel:8443"],
        allowed_origins=["https://app.example.com"],
    )
)
BEHIND = policy_for(config(public_url="https://mcp.example.com:8443/mcp"))
OPEN = policy_for(config(allowed_hosts=["*"], allowed_origins=["*"]))


@pytest.mark.spec("H1")
@pytest.mark.parametrize(
    ("policy", "host", "accepted"),
    [
        (LOCAL, "127.0.0.1:8080", True),
        (LOCAL, "localhost", True),
        (LOCAL, "LOCALHOST:1", True),
        (LOCAL, "[::1]:8080", True),
        (LOCAL, "[::1]", True),
        (LOCAL, "evil.example.com", False),
        (LOCAL, "evil.example.com:8080", False),
        (LOCAL, "localhost.evil.com", False),
        (LOCAL, "127.0.0.1.evil.com", False),
        (LOCAL, "10.0.0.5:8080", False),
        (LOCAL, "", False),
        (PUBLIC, "mcp.example.com", True),
        (PUBLIC, "MCP.Example.com:443", True),
        (PUBLIC, "alias.example.com:1234", True),
        (PUBLIC, "tunnel:8443", True),
        (PUBLIC, "tunnel:1", False),
        (PUBLIC, "10.0.0.5:8080", True),
        (PUBLIC, "[fe80::1]:8080", True),
        (PUBLIC, "evil.com", False),
        (BEHIND, "mcp.example.com:8443", True),
        (BEHIND, "mcp.example.com", False),
        (BEHIND, "127.0.0.1:8080", True),
        (OPEN, "evil.com", True),
    ],
)
def test_hosts(policy: OriginPolicy, host: str, accepted: bool) -> None:
    assert policy.refuses_host(host) is not accepted


@pytest.mark.spec("H1")
@pytest.mark.parametrize(
    ("policy", "origin", "accepted"),
    [
        (LOCAL, "http://localhost:6274", True),
        (LOCAL, "https://127.0.0.1", True),
        (LOCAL, "http://[::1]:3000", True),
        (LOCAL, "null", False),
        (LOCAL, "", False),
        (LOCAL, "file://", False),
        (LOCAL, "http://evil.com", False),
        (LOCAL, "http://localhost.evil.com", False),
        (LOCAL, "http://localhost@evil.com", False),
        (LOCAL, "http://localhost:1@evil.com", False),
        (LOCAL, "http://evil.com#localhost", False),
        (LOCAL, "http://[::1", False),
        (LOCAL, "vscode-webview://localhost", False),
        (PUBLIC, "https://mcp.example.com", True),
        (PUBLIC, "https://APP.example.com", True),
        (PUBLIC, "http://app.example.com", False),
        (PUBLIC, "https://app.example.com:8443", False),
        (PUBLIC, "http://localhost:6274", False),
        (OPEN, "null", True),
    ],
)
def test_origins(policy: OriginPolicy, origin: str, accepted: bool) -> None:
    assert policy.refuses_origin(origin) is not accepted


def leaves() -> list[type[GatewayError]]:
    """The errors that are raised: those nothing inherits from."""
    found = [cls for _, cls in inspect.getmembers(errors, inspect.isclass)]
    mine = [cls for cls in found if issubclass(cls, GatewayError)]
    return [cls for cls in mine if not cls.__subclasses__()]


AT_START = {errors.ConfigError}
"""Errors of the operator's, which no client sees."""


def test_every_error_has_exactly_one_row() -> None:
    assert set(WIRE_ERRORS) == {*leaves(), errors.StartFailed} - AT_START


@pytest.mark.spec("N24")
def test_our_codes_are_our_own() -> None:
    codes = [row.code for row in WIRE_ERRORS.values() if row.code not in (-32600, -32601)]
    assert len(codes) == len(set(codes))
    assert all(-31999 <= code <= -31000 for code in codes)


def test_an_error_of_no_row_is_internal_and_tells_nothing() -> None:
    assert to_wire(RuntimeError("secret")) is INTERNAL
    assert "secret" not in to_failure(RuntimeError("secret"), local=True).message


def test_stderr_is_for_local_readers() -> None:
    exc = errors.StartFailed("it failed", stderr=("line",), retry_after=Seconds(1.23))
    near = json.loads(bytes(to_failure(exc, local=True).error))
    far = json.loads(bytes(to_failure(exc, local=False).error))
    assert near == {
        "code": -31010,
        "message": "it failed; its last words: line",
        "data": {"retryAfter": 1.2, "stderr": ["line"]},
    }
    assert far["data"] == {"retryAfter": 1.2}


async def test_an_outbox_gives_up_a_reader_rather_than_memory() -> None:
    outbox = Outbox(Bytes(10))
    outbox.put(b"x" * 6)
    outbox.put(b"x" * 6)
    assert outbox.given_up
    outbox.put(b"x")
    assert not outbox.is_full


async def test_an_answer_fits_whatever_its_size_but_not_behind_another() -> None:
    outbox = Outbox(Bytes(10))
    outbox.answer(b"x" * 100)
    assert not outbox.given_up and outbox.is_full
    outbox.put(b"x")
    assert outbox.given_up
