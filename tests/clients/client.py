"""Drives an official Python MCP client: `python client.py mcp1|sse|mcp2|fastmcp`.

Each line of stdin is one conversation, as JSON: `{"url", "mode", "steps": [...]}`. Each is
answered by one line of stdout: `{"connected": ..., "outcomes": [...], "died": ...}`, with
one outcome a step: `{"result": ...}`, `{"error": {"type", "code", "message"}}`, or
`{"hung": seconds}`. Results are the MCP results as the client's caller gets them.

It runs in the client's own environment, so it imports nothing of this repository.
"""

import json
import logging
import sys
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio  # type: ignore[import-not-found]

STEP_SECONDS = 15.0
CONVERSATION_SECONDS = 60.0

LISTS = {
    "tools": ("list_tools", "tools"),
    "resources": ("list_resources", "resources"),
    "templates": ("list_resource_templates", "resourceTemplates"),
    "prompts": ("list_prompts", "prompts"),
}

Progress = Callable[[float, float | None, str | None], Awaitable[None]]


class Client:
    """What every client can do; this one speaks `mcp.Client` of SDK 2.x."""

    suffix = ""

    def __init__(self, client: Any, greeting: Any) -> None:
        self.client = client
        self.greeting = greeting

    async def list(self, method: str, cursor: str | None) -> Any:
        return await getattr(self.client, method + self.suffix)(cursor=cursor)

    async def call(self, name: str, arguments: dict[str, Any], progress: Progress | None) -> Any:
        return await self.client.call_tool(name, arguments, progress_callback=progress)

    async def read(self, uri: str) -> Any:
        return await self.client.read_resource(uri)

    async def prompt(self, name: str, arguments: dict[str, str]) -> Any:
        return await self.client.get_prompt(name, arguments)

    async def complete(self, ref: dict[str, str], argument: dict[str, str]) -> Any:
        import mcp_types as types  # type: ignore[import-not-found]

        return await self.client.complete(reference(types, ref), argument)

    async def ping(self) -> Any:
        return await self.client.send_ping()

    async def tell_cancelled(self) -> None:
        """Tell the server that the newest call is not wanted; most clients do by themselves."""


class FastMcpClient(Client):
    suffix = "_mcp"

    async def call(self, name: str, arguments: dict[str, Any], progress: Progress | None) -> Any:
        return await self.client.call_tool_mcp(name, arguments, progress_handler=progress)

    async def read(self, uri: str) -> Any:
        return await self.client.read_resource_mcp(uri)

    async def prompt(self, name: str, arguments: dict[str, str]) -> Any:
        return await self.client.get_prompt_mcp(name, arguments)

    async def complete(self, ref: dict[str, str], argument: dict[str, str]) -> Any:
        import mcp_types as types

        return await self.client.complete_mcp(reference(types, ref), argument)

    async def ping(self) -> Any:
        return {"answered": await self.client.ping()}


class SessionClient(Client):
    """`mcp.ClientSession` of SDK 1.x."""

    async def read(self, uri: str) -> Any:
        from pydantic import AnyUrl

        return await self.client.read_resource(AnyUrl(uri))

    async def complete(self, ref: dict[str, str], argument: dict[str, str]) -> Any:
        from mcp import types  # type: ignore[import-not-found]

        return await self.client.complete(reference(types, ref), argument)

    async def tell_cancelled(self) -> None:
        from mcp import types

        # SDK 1.x leaves this to its user, who has to know the id: they are counted up.
        params = types.CancelledNotificationParams(requestId=self.client._request_id - 1)
        notification = types.CancelledNotification(params=params)
        await self.client.send_notification(types.ClientNotification(notification))


def reference(types: Any, ref: dict[str, str]) -> Any:
    if ref["type"] == "ref/prompt":
        return types.PromptReference(type=ref["type"], name=ref["name"])
    return types.ResourceTemplateReference(type=ref["type"], uri=ref["uri"])


@asynccontextmanager
async def connect_mcp1(url: str, mode: str) -> AsyncIterator[Client]:
    from mcp import ClientSession
    from mcp.client.streamable_http import (  # type: ignore[import-not-found]
        streamable_http_client,
    )

    async with (
        streamable_http_client(url) as (reader, writer, _),
        ClientSession(reader, writer) as session,
    ):
        yield SessionClient(session, await session.initialize())


@asynccontextmanager
async def connect_sse(url: str, mode: str) -> AsyncIterator[Client]:
    from mcp import ClientSession
    from mcp.client.sse import sse_client  # type: ignore[import-not-found]

    async with (
        sse_client(url) as (reader, writer),
        ClientSession(reader, writer) as session,
    ):
        yield SessionClient(session, await session.initialize())


