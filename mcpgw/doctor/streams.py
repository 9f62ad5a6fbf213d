"""What only time shows: whether events come as they are sent, and whether leaving is noticed."""

import asyncio
import time
from typing import Final

import aiohttp

from mcpgw.doctor.client import Late, Outsider
from mcpgw.doctor.findings import Finding, ok, problem, skipped, warning
from mcpgw.units import Seconds

_SLOW: Final = Seconds(15)
"""How long the demo server's calls that we watch may take."""

_CANCELLED: Final = Seconds(10)
_DEMO: Final = "mcpgw-demo"
_TOKEN: Final = {"progressToken": "doctor"}
_LOST: Final = ("the stream broke off", "look at the proxy's log")


async def streaming(client: Outsider) -> Finding:
    """See whether events arrive when they are sent."""
    check = "streaming"
    try:
        if await _is_demo(client):
            return await _spread(client)
        return await _first_bytes(client)
    except (TimeoutError, Late):
        return _held_back(check)
    except aiohttp.ClientError:
        return problem(check, *_LOST)


async def _first_bytes(client: Outsider) -> Finding:
    """Listen for changes, which any server that has them confirms at once and never ends."""
    check = "streaming"
    begun = time.monotonic()
    params = {"notifications": {"toolsListChanged": True}}
    early = asyncio.timeout(client.limits.early)
    async with early, client.open("subscriptions/listen", params) as response:
        if response.content_type != "text/event-stream":
            return skipped(check, "the server has nothing to stream; try the demo tool")
        if not await response.content.readany():
            return problem(check, *_LOST)
        took = f"the first bytes came after {time.monotonic() - begun:.1f} s"
        return _unless_compressed(ok(check, took), response)


async def _spread(client: Outsider) -> Finding:
    """Have the demo server report progress over two seconds, and see whether it is spread."""
    params = {"name": "slow", "arguments": {"seconds": 2, "steps": 4}, "_meta": _TOKEN}
    times: list[float] = []
    async with client.open("tools/call", params) as response:
        async with asyncio.timeout(_SLOW):
            while data := await response.content.readany():
                times += [time.monotonic()] * data.count(b"data:")
        if len(times) < 2 or times[-1] - times[0] < 1:
            return _held_back("streaming")
        text = f"{len(times)} events came one by one, over {times[-1] - times[0]:.1f} s"
        return _unless_compressed(ok("streaming", text), response)


def _unless_compressed(finding: Finding, response: aiohttp.ClientResponse) -> Finding:
    coding = response.headers.get("Content-Encoding", "identity")
    if coding == "identity":
        return finding
    fix = "do not compress text/event-stream: other events may be held back"
    return warning(finding.check, f"{finding.text}, but compressed ({coding})", fix)


def _held_back(check: str) -> Finding:
    return problem(
        check,
        "events are held back until the answer is complete",
        "turn off buffering and compression in every proxy; a quick tunnel always buffers",
    )


async def cancelling(client: Outsider) -> Finding:
    """See whether leaving ends a call; only the demo server counts those that were ended."""
    check = "cancelling"
    if not await _is_demo(client):
        return skipped(check, "only the demo tool can tell; check it at /mcp/demo")
    before = await _count(client)
    if before is None:
        return skipped(check, "the demo tool does not tell its count")
    params = {"name": "slow", "arguments": {"seconds": 60, "steps": 600}, "_meta": _TOKEN}
    try:
        async with client.open("tools/call", params) as response:
            async with asyncio.timeout(_SLOW):
                await response.content.readany()
    except aiohttp.ClientError:
        return problem(check, *_LOST)
    until = time.monotonic() + _CANCELLED
    while time.monotonic() < until:
        if (await _count(client) or 0) > before:
            return ok(check, "a client that leaves is noticed, and its call cancelled")
        await asyncio.sleep(0.25)
    return problem(
        check,
        "a client that leaves is not noticed: its call goes on",
        'no "flush_interval -1" in Caddy before 2.9; and `mode: daemon` for the demo tool',
    )


async def _count(client: Outsider) -> int | None:
    answer = await client.ask("tools/call", {"name": "cancelled", "arguments": {}})
    content = (answer.result or {}).get("content")
    match content:
        case [{"text": str(text)}, *_] if text.isdecimal():
            return int(text)
        case _:
            return None


async def _is_demo(client: Outsider) -> bool:
    return (await client.ask("server/discover")).server == _DEMO
