"""MCP over HTTP by hand, for what no SDK lets a test do: equal ids, chosen tokens, many at once."""

import json
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import ClientResponse, ClientSession

MODERN_REVISION: Final = "2026-07-28"
LEGACY_REVISION: Final = "2025-11-25"
ACCEPT: Final = {"Accept": "application/json, text/event-stream"}


@dataclass(frozen=True, slots=True)
class Wire:
    """One client of one tool, in either era."""

    http: ClientSession
    url: str
    modern: bool
    session: str | None = None

    async def ask(self, id: int | str, method: str, params: dict[str, Any]) -> list[dict[str, Any]]:
        """Send a request; give all that came on its response, the answer last."""
        if self.modern:
            params = {**params, "_meta": {**params.get("_meta", {}), **_envelope()}}
        message = {"jsonrpc": "2.0", "id": id, "method": method, "params": params}
        headers = self._headers(method, params)
        async with self.http.post(self.url, json=message, headers=headers) as response:
            return await messages(response)

    async def call(
        self, id: int | str, name: str, arguments: dict[str, Any], token: int | str | None = None
    ) -> list[dict[str, Any]]:
        """Call a tool; see `ask`."""
        meta = {"_meta": {"progressToken": token}} if token is not None else {}
        return await self.ask(id, "tools/call", {"name": name, "arguments": arguments, **meta})

    async def close(self) -> None:
        """End the legacy session, if there is one."""
        if self.session is not None:
            async with self.http.delete(self.url, headers=self._headers("", {})):
                pass

    def _headers(self, method: str, params: dict[str, Any]) -> dict[str, str]:
        if not self.modern:
            version = {"MCP-Protocol-Version": LEGACY_REVISION}
            return {**ACCEPT, **version, "Mcp-Session-Id": self.session or ""}
        name = {"Mcp-Name": params["name"]} if "name" in params else {}
        version = {"MCP-Protocol-Version": MODERN_REVISION, "Mcp-Method": method}
        return {**ACCEPT, **version, **name}


async def connect(http: ClientSession, url: str, *, modern: bool) -> Wire:
    """A client that is ready to ask: for the legacy era, with an initialised session."""
    if modern:
        return Wire(http, url, modern=True)
    params = {
        "protocolVersion": LEGACY_REVISION,
        "capabilities": {},
        "clientInfo": {"name": "wire", "version": "1"},
    }
    hello = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
    async with http.post(url, json=hello, headers=ACCEPT) as response:
        (answer,) = await messages(response)
        assert "result" in answer, answer
        wire = Wire(http, url, modern=False, session=response.headers["Mcp-Session-Id"])
    ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    async with http.post(url, json=ready, headers=wire._headers("", {})) as response:
        assert response.status == 202
    return wire


async def messages(response: ClientResponse) -> list[dict[str, Any]]:
    """The JSON-RPC messages of a response, be it JSON or an event stream."""
    body = await response.text()
    if response.content_type != "text/event-stream":
        return [json.loads(body)]
    lines = (line.removeprefix("data:") for line in body.splitlines() if line.startswith("data:"))
    return [json.loads(line) for line in lines if line.strip()]


def _envelope() -> dict[str, Any]:
    return {
        "io.modelcontextprotocol/protocolVersion": MODERN_REVISION,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "wire", "version": "1"},
    }