@asynccontextmanager
async def connect_mcp2(url: str, mode: str) -> AsyncIterator[Client]:
    from mcp import Client as McpClient

    async with McpClient(url, mode=mode, cache=None) as client:
        yield Client(client, greeting_of(client))


@asynccontextmanager
async def connect_fastmcp(url: str, mode: str) -> AsyncIterator[Client]:
    from fastmcp import Client as FastClient  # type: ignore[import-not-found]

    async with FastClient(url, mode=mode) as client:
        yield FastMcpClient(client, greeting_of(client.session))


def greeting_of(session: Any) -> dict[str, Any]:
    return {
        "protocolVersion": session.protocol_version,
        "serverInfo": plain(session.server_info),
        "capabilities": plain(session.server_capabilities),
    }


CONNECT: dict[str, Callable[[str, str], AbstractAsyncContextManager[Client]]] = {
    "mcp1": connect_mcp1,
    "sse": connect_sse,
    "mcp2": connect_mcp2,
    "fastmcp": connect_fastmcp,
}


def plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", by_alias=True, exclude_none=True)
    return value


async def take(client: Client, step: dict[str, Any]) -> Any:
    """Do one step; give what the caller of the client would get."""
    match step["do"]:
        case "list":
            return await client.list(LISTS[step["what"]][0], step.get("cursor"))
        case "walk":
            return await walk(client, step["what"])
        case "call":
            return await call(client, step)
        case "cancel":
            return await cancel(client, step)
        case "read":
            return await client.read(step["uri"])
        case "prompt":
            return await client.prompt(step["name"], step.get("args", {}))
        case "complete":
            return await client.complete(step["ref"], step["argument"])
        case "ping":
            return await client.ping()
        case "together":
            return await together(client, step["steps"])
        case unknown:
            raise ValueError(f"no step {unknown}")


async def walk(client: Client, what: str) -> dict[str, Any]:
    """List everything, page by page."""
    method, key = LISTS[what]
    names: list[str] = []
    pages = 0
    cursor: str | None = None
    while pages == 0 or cursor is not None:
        page = plain(await client.list(method, cursor))
        names += [entry["name"] for entry in page[key]]
        cursor, pages = page.get("nextCursor"), pages + 1
    return {"pages": pages, "names": names}


async def call(client: Client, step: dict[str, Any]) -> Any:
    seen: list[Any] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        seen.append([done, total, message])

    wanted = progress if step.get("progress") else None
    result = plain(await client.call(step["name"], step.get("args", {}), wanted))
    return {**result, "progress": seen} if wanted else result


async def cancel(client: Client, step: dict[str, Any]) -> dict[str, Any]:
    """Start a call, and stop wanting it after its first progress."""
    started = anyio.Event()

    async def progress(done: float, total: float | None, message: str | None) -> None:
        started.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.call, step["name"], step.get("args", {}), progress)
        await started.wait()
        await client.tell_cancelled()
        tasks.cancel_scope.cancel()
    return {"cancelled": True}


async def together(client: Client, steps: list[dict[str, Any]]) -> list[Any]:
    outcomes: list[Any] = [None] * len(steps)

    async def one(index: int, step: dict[str, Any]) -> None:
        outcomes[index] = await outcome(client, step)

    async with anyio.create_task_group() as tasks:
        for index, step in enumerate(steps):
            tasks.start_soon(one, index, step)
    return outcomes


async def outcome(client: Client, step: dict[str, Any]) -> dict[str, Any]:
    seconds = step.get("within", STEP_SECONDS)
    answer: dict[str, Any] = {"hung": seconds}
    with anyio.move_on_after(seconds):
        try:
            answer = {"result": plain(await take(client, step))}
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the outcome
            answer = {"error": described(error)}
    return answer


def described(error: BaseException) -> dict[str, Any]:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    data = getattr(error, "error", error)
    code = getattr(data, "code", None)
    message = getattr(data, "message", None) or str(error)
    return {"type": type(error).__name__, "code": code, "message": message}


async def converse(connect: Any, conversation: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"connected": None, "outcomes": [], "died": None}
    try:
        with anyio.fail_after(CONVERSATION_SECONDS):
            async with connect(conversation["url"], conversation["mode"]) as client:
                answer["connected"] = plain(client.greeting)
                for step in conversation["steps"]:
                    answer["outcomes"].append(await outcome(client, step))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the outcome
        answer["died"] = described(error)
    return answer


async def main(kind: str) -> None:
    from anyio import to_thread

    while line := await to_thread.run_sync(sys.stdin.readline):
        print(json.dumps(await converse(CONNECT[kind], json.loads(line))), flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    anyio.run(main, sys.argv[1])
