"""An official Python client that tries every feature of a server: `python features.py KIND`.

KIND is `mcp1` or `sse` (SDK 1.x), `mcp2-legacy` or `mcp2-modern` (SDK 2.x). Each line of
stdin is a URL; each is answered by one line of JSON: what came of each feature, or
`{"error": ...}`. It runs in the client's environment and imports nothing of this repository.
"""

import json
import logging
import sys
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio  # type: ignore[import-not-found]

SECONDS = 20.0
NOTE = "test://note"


class Heard:
    """What the server said beside its answers."""

    def __init__(self) -> None:
        self.logs: list[str] = []
        self.asked: list[str] = []
        self.methods: list[str] = []
        self._news = anyio.Event()

    def note(self, method: str) -> None:
        self.methods.append(method)
        self._news.set()
        self._news = anyio.Event()

    async def until(self, method: str) -> bool:
        with anyio.move_on_after(5):
            while method not in self.methods:
                await self._news.wait()
        return method in self.methods


def callbacks(types: Any, heard: Heard) -> dict[str, Any]:
    """Answers to whatever a server may ask, for either SDK."""

    async def elicit(context: Any, params: Any) -> Any:
        heard.asked.append(getattr(params, "mode", None) or "form")
        if heard.asked[-1] == "url":
            return types.ElicitResult(action="accept")
        return types.ElicitResult(action="accept", content={"name": "Ada"})

    async def sample(context: Any, params: Any) -> Any:
        heard.asked.append("sample")
        content = types.TextContent(type="text", text="hi")
        return types.CreateMessageResult(role="assistant", content=content, model="m")

    async def roots(context: Any) -> Any:
        heard.asked.append("roots")
        return types.ListRootsResult(roots=[types.Root(uri="file:///home/ada")])

    async def log(params: Any) -> None:
        heard.logs.append(params.level)

    async def message(message: Any) -> None:
        inner = getattr(message, "root", message)
        if method := getattr(inner, "method", None):
            heard.note(method)

    return {
        "elicitation_callback": elicit,
        "sampling_callback": sample,
        "list_roots_callback": roots,
        "logging_callback": log,
        "message_handler": message,
    }


@asynccontextmanager
async def connect(kind: str, url: str, heard: Heard) -> AsyncIterator[Any]:
    if kind.startswith("mcp2"):
        import mcp_types as types  # type: ignore[import-not-found]
        from mcp import Client  # type: ignore[import-not-found]

        mode = "legacy" if kind == "mcp2-legacy" else "auto"
        level = None if kind == "mcp2-legacy" else "warning"
        heard_by = callbacks(types, heard)
        async with Client(url, mode=mode, cache=None, log_level=level, **heard_by) as client:
            yield client
        return
    from mcp import ClientSession, types
    from mcp.client.sse import sse_client  # type: ignore[import-not-found]
    from mcp.client.streamable_http import (  # type: ignore[import-not-found]
        streamable_http_client,
    )

    opening = sse_client(url) if kind == "sse" else streamable_http_client(url)
    async with (
        opening as streams,
        ClientSession(streams[0], streams[1], **callbacks(types, heard)) as session,
    ):
        await session.initialize()
        yield session


class Trial:
    """One client that tries everything, one thing after the other."""

    def __init__(self, kind: str, client: Any, heard: Heard) -> None:
        self.kind = kind
        self.client = client
        self.heard = heard

    async def said(self, name: str, **arguments: Any) -> str:
        result = await self.client.call_tool(name, arguments)
        return str(result.content[0].text)

    async def tools(self) -> Any:
        return [tool.name for tool in (await self.client.list_tools()).tools][:2]

    async def call(self) -> Any:
        return await self.said("echo", text="olá")

    async def progress(self) -> Any:
        seen: list[float] = []

        async def hear(done: float, total: float | None, message: str | None) -> None:
            seen.append(done)

        await self.client.call_tool("count", {}, progress_callback=hear)
        return seen

    async def cancel(self) -> Any:
        started = anyio.Event()

        async def hear(done: float, total: float | None, message: str | None) -> None:
            started.set()

        async def run() -> None:
            await self.client.call_tool("slow", {}, progress_callback=hear)

        async with anyio.create_task_group() as group:
            group.start_soon(run)
            await started.wait()
            await self.tell_cancelled()
            group.cancel_scope.cancel()
        return await self.said("echo", text="still here")

    async def tell_cancelled(self) -> None:
        """Do what SDK 1.x leaves to its user, who has to know the id: they are counted up."""
        if self.kind in ("mcp1", "sse"):
            from mcp import types

            params = types.CancelledNotificationParams(requestId=self.client._request_id - 1)
            notification = types.CancelledNotification(params=params)
            await self.client.send_notification(types.ClientNotification(notification))

    async def form(self) -> Any:
        return await self.said("form")

    async def url(self) -> Any:
        return await self.said("url")

    async def sampling(self) -> Any:
        return await self.said("sample")

    async def roots(self) -> Any:
        return await self.said("roots")

    async def logging(self) -> Any:
        if self.kind != "mcp2-modern":
            await self.client.set_logging_level("warning")
        self.heard.logs.clear()
        await self.said("log")
        return self.heard.logs

    async def list_changed(self) -> Any:
        if self.kind == "mcp2-modern":
            async with self.client.listen(tools_list_changed=True) as subscription:
                await self.said("grow")
                return await self.next_event(subscription)
        await self.said("grow")
        return await self.heard.until("notifications/tools/list_changed")

    async def updated(self) -> Any:
        if self.kind == "mcp2-modern":
            async with self.client.listen(resource_subscriptions=[NOTE]) as subscription:
                await self.said("touch")
                return await self.next_event(subscription)
        uri: Any = NOTE
        if self.kind in ("mcp1", "sse"):
            from pydantic import AnyUrl

            uri = AnyUrl(NOTE)
        await self.client.subscribe_resource(uri)
        await self.said("touch")
        heard = await self.heard.until("notifications/resources/updated")
        await self.client.unsubscribe_resource(uri)
        return heard

    async def next_event(self, subscription: Any) -> bool:
        with anyio.move_on_after(3):
            async for _ in subscription:
                return True
        return False

    async def large(self) -> Any:
        return len(await self.said("big"))

    async def failure(self) -> Any:
        result = await self.client.call_tool("fail", {})
        return bool(getattr(result, "isError", False) or getattr(result, "is_error", False))


FEATURES = [
    "tools",
    "call",
    "progress",
    "cancel",
    "form",
    "url",
    "sampling",
    "roots",
    "logging",
    "list_changed",
    "updated",
    "large",
    "failure",
]


async def attempt(do: Callable[[], Awaitable[Any]]) -> Any:
    answer: Any = {"error": f"hung for {SECONDS:g} s"}
    with anyio.move_on_after(SECONDS):
        try:
            answer = await do()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the outcome
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]  # type: ignore[assignment]
            answer = {"error": f"{type(error).__name__}: {error}"}
    return answer


async def converse(kind: str, url: str) -> dict[str, Any]:
    heard = Heard()
    told: dict[str, Any] = {}
    try:
        async with connect(kind, url, heard) as client:
            trial = Trial(kind, client, heard)
            for feature in FEATURES:
                told[feature] = await attempt(getattr(trial, feature))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the outcome
        told["died"] = f"{type(error).__name__}: {error}"
    return told


async def main(kind: str) -> None:
    from anyio import to_thread

    while line := await to_thread.run_sync(sys.stdin.readline):
        print(json.dumps(await converse(kind, line.strip())), flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    anyio.run(main, sys.argv[1])
