"""What comes back over HTTP: whole replies, and event streams under way."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

PATIENCE: Final = 10.0

Json = dict[str, Any]


@dataclass
class Reply:
    """An HTTP response, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    messages: list[Json] = field(default_factory=list)

    @classmethod
    async def read(cls, response: aiohttp.ClientResponse) -> "Reply":
        body = await response.read()
        reply = cls(response.status, response.headers, body)
        if response.content_type == "application/json" and body:
            parsed = json.loads(body)
            reply.messages = parsed if isinstance(parsed, list) else [parsed]
        elif response.content_type == "text/event-stream":
            reply.messages = [
                json.loads(line.removeprefix(b"data: "))
                for line in body.splitlines()
                if line.startswith(b"data: {")
            ]
        return reply

    @property
    def is_stream(self) -> bool:
        return self.headers["Content-Type"].startswith("text/event-stream")

    @property
    def answer(self) -> Json:
        """The last message, which answers the request."""
        return self.messages[-1]

    @property
    def result(self) -> Json:
        assert "result" in self.answer, self.answer
        result: Json = self.answer["result"]
        return result

    @property
    def error(self) -> Json:
        assert "error" in self.answer, self.answer
        error: Json = self.answer["error"]
        return error

    @property
    def text(self) -> str:
        """What a tool said."""
        text: str = self.result["content"][0]["text"]
        return text

    @property
    def said(self) -> Any:
        """What a tool said, in JSON."""
        return json.loads(self.text)


@dataclass
class Events:
    """An event stream under way."""

    response: aiohttp.ClientResponse
    check: Callable[[Json], None] | None = None
    """Sees that each message is what its revision allows."""
    ids: list[str] = field(default_factory=list)
    """The event ids so far, of events without data as well."""

    @property
    def last_id(self) -> str:
        """What a client would resume from."""
        return self.ids[-1]

    async def line(self) -> bytes | None:
        """The next line; None at the end."""
        async with asyncio.timeout(PATIENCE):
            line = await self.response.content.readline()
        return line.rstrip(b"\n") if line else None

    async def event(self) -> tuple[str, str] | None:
        """The next event's type and data, comments and empty events skipped; None at the end."""
        kind, data, id = "message", "", None
        while (line := await self.line()) is not None:
            if line.startswith(b"event: "):
                kind = line.removeprefix(b"event: ").decode()
            elif line.startswith(b"data: "):
                data = line.removeprefix(b"data: ").decode()
            elif line.startswith(b"id: "):
                id = line.removeprefix(b"id: ").decode()
            elif not line:
                if id is not None:
                    self.ids.append(id)
                if data:
                    return kind, data
                id = None
        return None

    async def comment(self) -> bytes | None:
        """The next comment, before which no message may come; None at the end."""
        while (line := await self.line()) is not None:
            if line.startswith(b":"):
                return line
            assert not line.startswith(b"data: {"), line
        return None

    async def message(self) -> Json:
        """The next message."""
        found = await self.event()
        assert found is not None, "the stream ended"
        assert found[0] == "message"
        message: Json = json.loads(found[1])
        if self.check is not None:
            self.check(message)
        return message

    async def ended(self) -> bool:
        return await self.event() is None
