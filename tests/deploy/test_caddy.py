"""A real Caddy with our Caddyfile in front of a real gateway."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from mcpgw.access.keys import digest
from tests.deploy.edge import KEY, Caddy, Client, events, leave, running_caddy
from tests.testbed.gateway import Gateway

ROOT = Path(__file__).parents[2]
SERVER = ROOT / "tests" / "servers" / "wire_server.py"
CADDYFILE = (ROOT / "Caddyfile").read_text()
STRIPPED = CADDYFILE.replace("handle /mcp/* {", "handle_path /mcp/* {")
TOKEN = {"_meta": {"progressToken": "t"}}


@pytest.fixture
async def caddy(
    request: pytest.FixtureRequest, gateway: Callable[..., Gateway], tmp_path: Path
) -> AsyncIterator[Caddy]:
    """Caddy, and the gateway behind it, with `keep_alive: 1s` for a minute's worth of quiet."""
    style = getattr(request, "param", CADDYFILE)
    tools = {
        "wire": {"cmd": sys.executable, "args": [str(SERVER), "modern"], "mode": "daemon"},
        "demo": {"cmd": "mcpgw", "args": ["demo-server"], "mode": "daemon"},
    }
    auth = {"keys": [{"name": "me", "key": digest(KEY)}]}
    config = json.dumps({"tools": tools, "keep_alive": "200ms", "auth": auth})
    running = await asyncio.to_thread(gateway, config)
    upstream = running.base.removeprefix("http://").rstrip("/")
    with running_caddy(tmp_path / "caddy", upstream, style) as caddy:
        await caddy.ready()
        yield caddy


def test_it_is_valid_and_in_the_usual_form(tmp_path: Path) -> None:
    with running_caddy(tmp_path, "127.0.0.1:1"):
        pass  # skips where there is no Caddy
    env = {"PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": str(tmp_path)}
    said = [
        subprocess.run(
            ["caddy", *words, str(ROOT / "Caddyfile")], capture_output=True, text=True, env=env
        )
        for words in (["validate", "--adapter", "caddyfile", "--config"], ["fmt"])
    ]
    assert said[0].returncode == 0, said[0].stderr
    assert said[1].stdout.strip() == CADDYFILE.strip()


def test_it_does_not_flush_in_the_way_that_hides_a_client_that_left() -> None:
    assert not re.search(r"^\s*flush_interval", CADDYFILE, re.MULTILINE)


@pytest.mark.parametrize("caddy", [CADDYFILE, STRIPPED], indirect=True, ids=["handle", "path"])
async def test_a_client_with_the_key_lists_and_calls(caddy: Caddy) -> None:
    for shown in ({"Authorization": f"Bearer {KEY}"}, {"X_API_Key": KEY}):
        async with caddy.client(**shown) as client:
            async with client.request("/mcp/demo", "tools/list", {}) as answer:
                assert answer.status == 200
                tools = (await answer.json())["result"]["tools"]
            assert "echo" in [tool["name"] for tool in tools]
            result = await client.call("/mcp/demo", "echo", text="hello")
            assert result["content"][0]["text"] == "hello"


@pytest.mark.parametrize(
    "shown",
    [
        {},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer wrong-key-of-some-length"},
        {"Authorization": KEY},
        {"X_API_Key": ""},
        {"X_API_Key": KEY + "x"},
    ],
)
async def test_without_the_key_there_is_nothing(caddy: Caddy, shown: dict[str, str]) -> None:
    for opened in (caddy.client, caddy.from_tunnel):
        async with opened(**shown) as client:
            for path in ("/mcp/demo", "/mcp/nothing", "/.well-known/oauth-protected-resource"):
                async with client.request(path, "tools/list", {}) as answer:
                    assert answer.status == 401
                    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
                    assert "key" in await answer.text()


async def test_nobody_becomes_somebody_by_saying_so(tmp_path: Path) -> None:
    claims = {
        "X-Forwarded-User": "admin",
        "X-Forwarded-Email": "a@example.com",
        "X-Forwarded-Groups": "admins",
        "X-Forwarded-Prefix": "/evil",
        "X-Auth-Request-User": "admin",
        "Remote-User": "admin",
        "Remote-Groups": "admins",
        "X-Real-Ip": "10.0.0.1",
        "Forwarded": "for=10.0.0.1",
        "X-Forwarded-For": "10.0.0.1",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "http",
        "Cf-Access-Client-Id": "id",
        "Cf-Access-Client-Secret": "secret-canary",
        "Cf-Access-Token": "token-canary",
        "Cookie": "CF_Authorization=cookie-canary",
    }
    kept = {"Mcp-Session-Id": "s", "Cf-Access-Jwt-Assertion": "signed", "Mcp-Method": "m"}
    kept |= {"Authorization": f"Bearer {KEY}"}
    async with upstream() as (address, seen):
        with running_caddy(tmp_path / "c", address) as caddy:
            await caddy.ready()
            async with caddy.client() as client:
                assert (await client.get("/mcp/x", **claims, **kept))[0] == 200
            log = caddy.log.read_text()
    [headers] = seen
    assert {name: headers[name] for name in kept} == kept
    assert headers["X-Forwarded-For"] == "127.0.0.1"
    assert headers["X-Forwarded-Proto"] == "https"
    assert headers["X-Forwarded-Host"].startswith("localhost")
    assert headers["Host"] == address
    gone = {"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"}
    for name in set(claims) - gone:
        assert name not in headers
    for secret in (KEY, "canary", "signed"):
        assert secret not in log


