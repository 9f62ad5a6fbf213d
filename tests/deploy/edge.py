"""A client on the other side of Caddy, and Caddy itself as a process."""

import asyncio
import io
import json
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

ROOT = Path(__file__).parents[2]
KEY = "mcpgw_00000000_" + "k" * 43
REVISION = "2026-07-28"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Client:
    """Speaks 2026-07-28 to whatever is at `base`."""

    def __init__(self, http: aiohttp.ClientSession, base: str) -> None:
        self.http = http
        self.base = base

    def request(
        self, path: str, method: str, params: Mapping[str, Any], **headers: str
    ) -> "aiohttp.client._RequestContextManager":
        meta = {
            "io.modelcontextprotocol/protocolVersion": REVISION,
            "io.modelcontextprotocol/clientCapabilities": {},
        }
        body = {"jsonrpc": "2.0", "id": 1, "method": method}
        named = {"Mcp-Name": params["name"]} if "name" in params else {}
        own = {"_meta": {**meta, **params.get("_meta", {})}}
        return self.http.post(
            self.base + path,
            data=io.BytesIO(json.dumps({**body, "params": {**params, **own}}).encode()),
            headers={
                "Content-Type": "application/json",
                "Accept": "application/json, text/event-stream",
                "MCP-Protocol-Version": REVISION,
                "Mcp-Method": method,
                **named,
                **headers,
            },
        )

    async def get(self, path: str, **headers: str) -> tuple[int, str]:
        """Give status and text."""
        async with self.http.get(self.base + path, headers=headers) as answer:
            return answer.status, await answer.text()

    async def call(self, path: str, name: str, **arguments: Any) -> Any:
        """Give the result of a tool call."""
        params = {"name": name, "arguments": arguments}
        async with self.request(path, "tools/call", params) as answer:
            assert answer.status == 200, await answer.text()
            message = json.loads(await _last(answer))
            assert "result" in message, message
            return message["result"]


def leave(answer: aiohttp.ClientResponse) -> None:
    """Go without a goodbye, which over TLS would have to be waited for."""
    assert answer.connection is not None
    assert answer.connection.transport is not None
    answer.connection.transport.abort()
    answer.close()


async def _last(answer: aiohttp.ClientResponse) -> str:
    text = await answer.text()
    if answer.content_type != "text/event-stream":
        return text
    return [line[6:] for line in text.splitlines() if line.startswith("data: ")][-1]


async def events(answer: aiohttp.ClientResponse) -> AsyncIterator[str]:
    """Give what each line of a stream says, as it comes: data, or a comment with its colon."""
    async for line in answer.content:
        text = line.decode().strip()
        if text.startswith(("data: ", ":")):
            yield text.removeprefix("data: ")


class Caddy:
    """A Caddy with our Caddyfile, in front of `upstream`."""

    def __init__(self, folder: Path, upstream: str, caddyfile: str, **env: str) -> None:
        if shutil.which("caddy") is None:
            pytest.skip("caddy is not installed")
        self.https, self.tunnel = free_port(), free_port()
        self.log = folder / "caddy.log"
        self.root = folder / "caddy/pki/authorities/local/root.crt"
        (folder / "Caddyfile").write_text(caddyfile)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "XDG_DATA_HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder),
            "MCPGW_UPSTREAM": upstream,
            "MCPGW_HTTP_PORT": str(free_port()),
            "MCPGW_HTTPS_PORT": str(self.https),
            "MCPGW_TUNNEL_PORT": str(self.tunnel),
            **env,
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"],
                env={name: value for name, value in environment.items() if value},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def ready(self) -> None:
        """Wait until it answers over TLS: it makes its certificates after it listens."""
        async with asyncio.timeout(30):
            while not await self._answers():
                assert self.process.poll() is None, self.log.read_text()
                await asyncio.sleep(0.05)

    async def _answers(self) -> bool:
        if not self.root.exists() or not _listens(self.https):
            return False
        try:
            async with self.client() as client:
                return (await client.get("/caddy-is-up"))[0] == 200
        except aiohttp.ClientError:
            return False

    @asynccontextmanager
    async def client(self, **headers: str) -> AsyncIterator[Client]:
        """A client that trusts its authority."""
        async with client_of(self.root, self.https, **headers) as client:
            yield client

    @asynccontextmanager
    async def from_tunnel(self, **headers: str) -> AsyncIterator[Client]:
        shown = {name.replace("_", "-"): value for name, value in headers.items()}
        async with aiohttp.ClientSession(headers=shown) as http:
            yield Client(http, f"http://127.0.0.1:{self.tunnel}")

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=20)


@asynccontextmanager
async def client_of(root: Path, port: int, **headers: str) -> AsyncIterator[Client]:
    context = ssl.create_default_context(cafile=str(root))
    connector = aiohttp.TCPConnector(ssl=context)
    shown = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        async with aiohttp.ClientSession(
            headers=shown, connector=connector, connector_owner=False
        ) as http:
            yield Client(http, f"https://localhost:{port}")
    finally:
        await connector.close(abort_ssl=True)  # or it would wait for Caddy's goodbye


@contextmanager
def running_caddy(
    folder: Path, upstream: str, caddyfile: str | None = None, **env: str
) -> Iterator[Caddy]:
    folder.mkdir(exist_ok=True)
    text = caddyfile or (ROOT / "Caddyfile").read_text()
    caddy = Caddy(folder, upstream, text, **env)
    try:
        yield caddy
    finally:
        caddy.close()


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0
