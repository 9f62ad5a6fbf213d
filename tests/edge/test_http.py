"""HTTP itself: methods, statuses, headers, bodies, and who may ask at all."""

import asyncio
import gzip
import json
import re
from typing import Any

import pytest

from tests.edge.conftest import Running
from tests.edge.replies import PATIENCE, Reply
from tests.edge.world import BOTH, LEGACY_DATES, MODERN, PREFIX, World, tool

ONE = {"modern": tool("modern"), "legacy": tool("legacy")}
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


def refused(reply: Reply, status: int) -> str:
    """That a request was refused in JSON-RPC, without an id; why."""
    assert (reply.status, reply.headers["Content-Type"]) == (status, "application/json")
    assert "id" not in reply.answer
    message: str = reply.error["message"]
    return message


@pytest.mark.spec("L1", "L10", "N14")
async def test_methods(running: Running) -> None:
    async with running(ONE) as world:
        for method in ("PUT", "PATCH", "DELETE", "GET"):
            reply = await world.send(method, "/mcp/legacy")
            refused(reply, 405)
            assert reply.headers["Allow"] == "GET, POST, DELETE, OPTIONS"
        head = await world.send("HEAD", "/mcp/legacy")
        assert (head.status, head.body) == (405, b"")


@pytest.mark.spec("L1", "L11", "N14")
async def test_get_and_delete_heed_the_revision(running: Running) -> None:
    async with running(ONE) as world:
        client = await world.legacy("legacy")
        session = {"Mcp-Session-Id": client.session or "", "Accept": "text/event-stream"}
        for method in ("GET", "DELETE"):
            for version, status in ((MODERN, 405), ("2023-01-01", 400), ("", 400)):
                headers = {**session, "MCP-Protocol-Version": version}
                refused(await world.send(method, "/mcp/legacy", headers=headers), status)
        assert (await client.call("echo", text="still here")).text == "still here"


async def test_where_nothing_is(running: Running) -> None:
    async with running(ONE) as world:
        for path in ("/", "/mcp", "/mcp/", "/mcp/none", "/mcp/legacy/", "/mcp/LEGACY", "/x/y/z"):
            for method in ("GET", "POST", "DELETE"):
                assert "tool" in refused(await world.send(method, path, PING), 404)


@pytest.mark.parametrize("path", ["/mcp/%6cegacy", "/mcp//legacy", "/mcp/x/../legacy"])
async def test_only_the_exact_spelling_is_a_route(running: Running, path: str) -> None:
    async with running(ONE) as world:
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
        assert (await exchange(world, head.encode())).startswith(b"HTTP/1.1 404 ")


async def exchange(world: World, data: bytes) -> bytes:
    """Write to a fresh connection; what comes first. The client's side stays open."""
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
        writer.write(data)
        answer = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        return answer


@pytest.mark.parametrize("path", ["/legacy", "/mcp/legacy"])
async def test_a_proxy_may_strip_the_prefix(running: Running, path: str) -> None:
    async with running(ONE) as world:
        client = await world.legacy("legacy")
        client.path = path
        assert (await client.call("echo", text="x")).text == "x"


@pytest.mark.spec("H1")
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
async def test_strange_names_are_refused(running: Running, method: str) -> None:
    async with running(ONE) as world:
        for headers in (
            {"Origin": "http://evil.example.com"},
            {"Origin": "null"},
            {"Origin": "http://[::1"},
            {"Host": "evil.example.com"},
            {"Host": f"evil.example.com:{world.port}", "Origin": "http://evil.example.com"},
        ):
            reply = await world.send(method, "/mcp/legacy", PING, headers)
            assert next(iter(headers)) in refused(reply, 403)
            assert "Access-Control-Allow-Origin" not in reply.headers


@pytest.mark.spec("H1")
async def test_a_page_that_may_ask_is_told_so(running: Running) -> None:
    async with running(ONE) as world:
        origin = {"Origin": "http://localhost:6274"}
        asked = "mcp-param-region, x-evil, content-type"
        preflight = await world.send(
            "OPTIONS", "/mcp/legacy", headers={**origin, "Access-Control-Request-Headers": asked}
        )
        headers = preflight.headers
        assert (preflight.status, preflight.body) == (204, b"")
        assert headers["Access-Control-Allow-Origin"] == origin["Origin"]
        assert headers["Access-Control-Allow-Methods"] == "GET, POST, DELETE, OPTIONS"
        allowed = headers["Access-Control-Allow-Headers"].lower()
        for name in ("mcp-session-id", "mcp-method", "mcp-name", "authorization", "last-event-id"):
            assert name in allowed
        assert "mcp-param-region" in allowed and "x-evil" not in allowed
        client = await world.legacy("legacy")
        reply = await client.request("ping", headers=origin)
        assert reply.headers["Access-Control-Allow-Origin"] == origin["Origin"]
        assert "Mcp-Session-Id" in reply.headers["Access-Control-Expose-Headers"]
        assert reply.headers["Vary"] == "Origin"


