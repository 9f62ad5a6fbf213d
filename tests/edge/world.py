"""The real gateway in this process, on a port of its own, before real scripted servers."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

import aiohttp

from mcpgw import aio
from mcpgw.app import serve
from mcpgw.config.load import parse
from mcpgw.config.schema import Config
from mcpgw.edge.app import Listener
from tests.edge.replies import PATIENCE, Events, Json, Reply
from tests.schema import RESULTS, check_message, validator

MODERN: Final = "2026-07-28"
LEGACY_DATES: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
DATES: Final = (*LEGACY_DATES, MODERN)
PREFIX: Final = "io.modelcontextprotocol/"
SERVER: Final = Path(__file__).parents[1] / "servers" / "wire_server.py"
BOTH: Final = "application/json, text/event-stream"
NAMED: Final = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "tasks/get": "taskId",
    "tasks/cancel": "taskId",
}


def tool(era: str, probe: str = "error", mode: str = "daemon", **settings: Any) -> Json:
    """A tool that is the scripted server."""
    args = [*(["-S", "-E"]), str(SERVER), era, probe]
    return {"mode": mode, "cmd": sys.executable, "args": args, **settings}


TOOLS: Final[Json] = {
    "legacy": tool("legacy", daemon={"max": 1}),
    "modern": tool("modern", daemon={"max": 1}),
    "legacy-l": tool("legacy", mode="launcher"),
    "modern-l": tool("modern", mode="launcher"),
}


def configure(folder: Path, tools: Json | None = None, **settings: Any) -> Config:
    """The configuration of a world: the four usual tools unless others are given."""
    marks = {
        "WIRE_VIOLATIONS": str(folder / "violations"),
        "WIRE_TRANSCRIPT": str(folder / "transcript"),
    }
    named = {
        name: {**spec, "env": {**marks, **spec.get("env", {})}}
        for name, spec in (tools or TOOLS).items()
    }
    content = {"listen": {"port": 0}, "shutdown_grace": "100ms", "tools": named, **settings}
    return parse(json.dumps(content), name="test", base_dir=folder)


@dataclass
class World:
    """A running gateway."""

    port: int
    http: aiohttp.ClientSession
    folder: Path
    stop: asyncio.Event
    stopped: asyncio.Task[None]

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def violations(self) -> str:
        """What the servers found wrong with what they were sent."""
        file = self.folder / "violations"
        return file.read_text() if file.exists() else ""

    def transcript(self, era: str = "*") -> list[Json]:
        """Every message that reached a server, of that era or of any."""
        found = (file.read_text().splitlines() for file in self.folder.glob(f"transcript.{era}"))
        return [json.loads(line) for lines in found for line in lines]

    def check_transcript(self) -> None:
        """See that all that reached a server is what its revision's schema allows.

        What clients of the tests make up, methods or parameters, is theirs.
        """
        for era, revision in (("legacy", LEGACY_DATES[-1]), ("modern", MODERN)):
            for message in self.transcript(era):
                check_sent(revision, message)

    def modern(self, tool: str, **capabilities: Json) -> "Modern":
        return Modern(self, tool, **capabilities)

    async def legacy(self, tool: str, revision: str = "2025-11-25", **more: Any) -> "Legacy":
        """A client whose session is open."""
        client = Legacy(self, tool, revision)
        await client.initialize(**more)
        return client

    async def send(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One plain HTTP request, its answer read to the end."""
        data = json.dumps(body).encode() if isinstance(body, dict | list) else body
        sent = {"Content-Type": "application/json", "Accept": BOTH} if method == "POST" else {}
        async with (
            asyncio.timeout(PATIENCE),
            self.http.request(
                method, self.url(path), data=data, headers={**sent, **(headers or {})}
            ) as response,
        ):
            return await Reply.read(response)


@asynccontextmanager
async def world(config: Config, folder: Path) -> AsyncIterator[World]:
    """Run the gateway for the length of the block; nothing the servers saw may be wrong."""
    bound: asyncio.Future[Listener] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    async with aio.background(serve(config, stop, bound.set_result), name="gateway") as task:
        async with asyncio.timeout(PATIENCE):
            either: list[asyncio.Future[Any]] = [task, bound]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as http:
            running = World(bound.result().port, http, folder, stop, task)
            yield running
            stop.set()
            async with asyncio.timeout(PATIENCE):
                await task
    assert running.violations() == ""
    running.check_transcript()


