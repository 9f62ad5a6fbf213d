"""What the doctor makes of single answers, and that nothing an edge says can stop it."""

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web

from mcpgw.doctor.answers import Answer, explain
from mcpgw.doctor.checks import caching, strangers
from mcpgw.doctor.client import Limits, read_header, read_url
from mcpgw.doctor.findings import Finding, Level, as_json, as_lines, skipped
from mcpgw.doctor.plain import plain_http
from mcpgw.doctor.public import public_findings
from mcpgw.units import Seconds
from tests.doctor.edges import HASTY, Handler, edge, far_away, rpc

CANARY = "secret-canary-of-a-key"
FAR = "https://mcp.example.com/mcp/demo"
WELL = {"_meta": {"io.modelcontextprotocol/serverInfo": {"name": "other"}}}


async def look(url: str, **headers: str) -> dict[str, Finding]:
    found = await public_findings(read_url(url), headers, HASTY)
    return {finding.check: finding for finding in found}


def always(response: web.Response) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        headers = dict(response.headers)
        return web.Response(status=response.status, headers=headers, body=response.body)

    return handle


@pytest.mark.parametrize(
    "answer",
    [
        {"result": {"_meta": None}},
        {"result": {"serverInfo": [1]}},
        {"result": [1]},
        {"error": "no"},
        {"error": {}},
        {"result": {"_meta": {"io.modelcontextprotocol/serverInfo": "x"}}},
    ],
)
async def test_odd_answers_stop_nothing(answer: dict[str, Any]) -> None:
    async with edge(always(rpc(**answer))) as url:
        assert "speaks MCP" in await look(url)


async def test_an_error_that_is_the_gateways_own_is_not_blamed_on_cloudflare() -> None:
    text = json.dumps({"jsonrpc": "2.0", "error": {"code": -31002, "message": "not yours"}})
    assert explain(Answer(403, {"cf-ray": "1"}, text))[0] == "it answers: not yours"
    assert "Cloudflare" in explain(Answer(403, {"cf-ray": "1"}, "<html>"))[0]


async def test_a_server_that_only_knows_the_old_way_is_told_apart() -> None:
    async def handle(request: web.Request) -> web.Response:
        if b'"initialize"' in await request.read():
            response = rpc(result={"protocolVersion": "2025-11-25"})
            response.headers["Mcp-Session-Id"] = "s"
            return response
        if request.method == "DELETE":
            return web.Response()
        return rpc(error={"code": -32601, "message": "unknown method"})

    async with edge(handle) as url:
        found = await look(url)
    assert found["speaks MCP"].level is Level.WARNING
    assert found["speaks MCP"].text == "only to old clients: it answers: unknown method"
    assert found["old clients"].level is Level.OK


async def test_an_edge_that_falls_silent_costs_bounded_time() -> None:
    asked = 0

    async def handle(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        if asked == 1:
            return rpc(result=WELL)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)  # and then nothing
        await asyncio.Event().wait()
        return response

    limits = Limits(answer=Seconds(0.2), check=Seconds(10), overall=Seconds(0.5))
    async with edge(handle) as url, asyncio.timeout(5):
        found = {f.check: f for f in await public_findings(read_url(url), {}, limits)}
    assert found["old clients"].level is Level.PROBLEM
    assert "in time" in found["old clients"].text
    assert found["other paths"] == skipped("other paths", "the checks before it took all the time")


async def test_a_check_has_its_own_bound_whatever_each_answer_may_take() -> None:
    async def trickle(request: web.Request) -> web.StreamResponse:
        if b"server/discover" in await request.read():
            return rpc(result=WELL)
        await asyncio.Event().wait()
        return web.Response()

    limits = Limits(answer=Seconds(60), check=Seconds(0.1), overall=Seconds(60))
    async with edge(trickle) as url, asyncio.timeout(5):
        found = {f.check: f for f in await public_findings(read_url(url), {}, limits)}
    assert found["old clients"].text == "the answer stopped coming"
    assert found["caching"].level is Level.OK


async def test_all_checks_together_have_a_bound_whatever_each_may_take() -> None:
    async def silent(request: web.Request) -> web.StreamResponse:
        if b"server/discover" in await request.read():
            return rpc(result=WELL)
        await asyncio.Event().wait()
        return web.Response()

    limits = Limits(answer=Seconds(60), check=Seconds(60), overall=Seconds(0.2))
    async with edge(silent) as url, asyncio.timeout(5):
        found = [f.level for f in await public_findings(read_url(url), {}, limits)]
    assert found == [Level.OK, Level.OK, Level.PROBLEM, *[Level.SKIPPED] * 6]


async def test_whoever_answers_strangers_from_afar_is_a_problem() -> None:
    async with edge(always(rpc(result=WELL))) as url, far_away(url, FAR.replace("s:", ":")) as far:
        assert (await strangers(far)).level is Level.PROBLEM
    async with edge(always(rpc(result=WELL))) as url:
        assert (await look(url))["strangers"].level is Level.WARNING
        assert (await look(url, **{"X-Api-Key": CANARY}))["strangers"].level is Level.PROBLEM


async def test_a_door_for_old_clients_left_open_is_found() -> None:
    async def handle(request: web.Request) -> web.Response:
        if b"server/discover" in await request.read():
            return web.Response(status=401)
        return rpc(result={})

    async with edge(handle) as url, far_away(url, FAR.replace("s:", ":")) as far:
        assert (await strangers(far)).level is Level.PROBLEM