async def test_options_without_an_origin(running: Running) -> None:
    async with running(ONE) as world:
        reply = await world.send("OPTIONS", "/mcp/legacy")
        assert (reply.status, reply.headers["Allow"]) == (204, "GET, POST, DELETE, OPTIONS")
        assert "Access-Control-Allow-Origin" not in reply.headers


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/json-rpc", "application/x-www-form-urlencoded"]
)
async def test_a_body_that_is_not_json(running: Running, kind: str) -> None:
    async with running(ONE) as world:
        reply = await world.send("POST", "/mcp/legacy", PING, {"Content-Type": kind})
        assert "application/json" in refused(reply, 415)


async def test_a_body_that_says_its_encoding(running: Running) -> None:
    async with running(ONE) as world:
        client = await world.legacy("legacy")
        headers = {"Content-Type": "application/json; charset=utf-8"}
        assert (await client.request("ping", headers=headers)).result == {}


@pytest.mark.spec("H4")
@pytest.mark.parametrize("accept", ["text/html", "application/xml", "application/json;q=0"])
async def test_a_reader_of_neither_kind(running: Running, accept: str) -> None:
    async with running(ONE) as world:
        refused(await world.send("POST", "/mcp/legacy", PING, {"Accept": accept}), 406)
        headers = {"Accept": "application/json"}
        refused(await world.send("GET", "/mcp/legacy/sse", headers=headers), 406)


@pytest.mark.spec("H4")
@pytest.mark.parametrize(
    ("accept", "stream"),
    [(BOTH, False), ("*/*", False), ("application/json", False), ("text/event-stream", True)],
)
async def test_a_quick_answer_is_json_where_json_is_read(
    running: Running, accept: str, stream: bool
) -> None:
    async with running(ONE) as world:
        modern, legacy = world.modern("modern"), await world.legacy("legacy")
        for client, method in (
            (modern, "server/discover"),
            (modern, "tools/list"),
            (legacy, "ping"),
        ):
            reply = await client.request(method, accept=accept)
            assert reply.is_stream is stream
        opened = await world.legacy("legacy", accept=accept)
        assert opened.introduction["serverInfo"]["name"] == "wire"


@pytest.mark.parametrize("accept", [BOTH, "application/json"])
async def test_progress_goes_to_readers_of_streams_only(running: Running, accept: str) -> None:
    async with running(ONE) as world:
        params = {"name": "flood", "arguments": {"count": 2, "size": 1}}
        meta = {"_meta": {"progressToken": "t"}}
        reply = await world.modern("modern").request("tools/call", params | meta, accept=accept)
        assert reply.is_stream is (accept == BOTH)
        assert len(reply.messages) == (3 if accept == BOTH else 1)


@pytest.mark.spec("H6")
@pytest.mark.parametrize(
    ("body", "code"),
    [(b"", -32700), (b"hello", -32700), (b"{", -32700), (b"\xff", -32700), (b"5", -32600)],
)
async def test_a_body_that_is_no_message(running: Running, body: bytes, code: int) -> None:
    async with running(ONE) as world:
        reply = await world.send("POST", "/mcp/legacy", body)
        refused(reply, 400)
        assert reply.error["code"] == code


def large(size: int) -> bytes:
    return json.dumps({**PING, "params": {"x": "x" * size}}).encode()


async def test_a_body_too_large_is_refused(running: Running) -> None:
    async with running(ONE, limits={"body": "100 KiB"}) as world:
        fits = await world.send("POST", "/mcp/legacy", large(90_000))
        assert fits.status == 400  # no session: it was read
        assert "limits.body" in refused(
            await world.send("POST", "/mcp/legacy", large(110_000)), 413
        )


