"""A client of both eras, as small as can be, that looks at a gateway from outside."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
from yarl import URL

from mcpgw import __version__
from mcpgw.doctor.answers import Answer
from mcpgw.units import MIB, Seconds

MODERN: Final = "2026-07-28"
LEGACY: Final = "2025-11-25"
PATIENCE: Final = Seconds(20)
_MOST: Final = 4 * MIB


class Unreachable(Exception):
    """Nobody answers; the message says why, in plain words."""


class Outsider:
    """Asks one tool's URL."""

    def __init__(self, http: aiohttp.ClientSession, url: URL, headers: Mapping[str, str]) -> None:
        self._http = http
        self.url: Final = url
        self._headers = dict(headers)

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine."""
        return self.url.host in ("localhost", "127.0.0.1", "::1")

    @property
    def has_credentials(self) -> bool:
        """Whether headers were given."""
        return bool(self._headers)

    def stranger(self) -> "Outsider":
        """Give one without credentials."""
        return Outsider(self._http, self.url, {})

    def at(self, url: URL) -> "Outsider":
        """Give one that looks at another URL."""
        return Outsider(self._http, url, self._headers)

    async def ask(self, method: str, params: Mapping[str, Any] | None = None) -> Answer:
        """Ask as a client of 2026-07-28.

        Raises:
            Unreachable: Nobody answers.
        """
        async with self.open(method, params) as response:
            return await _read(response)

    async def ask_legacy(
        self, method: str, params: Mapping[str, Any], session: str | None = None
    ) -> Answer:
        """Ask as a client of 2025-11-25."""
        headers = {"Mcp-Session-Id": session, "MCP-Protocol-Version": LEGACY} if session else {}
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        async with self._request("POST", body, headers) as response:
            return await _read(response)

    async def end(self, session: str) -> Answer:
        """End a session."""
        headers = {"Mcp-Session-Id": session, "MCP-Protocol-Version": LEGACY}
        async with self._request("DELETE", None, headers) as response:
            return await _read(response)

    async def get(self) -> Answer:
        """Get the URL."""
        async with self._request("GET", None, {}) as response:
            return await _read(response)

    @asynccontextmanager
    async def open(
        self, method: str, params: Mapping[str, Any] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Ask, and give the answer as soon as it begins; leaving closes the connection."""
        given = dict(params or {})
        meta = {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": {"name": "mcpgw-doctor", "version": __version__},
        }
        given["_meta"] = {**meta, **given.get("_meta", {})}
        headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": method}
        if "name" in given:
            headers["Mcp-Name"] = str(given["name"])
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": given}
        async with self._request("POST", body, headers) as response:
            yield response

    @asynccontextmanager
    async def _request(
        self, verb: str, body: object, headers: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        accept = {"Accept": "application/json, text/event-stream", "User-Agent": "mcpgw-doctor"}
        data = None if body is None else json.dumps(body)
        content = {} if body is None else {"Content-Type": "application/json"}
        sent = {**accept, **content, **headers, **self._headers}
        try:
            async with asyncio.timeout(PATIENCE):
                response = await self._http.request(
                    verb, self.url, data=data, headers=sent, allow_redirects=False
                )
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise Unreachable(why(exc)) from None
        try:
            yield response
        finally:
            response.close()


@asynccontextmanager
async def outsider(url: str, headers: Mapping[str, str]) -> AsyncIterator[Outsider]:
    """Somebody who looks at `url`, for the length of the block."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=PATIENCE)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        yield Outsider(http, URL(url), headers)


async def _read(response: aiohttp.ClientResponse) -> Answer:
    try:
        async with asyncio.timeout(PATIENCE):
            data = await response.content.read(_MOST)
            while len(data) < _MOST and (more := await response.content.read(_MOST - len(data))):
                data += more
    except (aiohttp.ClientError, TimeoutError, OSError) as exc:
        raise Unreachable(f"the answer broke off: {why(exc)}") from None
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status, headers, data.decode(errors="replace"))


def why(exc: BaseException) -> str:
    """Say why nobody answers."""
    match exc:
        case aiohttp.ClientConnectorCertificateError():
            return f"its certificate is not trusted: {exc.certificate_error}"
        case aiohttp.ClientConnectorDNSError():
            return f"there is no host {exc.host}"
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return f"TLS fails: {exc}"
        case TimeoutError():
            return "it does not answer in time"
        case aiohttp.ClientConnectorError():
            return f"nobody listens there: {exc.os_error.strerror or exc.os_error}"
        case _:
            return f"the connection broke off: {str(exc) or type(exc).__name__}"