async def test_progress_comes_when_it_happens(caddy: Caddy) -> None:
    async with caddy.client(X_API_Key=KEY) as client, asyncio.timeout(20):
        params = {"name": "hold", "arguments": {"key": "k", "steps": 1}, **TOKEN}
        async with client.request("/mcp/wire", "tools/call", params) as answer:
            assert answer.content_type == "text/event-stream"
            async for said in events(answer):
                if not said.startswith(":"):
                    assert json.loads(said)["method"] == "notifications/progress"
                    break  # before the call is over: nothing released it
            await client.call("/mcp/wire", "release", key="k")
            assert "result" in await _answer_of(answer)


async def test_a_quiet_stream_stays_open_for_as_long_as_it_takes(caddy: Caddy) -> None:
    """Fifteen comments are what ten minutes of quiet have at a ratio of 1 to 200."""
    async with caddy.client(X_API_Key=KEY) as client, asyncio.timeout(30):
        params = {"name": "hold", "arguments": {"key": "q", "steps": 1}, **TOKEN}
        async with client.request("/mcp/wire", "tools/call", params) as answer:
            comments = 0
            async for said in events(answer):
                comments += said.startswith(":")
                if comments == 15:
                    break
            await client.call("/mcp/wire", "release", key="q")
            assert "result" in await _answer_of(answer)


@pytest.mark.parametrize("steps", [0, 1], ids=["silent", "streaming"])
async def test_a_client_that_leaves_cancels_at_the_server(caddy: Caddy, steps: int) -> None:
    async with caddy.client(X_API_Key=KEY) as client, asyncio.timeout(30):
        await client.call("/mcp/wire", "echo", text="started")
        params = {"name": "hold", "arguments": {"key": "gone", "steps": steps}, **TOKEN}
        leaving = client.request("/mcp/wire", "tools/call", params)
        if steps:
            answer = await leaving
            await anext(events(answer))
            leave(answer)
        else:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.15):
                    await leaving
        result = await client.call("/mcp/wire", "await_cancel")
        assert "gone" in result["content"][0]["text"]


async def test_large_answers_and_bodies_pass_and_too_large_ones_are_refused(caddy: Caddy) -> None:
    async with caddy.client(X_API_Key=KEY) as client, asyncio.timeout(60):
        result = await client.call("/mcp/demo", "big", bytes=10_000_000)
        assert len(result["content"][0]["text"]) == 10_000_000
        text = "x" * 3_000_000
        assert (await client.call("/mcp/demo", "echo", text=text))["content"][0]["text"] == text
        huge = {"name": "echo", "arguments": {"text": "x" * 9_000_000}}
        async with client.request("/mcp/demo", "tools/call", huge) as answer:
            assert answer.status in (413, 502)


async def test_what_is_not_published_is_not_there(caddy: Caddy) -> None:
    async with caddy.client(X_API_Key=KEY) as client:
        for path in ("/metrics", "/healthz", "/demo", "/", "/mcp"):
            assert (await client.get(path))[0] == 404
        for path in ("/.well-known/oauth-protected-resource/mcp/demo", "/mcp/none"):
            assert (await client.get(path))[0] == 404
        assert await client.get("/caddy-is-up") == (200, "ok")


async def test_sessions_and_their_streams_pass(caddy: Caddy) -> None:
    async with caddy.client(X_API_Key=KEY) as client, asyncio.timeout(20):
        session = await _initialize(client)
        headers = {"Mcp-Session-Id": session, "Accept": "text/event-stream"}
        async with client.http.get(f"{client.base}/mcp/demo", headers=headers) as stream:
            assert stream.content_type == "text/event-stream"
            async for said in events(stream):
                assert said.startswith(":")
                break
        async with client.http.delete(f"{client.base}/mcp/demo", headers=headers) as answer:
            assert answer.status < 300


async def _initialize(client: Client) -> str:
    info = {"protocolVersion": "2025-11-25", "capabilities": {}}
    params = {**info, "clientInfo": {"name": "t", "version": "1"}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
    accept = {"Accept": "application/json, text/event-stream"}
    url = f"{client.base}/mcp/demo"
    async with client.http.post(url, json=body, headers=accept) as answer:
        assert answer.status == 200
        session: str = answer.headers["Mcp-Session-Id"]
    body = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    async with client.http.post(
        url, json=body, headers={**accept, "Mcp-Session-Id": session}
    ) as answer:
        assert answer.status == 202
    return session


async def _answer_of(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    async for said in events(answer):
        if not said.startswith(":") and "id" in (message := json.loads(said)):
            found: dict[str, Any] = message
            return found
    raise AssertionError("the stream ended without an answer")


@asynccontextmanager
async def upstream() -> AsyncIterator[tuple[str, list[dict[str, str]]]]:
    """A stand-in for the gateway that notes what Caddy sends: only Caddy is looked at here."""
    seen: list[dict[str, str]] = []

    async def note(request: web.Request) -> web.Response:
        seen.append({name.title(): value for name, value in request.headers.items()})
        return web.Response(text="ok")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", note)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield "{}:{}".format(*runner.addresses[0]), seen
    finally:
        await runner.cleanup()
