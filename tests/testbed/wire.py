"""One call of a tool, over plain HTTP, from the standard library."""

import json
import time
import urllib.error
import urllib.request
from typing import Any

REVISION = "2026-07-28"
_META = {
    "io.modelcontextprotocol/protocolVersion": REVISION,
    "io.modelcontextprotocol/clientCapabilities": {},
}


def call_tool(url: str, name: str, **arguments: Any) -> dict[str, Any]:
    """Give the whole JSON-RPC answer."""
    params = {"name": name, "arguments": arguments, "_meta": _META}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": REVISION,
        "Mcp-Method": "tools/call",
        "Mcp-Name": name,
    }
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read().decode()
    except urllib.error.HTTPError as exc:
        with exc:
            text = exc.read().decode()
    if text.startswith(("event:", "id:", "data:", ":")):
        text = [line[6:] for line in text.splitlines() if line.startswith("data: ")][-1]
    found: dict[str, Any] = json.loads(text)
    return found


def call_echo(url: str, text: str, *, within: float = 0) -> str:
    """Give what `echo` says; an error is tried again for a while, as it asks for."""
    until = time.monotonic() + within
    while True:
        answer = call_tool(url, "echo", text=text)
        if "result" in answer:
            said: str = answer["result"]["content"][0]["text"]
            return said
        assert time.monotonic() < until, answer
        time.sleep(answer["error"].get("data", {}).get("retryAfter", 0.1))