async def test_a_session_that_a_stranger_got_is_ended() -> None:
    ended: list[str | None] = []

    async def handle(request: web.Request) -> web.Response:
        if request.method == "DELETE":
            ended.append(request.headers.get("Mcp-Session-Id"))
        response = rpc(result=WELL)
        response.headers["Mcp-Session-Id"] = "s"
        return response

    async with edge(handle) as url, far_away(url, FAR.replace("s:", ":")) as far:
        assert (await strangers(far)).level is Level.PROBLEM
    assert ended == ["s"]


async def test_an_edge_that_breaks_for_strangers_has_not_let_them_in() -> None:
    broken = always(web.Response(status=502))
    async with edge(broken) as url, far_away(url, FAR.replace("s:", ":")) as far:
        found = await strangers(far)
    assert found.level is Level.WARNING
    assert "neither served nor refused" in found.text


async def test_a_cookie_does_not_make_a_stranger_known() -> None:
    """Access gives one to whoever shows a service token."""

    async def handle(request: web.Request) -> web.Response:
        if "X-Api-Key" not in request.headers and "known" not in request.cookies:
            return web.Response(status=401)
        response = rpc(result=WELL)
        response.set_cookie("known", "yes")
        return response

    async with edge(handle) as url:  # by name: addresses get no cookies anyway
        found = await look(url.replace("127.0.0.1", "localhost"), **{"X-Api-Key": CANARY})
    assert found["strangers"].level is Level.OK


@pytest.mark.parametrize(
    ("response", "level"),
    [
        (web.Response(status=301, headers={"Location": FAR}), Level.OK),
        (web.Response(status=301, headers={"Location": "http://x/"}), Level.WARNING),
        (web.Response(status=404), Level.OK),
        (web.Response(text="<html>", content_type="text/html"), Level.OK),
        (web.Response(status=401), Level.PROBLEM),
        (rpc(result=WELL), Level.PROBLEM),
        (rpc(error={"code": -31001, "message": "who are you?"}), Level.PROBLEM),
    ],
)
async def test_what_port_80_says_is_judged(response: web.Response, level: Level) -> None:
    async with edge(always(response)) as url, far_away(url, FAR) as far:
        assert (await plain_http(far)).level is level


async def test_a_gateway_that_refuses_get_but_serves_post_without_tls_is_found() -> None:
    async def handle(request: web.Request) -> web.Response:
        return web.Response(status=405) if request.method == "GET" else rpc(result=WELL)

    async with edge(handle) as url, far_away(url, FAR) as far:
        assert (await plain_http(far)).level is Level.PROBLEM


async def test_a_public_url_without_tls_is_a_problem_by_itself() -> None:
    async with edge(always(web.Response())) as url, far_away(url, "http://mcp.example/x") as far:
        assert (await plain_http(far)).level is Level.PROBLEM


@pytest.mark.parametrize(
    ("headers", "level"),
    [
        ({"Cache-Control": "no-store"}, Level.OK),
        ({"Cache-Control": "no-store", "CF-Cache-Status": "DYNAMIC", "Age": "0"}, Level.OK),
        ({}, Level.WARNING),
        ({"Cache-Control": "max-age=0"}, Level.WARNING),
        ({"Cache-Control": "public, max-age=60"}, Level.PROBLEM),
        ({"Cache-Control": "max-age=60"}, Level.PROBLEM),
        ({"Cache-Control": "public"}, Level.PROBLEM),
        ({"Cache-Control": "no-store", "CF-Cache-Status": "HIT"}, Level.PROBLEM),
        ({"Cache-Control": "no-store", "X-Cache": "Hit from x"}, Level.PROBLEM),
        ({"Cache-Control": "no-store", "Age": "7"}, Level.PROBLEM),
        ({"Cache-Control": "no-store", "Age": "²"}, Level.OK),
    ],
)
async def test_caches_are_seen(headers: dict[str, str], level: Level) -> None:
    async with edge(always(web.Response(headers=headers))) as url, far_away(url, url) as client:
        assert (await caching(client)).level is level


async def test_a_key_that_the_other_side_repeats_is_not_shown_nor_are_escape_codes() -> None:
    message = f"\x1b[2J{CANARY} is wrong, Bearer {CANARY}\n{'x' * 5000}"
    async with edge(always(rpc(error={"code": 1, "message": message}))) as url:
        found = list((await look(url, Authorization=f"Bearer {CANARY}")).values())
    told = as_lines(found)
    assert "is wrong" in told
    assert CANARY not in told + as_json(found)
    assert "\x1b" not in told
    assert len(told) < 1000


@pytest.mark.parametrize(
    "text",
    [
        "mcp.example.com",
        "ftp://x/",
        "http://",
        "http://[/",
        "https://x:99999/",
        f"http://u:{CANARY}@x/",
    ],
)
def test_what_is_no_url_is_refused_and_no_password_is_repeated(text: str) -> None:
    with pytest.raises(ValueError, match=r"URL") as caught:
        read_url(text)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        CANARY,
        f": {CANARY}",
        f"X Y: {CANARY}",
        f"X\nY: {CANARY}",
        f"X: a\n{CANARY}",
        f"X: {CANARY}…",
    ],
)
def test_what_is_no_header_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|characters") as caught:
        read_header(text)
    assert CANARY not in str(caught.value)


def test_headers_are_read() -> None:
    assert read_header("Authorization:  Bearer a:b ") == ("Authorization", "Bearer a:b")
