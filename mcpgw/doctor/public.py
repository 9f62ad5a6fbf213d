"""A published gateway, seen from outside: reached, closed to strangers, streaming, cancelling."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any, Final

import aiohttp

from mcpgw.doctor.answers import Answer, explain
from mcpgw.doctor.client import LEGACY, Outsider, Unreachable, outsider
from mcpgw.doctor.findings import Finding, Level, ok, problem, skipped, warning
from mcpgw.units import Seconds

_EARLY: Final = Seconds(5)
"""When the first bytes of a stream have to be there."""

_CANCELLED: Final = Seconds(10)
_DEMO: Final = "mcpgw-demo"
_SECRET_PATHS: Final = ("/metrics", "/healthz", "/readyz", "/status", "/reload")
_INFO: Final = "io.modelcontextprotocol/serverInfo"
_TOKEN: Final = {"progressToken": "doctor"}

Check = Callable[[Outsider], Coroutine[Any, Any, Finding]]


async def public_findings(url: str, headers: Mapping[str, str]) -> list[Finding]:
    """Look at one tool's public URL, as a client that sends `headers` would."""
    async with outsider(url, headers) as client:
        return [finding async for finding in _findings(client)]


async def _findings(client: Outsider) -> AsyncIterator[Finding]:
    try:
        answer = await client.ask("server/discover")
    except Unreachable as exc:
        yield problem("reach", f"{client.url}: {exc}", "check the name, the port and the proxy")
        return
    yield ok("reach", f"{client.url} answers")
    speaks = _spoken(answer)
    yield speaks
    if speaks.fix:
        return
    checks: tuple[tuple[str, Check], ...] = (
        ("old clients", _old_clients),
        ("strangers", _strangers),
        ("plain http", _plain_http),
        ("streaming", _streaming),
        ("cancelling", _cancelling),
        ("other paths", _other_paths),
    )
    buffered = False
    for name, check in checks:
        if buffered and check is _cancelling:
            yield skipped(name, "a call that is held back cannot be left")
            continue
        try:
            finding = await check(client)
        except Unreachable as exc:
            finding = problem(name, str(exc))
        except (TimeoutError, aiohttp.ClientError):
            finding = problem(name, "the answer stopped coming", "look at the proxy's log")
        buffered = buffered or (check is _streaming and finding.level is Level.PROBLEM)
        yield finding


def _spoken(answer: Answer) -> Finding:
    message = answer.message
    if message is not None and "result" in message:
        info = message["result"].get("_meta", {}).get(_INFO, {}) or message["result"].get(
            "serverInfo"
        )
        name = (info or {}).get("name", "a server")
        return ok("speaks MCP", f"{name}, to clients of 2026-07-28")
    if message is not None and answer.status not in (401, 403, 404):
        text = message.get("error", {}).get("message", "an error")
        return problem("speaks MCP", f"it answers: {text}", "look at the gateway's log")
    return problem("speaks MCP", *explain(answer))


async def _old_clients(client: Outsider) -> Finding:
    check = "old clients"
    info = {"name": "mcpgw-doctor", "version": "1"}
    params = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": info}
    answer = await client.ask_legacy("initialize", params)
    message = answer.message
    if message is None or "result" not in message:
        return problem(check, *explain(answer))
    session = answer.headers.get("mcp-session-id")
    if session is None:
        return problem(check, "the session id is lost", "let the proxy pass Mcp-Session-Id")
    ended = await client.end(session)
    if ended.status >= 400:
        return warning(check, f"DELETE is answered {ended.status}", "let the proxy pass DELETE")
    return ok(check, f"clients of {LEGACY} open and end a session")


async def _strangers(client: Outsider) -> Finding:
    check = "strangers"
    answer = await client.stranger().ask("server/discover")
    if answer.is_refusal:
        how = "a page to log in" if answer.is_login else str(answer.status)
        return ok(check, f"whoever has no credentials gets {how}")
    if client.is_local:
        return warning(check, "anybody on this machine can use it")
    return problem(
        check,
        "anybody can use this tool: it answers without credentials",
        "ask for a key in the proxy, or put it behind Cloudflare Access",
    )