def check_sent(revision: str, message: Json) -> None:
    """See that a message to a server is what the revision allows."""
    method = message.get("method")
    if method is None:
        validator(revision, "JSONRPCMessage").validate(message)
        return
    if method == "initialize":  # so this is how it is spoken to
        revision = LEGACY_DATES[-1]
    kind = "ClientRequest" if "id" in message else "ClientNotification"
    known = {method for method in RESULTS if (method == "server/discover") <= (revision == MODERN)}
    if method in known or kind == "ClientNotification":
        validator(revision, kind).validate(message)
    else:
        validator(revision, "JSONRPCRequest").validate(message)


def check(revision: str, message: Json, method: str) -> None:
    """See that a message is what the revision allows; results of extensions are any object."""
    if method in RESULTS or "result" not in message:
        check_message(revision, message, method)
    else:
        validator(revision, "JSONRPCMessage").validate(message)
        validator(revision, "Result").validate(message["result"])


def check_unasked(message: Json) -> None:
    """Check what comes on the stream of the first transport beside answers."""
    if "method" in message:
        check(Sse.revision, message, "")


class Client:
    """What clients of both eras have in common; every message they get is checked."""

    revision: str

    def __init__(self, world: World, tool: str) -> None:
        self.world = world
        self.path = f"/mcp/{tool}"
        self._ids = count(1)

    def headers(self, method: str, params: Json) -> dict[str, str]:
        raise NotImplementedError

    def params(self, params: Json | None) -> Json:
        return params or {}

    def body(self, method: str, params: Json | None, id: object) -> Json:
        id = next(self._ids) if id is None else id
        return {"jsonrpc": "2.0", "id": id, "method": method, "params": self.params(params)}

    async def request(
        self,
        method: str,
        params: Json | None = None,
        *,
        id: object = None,
        accept: str = BOTH,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request and its answer, whatever it is."""
        body = self.body(method, params, id)
        sent = {**self.headers(method, body["params"]), "Accept": accept, **(headers or {})}
        reply = await self.world.send("POST", self.path, body, sent)
        if reply.status == 200:
            for message in reply.messages:
                check(self.revision, message, method)
            assert type(reply.answer["id"]) is type(body["id"]), reply.answer
            assert reply.answer["id"] == body["id"]
        return reply

    async def call(self, name: str, *, meta: Json | None = None, **arguments: Any) -> Reply:
        """A tool's answer."""
        params: Json = {"name": name, "arguments": arguments}
        return await self.request("tools/call", {**params, **({"_meta": meta} if meta else {})})

    @asynccontextmanager
    async def streaming(
        self, name: str, *, id: object = None, meta: Json | None = None, **arguments: Any
    ) -> AsyncIterator[Events]:
        """A call whose answer is read as it comes; leaving closes the connection."""
        params = {"name": name, "arguments": arguments, "_meta": meta or {}}
        async with self.opened("tools/call", params, id=id) as events:
            yield events

    @asynccontextmanager
    async def opened(
        self, method: str, params: Json, *, id: object = None
    ) -> AsyncIterator[Events]:
        """A request whose answer is read as it comes; leaving closes the connection."""
        body = self.body(method, params, id)
        headers = {**self.headers(method, body["params"]), "Accept": BOTH}
        url = self.world.url(self.path)
        response = await self.world.http.post(url, json=body, headers=headers)
        try:
            yield Events(response, lambda message: check(self.revision, message, method))
        finally:
            response.close()


class Modern(Client):
    """A 2026-07-28 client: every request stands for itself."""

    revision = MODERN

    def __init__(self, world: World, tool: str, **capabilities: Json) -> None:
        super().__init__(world, tool)
        self.capabilities = capabilities

    def params(self, params: Json | None) -> Json:
        given = params or {}
        meta = {
            PREFIX + "protocolVersion": MODERN,
            PREFIX + "clientCapabilities": self.capabilities,
            PREFIX + "clientInfo": {"name": "test", "version": "1"},
        }
        return {**given, "_meta": {**meta, **given.get("_meta", {})}}

    def headers(self, method: str, params: Json) -> dict[str, str]:
        headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": method}
        if method in NAMED and NAMED[method] in params:
            headers["Mcp-Name"] = params[NAMED[method]]
        return headers


class Legacy(Client):
    """A client of the earlier revisions, with a session."""

    def __init__(self, world: World, tool: str, revision: str) -> None:
        super().__init__(world, tool)
        self.revision = revision
        self.session: str | None = None
        self.introduction: Json = {}

    def headers(self, method: str, params: Json) -> dict[str, str]:
        headers = {} if self.session is None else {"Mcp-Session-Id": self.session}
        if self.session is not None and self.revision >= "2025-06-18":
            headers["MCP-Protocol-Version"] = self.revision
        return headers

    async def initialize(self, *, accept: str = BOTH, **capabilities: Json) -> None:
        usual = {"elicitation": {}, "sampling": {}, "roots": {"listChanged": True}}
        params = {
            "protocolVersion": self.revision,
            "capabilities": capabilities or usual,
            "clientInfo": {"name": "test", "version": "1"},
        }
        reply = await self.request("initialize", params, accept=accept)
        self.introduction = reply.result
        self.session = reply.headers["Mcp-Session-Id"]
        told = await self.notify("notifications/initialized")
        assert (told.status, told.body) == (202, b"")

    async def notify(self, method: str, params: Json | None = None) -> Reply:
        body: Json = {"jsonrpc": "2.0", "method": method, **({"params": params} if params else {})}
        return await self.world.send("POST", self.path, body, self.headers(method, {}))

    @asynccontextmanager
    async def listening(self, last_id: str | None = None) -> AsyncIterator[Events]:
        """The session's GET stream, or the rest of a stream that broke after that event."""
        headers = {**self.headers("", {}), "Accept": "text/event-stream"}
        if last_id is not None:
            headers["Last-Event-ID"] = last_id
        async with self.world.http.get(self.world.url(self.path), headers=headers) as response:
            assert response.status == 200
            yield Events(response, lambda message: check(self.revision, message, "no answer"))

    async def reply(self, id: object, **outcome: Any) -> None:
        """Answer a question of the server's."""
        body = {"jsonrpc": "2.0", "id": id, **outcome}
        told = await self.world.send("POST", self.path, body, self.headers("", {}))
        assert (told.status, told.body) == (202, b"")


class Sse(Client):
    """A client of HTTP+SSE: what it asks by POST is answered on its one stream."""

    revision = "2024-11-05"

    def __init__(self, world: World, tool: str, events: Events, endpoint: str) -> None:
        super().__init__(world, tool)
        self.events = events
        self.endpoint = endpoint
        self.early: list[Json] = []

    async def post(self, body: Json) -> Reply:
        return await self.world.send("POST", self.endpoint, body)

    async def request(self, method: str, params: Json | None = None, **more: Any) -> Reply:
        body = self.body(method, params, more.get("id"))
        posted = await self.post(body)
        assert (posted.status, posted.body) == (202, b"")
        message = await self.answer(body["id"])
        check(self.revision, message, method)
        return Reply(200, posted.headers, b"", [message])

    async def answer(self, id: object) -> Json:
        """The answer to a request; other messages wait in `early`."""
        for index, message in enumerate(self.early):
            if message.get("id") == id:
                return self.early.pop(index)
        while (message := await self.events.message()).get("id") != id:
            self.early.append(message)
        return message


@asynccontextmanager
async def sse_client(
    world: World, tool: str, path: str | None = None, **capabilities: Json
) -> AsyncIterator[Sse]:
    """A client whose stream is open and whose handshake is done."""
    path = path or f"/mcp/{tool}/sse"
    headers = {"Accept": "text/event-stream"}
    async with world.http.get(world.url(path), headers=headers) as response:
        assert response.status == 200
        events = Events(response, check_unasked)
        found = await events.event()
        assert found is not None and found[0] == "endpoint"
        endpoint = found[1] if found[1].startswith("/") else path + found[1]
        client = Sse(world, tool, events, endpoint)
        params = {
            "protocolVersion": "2024-11-05",
            "capabilities": capabilities,
            "clientInfo": {"name": "test", "version": "1"},
        }
        await client.request("initialize", params)
        await client.post({"jsonrpc": "2.0", "method": "notifications/initialized"})
        yield client
