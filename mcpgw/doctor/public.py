"""A published gateway, seen from outside: reached, closed to strangers, streaming, cancelling."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any, Final

from yarl import URL

from mcpgw.doctor.checks import caching, modern_clients, old_clients, other_paths, strangers
from mcpgw.doctor.client import Limits, Outsider, Unreachable, outsider
from mcpgw.doctor.findings import Finding, Level, ok, problem, skipped, warning
from mcpgw.doctor.plain import plain_http
from mcpgw.doctor.streams import cancelling, streaming

Check = Callable[[Outsider], Coroutine[Any, Any, Finding]]

_CHECKS: Final[Mapping[str, Check]] = {
    "strangers": strangers,
    "plain http": plain_http,
    "caching": caching,
    "streaming": streaming,
    "cancelling": cancelling,
    "other paths": other_paths,
}

_LIMITS: Final = Limits()
_SHORTEST_SECRET: Final = 4
_LONGEST_TEXT: Final = 300


async def public_findings(
    url: URL, headers: Mapping[str, str], limits: Limits = _LIMITS
) -> list[Finding]:
    """Look at one tool's public URL, as a client that sends `headers` would."""
    async with outsider(url, headers, limits) as client:
        findings = [finding async for finding in _findings(client)]
    return [_printable(finding, _secrets(headers)) for finding in findings]


async def _findings(client: Outsider) -> AsyncIterator[Finding]:
    end = asyncio.get_running_loop().time() + client.limits.overall
    try:
        answer = await client.ask("server/discover")
    except Unreachable as exc:
        yield problem("reach", f"{client.url}: {exc}", exc.fix)
        return
    yield ok("reach", f"{client.url} answers")
    modern, old = modern_clients(answer), None
    if modern.level is Level.OK or answer.complaint is not None:
        old = await _bounded("old clients", old_clients, client, end)
    if old is None or (modern.level is not Level.OK and old.level is Level.PROBLEM):
        yield modern
        return
    if modern.level is not Level.OK:
        modern = warning(modern.check, f"only to old clients: {modern.text}", modern.fix)
    yield modern
    yield old
    held_back = False
    for name, check in _CHECKS.items():
        if held_back and check is cancelling:
            yield skipped(name, "a call that is held back cannot be left")
            continue
        finding = await _bounded(name, check, client, end)
        held_back = held_back or (check is streaming and finding.level is Level.PROBLEM)
        yield finding


async def _bounded(name: str, check: Check, client: Outsider, end: float) -> Finding:
    """Make a check, within its time and what is left of everybody's."""
    now = asyncio.get_running_loop().time()
    if now >= end:
        return skipped(name, "the checks before it took all the time")
    try:
        async with asyncio.timeout_at(min(end, now + client.limits.check)):
            return await check(client)
    except Unreachable as exc:
        return problem(name, str(exc), exc.fix)
    except TimeoutError:
        return problem(name, "the answer stopped coming", "look at the proxy's log")


def _secrets(headers: Mapping[str, str]) -> list[str]:
    """What must not be shown, even if the other side says it: values, and their words."""
    words = {word for value in headers.values() for word in (value, *value.split())}
    return sorted((word for word in words if len(word) >= _SHORTEST_SECRET), key=len, reverse=True)


def _printable(finding: Finding, secrets: list[str]) -> Finding:
    """Take out of a finding what strangers may have put there: secrets, and escape codes."""

    def clean(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, "…")
        shown = "".join(char if char.isprintable() else "?" for char in text)
        return shown if len(shown) <= _LONGEST_TEXT else f"{shown[:_LONGEST_TEXT]}…"

    return replace(finding, text=clean(finding.text), fix=clean(finding.fix))
