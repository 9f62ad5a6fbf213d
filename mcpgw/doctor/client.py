"""A client of both eras, as small as can be, that looks at a gateway from outside."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final

import aiohttp
from yarl import URL

from mcpgw import __version__
from mcpgw.doctor.answers import Answer
from mcpgw.doctor.reasons import why
from mcpgw.units import MIB, Seconds

MODERN: Final = "2026-07-28"
LEGACY: Final = "2025-11-25"
_MOST: Final = 4 * MIB


_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True, slots=True)
class Limits:
    """How long we wait: nothing here may hang, whatever is at the other end."""

    early: Seconds = Seconds(5)
    """When the first bytes of a stream have to be there."""

    answer: Seconds = Seconds(20)
    check: Seconds = Seconds(40)
    overall: Seconds = Seconds(150)


class Unreachable(Exception):
    """Nobody answers; says why, in plain words, and what to do."""

    def __init__(self, text: str, fix: str) -> None:
        super().__init__(text)
        self.fix: Final = fix


class Late(Unreachable):
    """The answer does not come in time."""


class Outsider:
    """Asks one tool's URL."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        url: URL,
        headers: Mapping[str, str],
        limits: Limits,
    ) -> None:
        self._http = http
        self.url: Final = url
        self._headers = dict(headers)
        self.limits: Final = limits

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine."""
        host = self.url.host or ""
        try:
            return ip_address(host).is_loopback
        except ValueError:
            return host == "localhost" or host.endswith(".localhost")

    @property
    def has_credentials(self) -> bool:
        """Whether headers were given."""
        return bool(self._headers)

    def stranger(self) -> "Outsider":
        """Give one without credentials."""
        return Outsider(self._http, self.url, {}, self.limits)

    def at(self, url: URL) -> "Outsider":
        """Give one that looks at another URL."""
        return Outsider(self._http, url, self._headers, self.limits)

    async def ask(self, method: str, params: Mapping[str, Any] | None = None) -> Answer:
        """Ask as a client of 2026-07-28.

        Raises:
            Unreachable: Nobody answers.
        """
        async with self.open(method, params) as response:
            return await self._read(response)

    async def ask_legacy(
        self, method: str, params: Mapping[str, Any], session: str | None = None
    ) -> Answer:
        """Ask as a client of 2025-11-25."""
        headers = {"Mcp-Session-Id": session, "MCP-Protocol-Version": LEGACY} if session else {}
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        async with self._request("POST", body, headers) as response:
            return await self._read(response)

    async def end(self, session: str) -> Answer:
        """End a session."""
        headers = {"Mcp-Session-Id": session, "MCP-Protocol-Version": LEGACY}
        async with self._request("DELETE", None, headers) as response:
            return await self._read(response)

    async def get(self) -> Answer:
        """Get the URL."""
        async with self._request("GET", None, {}) as response:
            return await self._read(response)

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
            async with asyncio.timeout(self.limits.answer):
                response = await self._http.request(
                    verb, self.url, data=data, headers=sent, allow_redirects=False
                )
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise _unreachable(exc) from None
        try:
            yield response
        finally:
            response.close()

    async def _read(self, response: aiohttp.ClientResponse) -> Answer:
        data = b""
        try:
            async with asyncio.timeout(self.limits.answer):
                while len(data) < _MOST and (more := await response.content.readany()):
                    data += more
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise _unreachable(exc) from None
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status, headers, data[:_MOST].decode(errors="replace"))


@asynccontextmanager
async def outsider(url: URL, headers: Mapping[str, str], limits: Limits) -> AsyncIterator[Outsider]:
    """Somebody who looks at `url`, for the length of the block."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=limits.answer)
    # Cookies would let a stranger in: Access gives one to whoever shows a service token.
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(timeout=timeout, cookie_jar=jar) as http:
        yield Outsider(http, url, headers, limits)


def read_url(text: str) -> URL:
    """Read the URL of a tool.

    Raises:
        ValueError: It is none; the message shows no password that is in it.
    """
    if not text.startswith(("http://", "https://")):
        raise ValueError("that is no URL, such as https://mcp.example.com/mcp/demo")
    try:
        url = URL(text)
    except ValueError as exc:
        raise ValueError("that is no URL") from exc
    if url.user is not None or url.password is not None:
        raise ValueError("give credentials with --header, not in the URL")
    if not url.host:
        raise ValueError("that URL names no host")
    return url


def read_header(text: str) -> tuple[str, str]:
    """Read a header that clients have to send.

    Raises:
        ValueError: It is none; the message shows nothing of it.
    """
    name, colon, value = (part.strip() for part in text.partition(":"))
    if not colon or not _NAME.fullmatch(name):
        raise ValueError("expected 'Name: value'")
    if not value.isascii() or not value.isprintable():
        raise ValueError("its value has characters that no header can have")
    return name, value


def _unreachable(exc: BaseException) -> Unreachable:
    return Late(*why(exc)) if isinstance(exc, TimeoutError) else Unreachable(*why(exc))