@pytest.mark.parametrize("chunked", [True, False])
async def test_who_writes_first_and_reads_later_learns_why(running: Running, chunked: bool) -> None:
    """The body is read to its end, so that the answer is not lost to a reset."""
    async with running(ONE, limits={"body": "10 KiB"}) as world, asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
        length = "Transfer-Encoding: chunked" if chunked else "Content-Length: 6000000"
        head = f"POST /mcp/legacy HTTP/1.1\r\nHost: localhost\r\n{length}\r\n"
        writer.write(f"{head}Content-Type: application/json\r\n\r\n".encode())
        block = b"x" * 60_000
        for _ in range(100):
            writer.write(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
            await writer.drain()
        writer.write(b"0\r\n\r\n" if chunked else b"")
        answer = await reader.readuntil(b"}}")
        assert answer.startswith(b"HTTP/1.1 413 ")
        writer.close()
        await writer.wait_closed()


async def test_a_compressed_body(running: Running) -> None:
    async with running(ONE, limits={"body": "100 KiB"}) as world:
        headers = {"Content-Encoding": "gzip"}
        small = gzip.compress(large(1000))
        assert (await world.send("POST", "/mcp/legacy", small, headers)).error["code"] == -32600
        bomb = gzip.compress(large(50_000_000))
        assert len(bomb) < 100_000
        refused(await world.send("POST", "/mcp/legacy", bomb, headers), 413)
        broken = await world.send("POST", "/mcp/legacy", b"not gzip at all", headers)
        assert "cannot be read" in refused(broken, 400)


async def test_what_is_not_http_gets_a_line_and_no_traceback(
    running: Running, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(ONE) as world:
        for data in (b"\x16\x03\x01\r\n\r\n", b"GET\r\n\r\n", b"BREW / HTTP/1.1\r\n\r\n"):
            assert (await exchange(world, data)).startswith(b"HTTP/1.0 400 ")
    assert not caplog.records
    assert "Traceback" not in capsys.readouterr().out


async def test_a_request_has_an_id(running: Running) -> None:
    async with running(ONE) as world:
        reply = await world.send("POST", "/mcp/legacy", PING, {"X-Request-Id": "abc/1.2:3"})
        assert reply.headers["X-Request-Id"] == "abc/1.2:3"
        for hostile in ("x" * 129, "a b", "<script>", "é"):
            made = await world.send("POST", "/mcp/legacy", PING, {"X-Request-Id": hostile})
            assert made.headers["X-Request-Id"] != hostile
            assert re.fullmatch(r"[0-9a-f-]+", made.headers["X-Request-Id"])
        ids = {
            (await world.send("POST", "/mcp/legacy", PING)).headers["X-Request-Id"]
            for _ in range(5)
        }
        assert len(ids) == 5


@pytest.mark.spec("N13")
async def test_headers_of_an_answer(running: Running) -> None:
    async with running(ONE) as world:
        client = world.modern("modern")
        plain = await client.call("echo", text="x")
        assert plain.headers["Cache-Control"] == "no-store"
        assert plain.headers["Content-Type"] == "application/json"
        stream = await client.request("tools/list", accept="text/event-stream")
        assert stream.headers["Content-Type"] == "text/event-stream"
        assert "no-cache" in stream.headers["Cache-Control"]
        assert stream.headers["X-Accel-Buffering"] == "no"
        for reply in (plain, stream):
            assert reply.headers["Mcpgw-Server"] == "modern"
            assert reply.headers["Mcpgw-Instance"].startswith("modern#")
            assert int(reply.headers["Mcpgw-Queue-Ms"]) >= 0
            assert "Mcp-Session-Id" not in reply.headers


async def test_the_operators_headers_can_be_turned_off(running: Running) -> None:
    async with running(ONE, instance_headers=False) as world:
        reply = await world.modern("modern").call("echo", text="x")
        assert not [name for name in reply.headers if name.lower().startswith("mcpgw-")]


async def test_a_full_queue_says_when_to_try_again(running: Running) -> None:
    settings: Any = {
        "daemon": {"max": 1, "max_in_flight": 1},
        "queue": {"size": 1, "timeout": "50ms"},
    }
    async with running({"modern": tool("modern", **settings)}) as world:
        client = world.modern("modern")
        meta = {"progressToken": "t"}
        async with client.streaming("hold", key="k", steps=1, meta=meta) as held:
            await held.message()
            late = await client.call("echo", text="x")
            assert (late.status, late.error["code"], late.answer["id"]) == (503, -31011, 2)
            assert late.headers["Retry-After"] == "1"
            assert late.error["data"]["retryAfter"] == 1


@pytest.mark.spec("L11")
@pytest.mark.parametrize("date", LEGACY_DATES)
async def test_a_session_takes_every_known_version_header(running: Running, date: str) -> None:
    async with running(ONE) as world:
        client = await world.legacy("legacy")
        assert (await client.request("ping", headers={"MCP-Protocol-Version": date})).result == {}
        bad = await client.request("ping", headers={"MCP-Protocol-Version": "2020-01-01"})
        assert bad.status == 400


@pytest.mark.spec("C1", "X4")
async def test_a_body_may_be_indented(running: Running) -> None:
    """Line breaks between values must not become lines on the pipe."""
    hidden = '{"jsonrpc":"2.0","id":99,"method":"initialize","params":{}}'
    async with running(ONE) as world:
        client = await world.legacy("legacy")
        arguments = json.dumps({"text": "x", "rest": [json.loads(hidden)]}, indent=2)
        body = (
            '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":'
            + arguments.replace("[", "[\r\n" + hidden + ",\r")
            + "}}"
        )
        reply = await world.send("POST", client.path, body.encode(), client.headers("", {}))
        assert reply.text == "x"
        methods = [message["method"] for message in world.transcript()]
        assert methods.count("initialize") == 1


async def test_a_legacy_header_that_is_a_modern_one_needs_its_envelope(running: Running) -> None:
    async with running(ONE) as world:
        client = await world.legacy("legacy")
        reply = await client.request("ping", headers={"MCP-Protocol-Version": MODERN})
        assert (reply.status, reply.error["code"]) == (400, -32602)
        assert PREFIX in reply.error["message"]