async def _plain_http(client: Outsider) -> Finding:
    check = "plain http"
    if client.is_local or client.url.scheme != "https":
        return skipped(check, "only for https on another machine")
    try:
        answer = await client.at(client.url.with_scheme("http").with_port(80)).stranger().get()
    except Unreachable:
        return ok(check, "nobody answers")
    if 300 <= answer.status < 400 and answer.headers.get("location", "").startswith("https:"):
        return ok(check, "sent on to https")
    if answer.status >= 400:
        return ok(check, f"refused with {answer.status}")
    return problem(check, "it is served without encryption", "redirect to https in the proxy")


async def _streaming(client: Outsider) -> Finding:
    check = "streaming"
    if await _is_demo(client):
        return await _spread(client)
    begun = time.monotonic()
    params = {"notifications": {"toolsListChanged": True}}
    async with client.open("subscriptions/listen", params) as response:
        if response.content_type != "text/event-stream":
            return skipped(check, "the server has nothing to stream; try the demo tool")
        try:
            async with asyncio.timeout(_EARLY):
                await response.content.readany()
        except TimeoutError:
            return _buffered(check)
        except aiohttp.ClientError:
            return problem(check, "the stream broke off at once", "look at the proxy's log")
    return ok(check, f"the first bytes came after {time.monotonic() - begun:.1f} s")


async def _spread(client: Outsider) -> Finding:
    """Have the demo server report progress over two seconds, and see whether it is spread."""
    params = {"name": "slow", "arguments": {"seconds": 2, "steps": 4}, "_meta": _TOKEN}
    times: list[float] = []
    async with client.open("tools/call", params) as response:
        async with asyncio.timeout(_EARLY + 10):
            async for line in response.content:
                if line.startswith(b"data:"):
                    times.append(time.monotonic())
    if len(times) < 2:
        return _buffered("streaming")
    spread = times[-1] - times[0]
    if spread < 1:
        return _buffered("streaming")
    return ok("streaming", f"{len(times)} events came one by one, over {spread:.1f} s")


def _buffered(check: str) -> Finding:
    return problem(
        check,
        "events are held back until the answer is complete",
        "turn off buffering and compression in every proxy; a quick tunnel always buffers",
    )


async def _cancelling(client: Outsider) -> Finding:
    check = "cancelling"
    if not await _is_demo(client):
        return skipped(check, "only the demo tool can tell; check it at /mcp/demo")
    before = await _count(client)
    params = {"name": "slow", "arguments": {"seconds": 60, "steps": 600}, "_meta": _TOKEN}
    async with client.open("tools/call", params) as response:
        async with asyncio.timeout(_EARLY + 10):
            await response.content.readany()
    until = time.monotonic() + _CANCELLED
    while time.monotonic() < until:
        if await _count(client) > before:
            return ok(check, "a client that leaves is noticed, and its call cancelled")
        await asyncio.sleep(0.25)
    return problem(
        check,
        "a client that leaves is not noticed: its call goes on",
        'no "flush_interval -1" in Caddy before 2.9; and `mode: daemon` for the demo tool',
    )


async def _count(client: Outsider) -> int:
    answer = await client.ask("tools/call", {"name": "cancelled", "arguments": {}})
    try:
        assert answer.message is not None
        return int(answer.message["result"]["content"][0]["text"])
    except (AssertionError, KeyError, IndexError, ValueError):
        return 0


async def _other_paths(client: Outsider) -> Finding:
    check = "other paths"
    prefix = client.url.path.rpartition("/")[0]
    for path in (*_SECRET_PATHS, *(f"{prefix}{path}" for path in _SECRET_PATHS)):
        answer = await client.at(client.url.with_path(path)).get()
        if answer.status == 200 and "text/html" not in answer.headers.get("content-type", ""):
            return problem(check, f"{path} can be seen from outside", "publish /mcp/* only")
    return ok(check, "nothing but tools is published")


async def _is_demo(client: Outsider) -> bool:
    answer = await client.ask("server/discover")
    return _DEMO in answer.text
