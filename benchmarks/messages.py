"""The requests that are sent, ready to be written."""

import json
from typing import Any

MODERN = "2026-07-28"
LEGACY = "2025-11-25"

_COMMON = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}


def call_params(tool: str, arguments: dict[str, Any], token: str | None = None) -> dict[str, Any]:
    """The parameters of a tool call; with a token, progress is wanted."""
    params: dict[str, Any] = {"name": tool, "arguments": arguments}
    return params | ({"_meta": {"progressToken": token}} if token else {})


def line(method: str, params: dict[str, Any], id: int | None = 1) -> str:
    """One JSON-RPC message."""
    message: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": params}
    if id is not None:
        message["id"] = id
    return json.dumps(message, separators=(",", ":"))


def modern_line(method: str, params: dict[str, Any]) -> str:
    """One request of the modern era, with its envelope."""
    prefix = "io.modelcontextprotocol/"
    envelope = {
        prefix + "protocolVersion": MODERN,
        prefix + "clientCapabilities": {},
        prefix + "clientInfo": {"name": "load", "version": "1"},
    }
    return line(method, {**params, "_meta": {**params.get("_meta", {}), **envelope}})


def modern_headers(params: dict[str, Any]) -> dict[str, str]:
    """The headers of a modern tool call."""
    named = {"Mcp-Method": "tools/call", "Mcp-Name": params["name"]}
    return {**_COMMON, "MCP-Protocol-Version": MODERN, **named}


def legacy_headers(session: str | None) -> dict[str, str]:
    """The headers of a message in a session, or of the one that opens it."""
    if session is None:
        return _COMMON
    return {**_COMMON, "MCP-Protocol-Version": LEGACY, "Mcp-Session-Id": session}


def initialize_line() -> str:
    """The first message of a legacy client."""
    client = {"name": "load", "version": "1"}
    params = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": client}
    return line("initialize", params)


def initialized_line() -> str:
    """The second message of a legacy client."""
    return line("notifications/initialized", {}, None)


def http(path: str, headers: dict[str, str], body: str) -> str:
    """A whole POST."""
    size = {"Host": "127.0.0.1", "Content-Length": str(len(body.encode()))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in {**size, **headers}.items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n{body}"


def modern_call(path: str, params: dict[str, Any]) -> str:
    """A whole modern tool call."""
    return http(path, modern_headers(params), modern_line("tools/call", params))


def legacy_call(path: str, session: str, params: dict[str, Any]) -> str:
    """A whole legacy tool call."""
    return http(path, legacy_headers(session), line("tools/call", params))
