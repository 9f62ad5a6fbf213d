"""A modern stdio MCP server on the Python SDK 2.x that does everything a server may do."""

from typing import Any

import anyio  # type: ignore[import-not-found]
import mcp_types as types  # type: ignore[import-not-found]
from mcp.server.lowlevel import Server  # type: ignore[import-not-found]
from mcp.server.stdio import stdio_server  # type: ignore[import-not-found]
from mcp.server.subscriptions import (  # type: ignore[import-not-found]
    InMemorySubscriptionBus,
    ListenHandler,
    ResourceUpdated,
    ToolsListChanged,
)

LEVELS = ("debug", "info", "warning", "error")
SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}}
NAMES = [
    "echo",
    "count",
    "slow",
    "form",
    "url",
    "sample",
    "roots",
    "log",
    "touch",
    "grow",
    "big",
    "fail",
]

bus = InMemorySubscriptionBus()
grown: list[str] = []


def text(value: object, **more: Any) -> Any:
    content = [types.TextContent(type="text", text=str(value))]
    return types.CallToolResult(content=content, **more)


async def list_tools(ctx: Any, params: Any) -> Any:
    tools = [types.Tool(name=n, input_schema={"type": "object"}) for n in (*NAMES, *grown)]
    return types.ListToolsResult(tools=tools)


async def list_resources(ctx: Any, params: Any) -> Any:
    return types.ListResourcesResult(resources=[types.Resource(uri="test://note", name="note")])


def question(what: str) -> Any:
    match what:
        case "form":
            form = types.ElicitRequestFormParams(message="who?", requested_schema=SCHEMA)
            return types.ElicitRequest(params=form)
        case "url":
            page = "https://example.org/in"
            return types.ElicitRequest(
                params=types.ElicitRequestURLParams(message="sign in", url=page)
            )
        case "sample":
            content = types.TextContent(type="text", text="say")
            said = types.SamplingMessage(role="user", content=content)
            params = types.CreateMessageRequestParams(messages=[said], max_tokens=5)
            return types.CreateMessageRequest(params=params)
        case _:
            return types.ListRootsRequest()


def answered(what: str, value: Any) -> str:
    match what:
        case "form":
            return f"{value.action} {(value.content or {}).get('name')}"
        case "url":
            return str(value.action)
        case "sample":
            return str(value.content.text)
        case _:
            return str(value.roots[0].uri)


async def call_tool(ctx: Any, params: Any) -> Any:  # noqa: C901 (one case a tool)
    match params.name:
        case "count":
            for done in (1, 2, 3):
                await ctx.session.report_progress(done, 3)
        case "slow":
            await ctx.session.report_progress(1, 2)
            await anyio.sleep(60)
        case "form" | "url" | "sample" | "roots":
            if not params.input_responses:
                asked = {"q": question(params.name)}
                return types.InputRequiredResult(input_requests=asked, request_state="mine")
            assert params.request_state == "mine"
            return text(answered(params.name, params.input_responses["q"]))
        case "log":
            for level in LEVELS:
                await ctx.session.send_log_message(level, f"said at {level}")
        case "touch":
            await bus.publish(ResourceUpdated(uri="test://note"))
        case "grow":
            grown.append(f"grown{len(grown)}")
            await bus.publish(ToolsListChanged())
        case "big":
            return text("x" * 1_000_000)
        case "fail":
            return text("failed as asked", is_error=True)
        case _:
            pass
    return text((params.arguments or {}).get("text", "done"))


async def nothing(ctx: Any, params: Any) -> Any:
    return types.EmptyResult()


async def main() -> None:
    server = Server(
        "features-v2",
        version="1",
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_set_logging_level=nothing,
        on_subscribe_resource=nothing,
        on_unsubscribe_resource=nothing,
        on_subscriptions_listen=ListenHandler(bus),
    )
    async with stdio_server() as (reader, writer):
        await server.run(reader, writer, server.create_initialization_options())


anyio.run(main)
