"""`mcpgw doctor --public` against a real gateway, bare and behind edges that are broken."""

import asyncio
import json
import os
import ssl
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from mcpgw.doctor.answers import Answer, explain
from mcpgw.doctor.client import read_url
from mcpgw.doctor.findings import Finding, Level, as_json, as_lines, has_problem
from mcpgw.doctor.public import public_findings
from tests.doctor.edges import Handler, edge
from tests.testbed.gateway import Gateway

CONFIG = """
tools:
  demo: {cmd: mcpgw, args: [demo-server], mode: daemon}
  fresh: {cmd: mcpgw, args: [demo-server], mode: launcher}
"""
CANARY = "secret-canary-of-a-key"


@pytest.fixture
async def served(gateway: Callable[..., Gateway]) -> Gateway:
    return await asyncio.to_thread(gateway, CONFIG)


async def look(url: str, **headers: str) -> dict[str, Finding]:
    async with asyncio.timeout(60):
        return {finding.check: finding for finding in await public_findings(read_url(url), headers)}


def proxy(served: Gateway, *, buffering: bool = False) -> Handler:
    """A proxy that may hold answers back."""

    async def handle(request: web.Request) -> web.StreamResponse:
        url = served.base.rstrip("/").removesuffix("/mcp") + request.path
        skip = {"host", "content-length"}
        headers = {k: v for k, v in request.headers.items() if k.lower() not in skip}
        async with (
            aiohttp.ClientSession(auto_decompress=False) as http,
            http.request(request.method, url, data=await request.read(), headers=headers) as answer,
        ):
            kept = {k: v for k, v in answer.headers.items() if k.lower() in KEPT}
            if buffering:
                body = await answer.read()
                return web.Response(status=answer.status, body=body, headers=kept)
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            while data := await answer.content.readany():
                with suppress(ConnectionError):
                    await response.write(data)
            return response

    return handle


KEPT = {"content-type", "cache-control", "mcp-session-id", "mcp-protocol-version"}


async def test_a_gateway_that_is_as_it_should_be(served: Gateway) -> None:
    found = await look(served.url("demo"))
    assert {check: finding.level for check, finding in found.items()} == {
        "reach": Level.OK,
        "speaks MCP": Level.OK,
        "old clients": Level.OK,
        "strangers": Level.WARNING,
        "plain http": Level.SKIPPED,
        "caching": Level.OK,
        "streaming": Level.OK,
        "cancelling": Level.OK,
        "other paths": Level.OK,
    }


async def test_an_honest_proxy_is_no_problem(served: Gateway) -> None:
    async with edge(proxy(served)) as url:
        assert not has_problem(list((await look(url)).values()))


async def test_a_proxy_that_buffers_is_found(served: Gateway) -> None:
    async with edge(proxy(served, buffering=True)) as url:
        found = await look(url)
    assert found["streaming"].level is Level.PROBLEM
    assert "held back" in found["streaming"].text
    assert found["cancelling"].level is Level.SKIPPED


async def test_a_proxy_that_does_not_hear_its_client_leave_is_found(served: Gateway) -> None:
    async with edge(proxy(served), deaf=True) as url:
        found = await look(url)
    assert found["streaming"].level is Level.OK
    assert found["cancelling"].level is Level.PROBLEM
    assert "flush_interval" in found["cancelling"].fix


async def test_a_gateway_that_asks_for_a_key_is_closed_to_strangers(served: Gateway) -> None:
    honest = proxy(served)

    async def keyed(request: web.Request) -> web.StreamResponse:
        if request.headers.get("X-Api-Key") != CANARY:
            return web.Response(status=401, headers={"WWW-Authenticate": "Bearer"})
        return await honest(request)

    async with edge(keyed) as url:
        found = await look(url, **{"X-Api-Key": CANARY})
        assert found["strangers"] == Finding(
            "strangers", Level.OK, "whoever has no credentials gets 401"
        )
        assert not has_problem(list(found.values()))
        assert CANARY not in as_lines(list(found.values())) + as_json(list(found.values()))
        without = await look(url)
    assert without["speaks MCP"].level is Level.PROBLEM
    assert "it wants credentials" in without["speaks MCP"].text
    assert list(without) == ["reach", "speaks MCP"]


