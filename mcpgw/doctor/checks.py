"""What a single answer shows: who is served, and what proxies did to it."""

import re
from collections.abc import Mapping
from typing import Any, Final

from mcpgw import __version__
from mcpgw.doctor.answers import Answer, explain
from mcpgw.doctor.client import LEGACY, Outsider
from mcpgw.doctor.findings import Finding, ok, problem, warning

_SECRET_PATHS: Final = ("/metrics", "/healthz", "/readyz", "/status", "/reload")
_INITIALIZE: Final[Mapping[str, Any]] = {
    "protocolVersion": LEGACY,
    "capabilities": {},
    "clientInfo": {"name": "mcpgw-doctor", "version": __version__},
}


def modern_clients(answer: Answer) -> Finding:
    """Say what an answer to `server/discover` means."""
    if answer.result is not None and answer.status == 200:
        return ok("speaks MCP", f"{answer.server}, to clients of 2026-07-28")
    return problem("speaks MCP", *explain(answer))


async def old_clients(client: Outsider) -> Finding:
    """Open a session as old clients do, and end it."""
    check = "old clients"
    answer = await client.ask_legacy("initialize", _INITIALIZE)
    if answer.result is None:
        return problem(check, *explain(answer))
    session = answer.headers.get("mcp-session-id")
    if session is None:
        return problem(check, "the session id is lost", "let the proxy pass Mcp-Session-Id")
    ended = await client.end(session)
    if ended.status >= 400:
        return warning(check, f"DELETE is answered {ended.status}", "let the proxy pass DELETE")
    return ok(check, f"clients of {LEGACY} open and end a session")


async def strangers(client: Outsider) -> Finding:
    """Ask both ways without credentials: all of it has to be refused."""
    check = "strangers"
    stranger = client.stranger()
    modern = await stranger.ask("server/discover")
    old = await stranger.ask_legacy("initialize", _INITIALIZE)
    if session := old.headers.get("mcp-session-id"):
        await stranger.end(session)
    for answer in (modern, old):
        if answer.is_refusal:
            continue
        if answer.message is None:
            return warning(check, f"neither served nor refused: {explain(answer)[0]}")
        if client.is_local and not client.has_credentials:
            return warning(check, "anybody on this machine can use it")
        return problem(
            check,
            "anybody can use this tool: it answers without credentials",
            "ask for a key (auth: keys), or put it behind Cloudflare Access",
        )
    how = "a page to log in" if modern.is_login else str(modern.status)
    return ok(check, f"whoever has no credentials gets {how}")


async def caching(client: Outsider) -> Finding:
    """See whether a proxy keeps answers, or may: they are one client's own."""
    check = "caching"
    answer = await client.ask("server/discover")
    told = answer.headers.get("cache-control", "").lower()
    hits = (answer.headers.get(name, "") for name in ("cf-cache-status", "x-cache"))
    if any("hit" in hit.lower() for hit in hits) or int(_digits(answer.headers.get("age"))) > 0:
        fix = "let the proxy, or Cloudflare's cache rules, bypass the cache for /mcp/*"
        return problem(check, "an answer came out of a cache", fix)
    fix = "let the proxy pass Cache-Control as it is"
    if "public" in told or re.search(r"max-age=0*[1-9]", told):
        return problem(check, f"answers may be kept by caches ({told})", fix)
    if "no-store" not in told:
        return warning(check, "a proxy took Cache-Control: no-store away", fix)
    return ok(check, "answers are kept by nobody")


def _digits(text: str | None) -> str:
    return text if text is not None and text.isdecimal() else "0"


async def other_paths(client: Outsider) -> Finding:
    """Look for what only the machine itself should see."""
    check = "other paths"
    prefix = client.url.path.rpartition("/")[0]
    for path in dict.fromkeys([*_SECRET_PATHS, *(f"{prefix}{path}" for path in _SECRET_PATHS)]):
        answer = await client.at(client.url.with_path(path)).get()
        if answer.status == 200 and "text/html" not in answer.headers.get("content-type", ""):
            return problem(check, f"{path} can be seen from outside", "publish /mcp/* only")
    return ok(check, "nothing but tools is published")
