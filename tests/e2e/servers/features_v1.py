"""A legacy stdio MCP server on the Python SDK 1.x that does everything a server may do."""

import anyio  # type: ignore[import-not-found]
from mcp import types  # type: ignore[import-not-found]
from mcp.server.lowlevel import NotificationOptions, Server  # type: ignore[import-not-found]
from mcp.server.stdio import stdio_server  # type: ignore[import-not-found]
from pydantic import AnyUrl

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

server: "Server[object]" = Server("features-v1", version="1")
grown: list[str] = []
level = "debug"


def text(value: object) -> list[types.TextContent]:
    return [types.TextContent(type="text", text=str(value))]


@server.list_tools()  # type: ignore[untyped-decorator]
async def list_tools() -> list[types.Tool]:
    return [types.Tool(name=n, inputSchema={"type": "object"}) for n in (*NAMES, *grown)]


@server.list_resources()  # type: ignore[untyped-decorator]
async def list_resources() -> list[types.Resource]:
    return [types.Resource(uri=AnyUrl("test://note"), name="note")]


@server.subscribe_resource()  # type: ignore[untyped-decorator]
async def subscribe(uri: AnyUrl) -> None:
    pass


@server.unsubscribe_resource()  # type: ignore[untyped-decorator]
async def unsubscribe(uri: AnyUrl) -> None:
    pass


@server.set_logging_level()  # type: ignore[untyped-decorator]
async def set_level(wanted: str) -> None:
    global level
    level = wanted


@server.call_tool()  # type: ignore[untyped-decorator]
async def call_tool(  # noqa: C901 (one case a tool)
    name: str, arguments: dict[str, object]
) -> list[types.TextContent]:
    context = server.request_context
    session = context.session
    match name:
        case "count":
            token = context.meta and context.meta.progressToken
            for done in (1, 2, 3):
                await session.send_progress_notification(token, done, 3)
        case "slow":
            token = context.meta and context.meta.progressToken
            await session.send_progress_notification(token, 1, 2)
            await anyio.sleep(60)
        case "form" | "url" | "sample" | "roots":
            return text(await ask(name))
        case "log":
            for one in LEVELS[LEVELS.index(level) :]:
                await session.send_log_message(
                    one, f"said at {one}", related_request_id=context.request_id
                )
        case "touch":
            await session.send_resource_updated(AnyUrl("test://note"))
        case "grow":
            grown.append(f"grown{len(grown)}")
            await session.send_tool_list_changed()
        case "big":
            return text("x" * 1_000_000)
        case "fail":
            raise ValueError("failed as asked")
        case _:
            pass
    return text(arguments.get("text", "done"))


async def ask(what: str) -> str:
    session = server.request_context.session
    if what == "form":
        told = await session.elicit_form("who?", SCHEMA)
        return f"{told.action} {(told.content or {}).get('name')}"
    if what == "url":
        told = await session.elicit_url("sign in", "https://example.org/in", "e1")
        return str(told.action)
    if what == "sample":
        said = types.SamplingMessage(role="user", content=text("say")[0])
        made = await session.create_message([said], max_tokens=5)
        return str(made.content.text)
    return str((await session.list_roots()).roots[0].uri)


async def main() -> None:
    options = server.create_initialization_options(
        NotificationOptions(tools_changed=True, resources_changed=True)
    )
    assert options.capabilities.resources is not None
    options.capabilities.resources.subscribe = True
    async with stdio_server() as (reader, writer):
        await server.run(reader, writer, options)


anyio.run(main)