async def test_what_is_published_besides_tools_is_found(served: Gateway) -> None:
    honest = proxy(served)

    async def leaky(request: web.Request) -> web.StreamResponse:
        if request.path == "/mcp/metrics":
            return web.Response(text="mcpgw_requests_total 1")
        return await honest(request)

    async with edge(leaky) as url:
        found = await look(url)
    assert found["other paths"].level is Level.PROBLEM
    assert "/mcp/metrics" in found["other paths"].text


async def test_a_proxy_that_loses_the_session_is_found(served: Gateway) -> None:
    honest = proxy(served)

    async def lossy(request: web.Request) -> web.StreamResponse:
        if b'"initialize"' in await request.read():
            text = json.dumps({"jsonrpc": "2.0", "id": 1, "result": {}})
            return web.Response(text=text, content_type="application/json")
        return await honest(request)

    async with edge(lossy) as url:
        found = await look(url)
    assert "session id is lost" in found["old clients"].text


async def test_a_proxy_that_takes_no_delete_is_found(served: Gateway) -> None:
    honest = proxy(served)

    async def strict(request: web.Request) -> web.StreamResponse:
        return web.Response(status=405) if request.method == "DELETE" else await honest(request)

    async with edge(strict) as url:
        found = await look(url)
    assert found["old clients"].level is Level.WARNING
    assert "DELETE is answered 405" in found["old clients"].text


@pytest.mark.parametrize(
    ("status", "headers", "text", "says"),
    [
        (
            *(302, {"location": "https://t.cloudflareaccess.com/cdn-cgi/access/login/x"}, ""),
            "page to log in",
        ),
        (301, {"location": "https://other.example/"}, "", "redirects to https://other.example/"),
        (403, {"cf-mitigated": "challenge"}, "", "Cloudflare turns the request away"),
        (401, {"www-authenticate": "Bearer"}, "", "wants credentials"),
        (403, {}, "", "wants credentials"),
        (404, {}, "", "nothing at that URL"),
        (502, {}, "", "does not reach the gateway"),
        (524, {}, "", "waited too long"),
        (530, {}, "error code: 1033", "tunnel is down"),
        (200, {"content-type": "text/html"}, "<html>", "web page"),
        (418, {}, "", "answers 418"),
    ],
)
async def test_what_is_not_mcp_is_explained(
    status: int, headers: dict[str, str], text: str, says: str
) -> None:
    what, fix = explain(Answer(status, headers, text))
    assert says in what
    assert fix

    async def handle(request: web.Request) -> web.Response:
        return web.Response(status=status, headers=headers, text=text)

    async with edge(handle) as url:
        found = await look(url)
    assert says in found["speaks MCP"].text
    assert found["speaks MCP"].level is Level.PROBLEM


async def test_nobody_there_is_said_plainly() -> None:
    found = await look("http://127.0.0.1:1/mcp/demo")
    assert "nobody listens there" in found["reach"].text
    found = await look("https://no-such-host.invalid/mcp/demo")
    assert "there is no host no-such-host.invalid" in found["reach"].text


async def test_a_certificate_that_is_not_trusted_is_said_plainly(
    served: Gateway, tmp_path: Path
) -> None:
    context = await asyncio.to_thread(_self_signed, tmp_path)
    async with edge(proxy(served), context) as url:
        found = await look(url)
    assert "certificate is not trusted" in found["reach"].text


async def test_the_command_says_the_same_and_exits_accordingly(served: Gateway) -> None:
    url = served.url("demo")
    status, text = await asyncio.to_thread(run, "--public", url)
    assert status == 0
    assert "ok    speaks MCP   mcpgw-demo, to clients of 2026-07-28" in text
    status, text = await asyncio.to_thread(run, "--public", url, "--json")
    assert (status, json.loads(text)[0]["level"]) == (0, "ok")
    header = ("--header", f"X-Api-Key: {CANARY}")
    status, text = await asyncio.to_thread(run, "--public", "http://127.0.0.1:1/", *header)
    assert status == 1
    assert CANARY not in text


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "doctor needs --config FILE, --public URL, or both"),
        (("--public", "mcp.example.com"), "that is no URL"),
        (("--public", "http://x/", "--header", "nonsense"), "expected 'Name: value'"),
    ],
)
def test_what_is_missing_is_asked_for(words: tuple[str, ...], complaint: str) -> None:
    status, text = run(*words)
    assert status == 2
    assert complaint in text


def run(*words: str, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "mcpgw", "doctor", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=90,
        env={**os.environ, **(env or {})},
    )
    return done.returncode, done.stdout


def _self_signed(folder: Path) -> ssl.SSLContext:
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(cert)),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context
