"""A dual-era stdio MCP server on the Python SDK 2.x: the first message decides its era.

It lists its tools two a page, reports progress, and says which calls were cancelled: on
stderr, so that a test can read it in the gateway's log, and to whoever calls `confirm`.
"""

import json
import sys
from collections import defaultdict
from typing import Any

import anyio  # type: ignore[import-not-found]
import mcp_types as types  # type: ignore[import-not-found]
from mcp import MCPError  # type: ignore[import-not-found]
from mcp.server.lowlevel import Server  # type: ignore[import-not-found]
from mcp.server.stdio import stdio_server  # type: ignore[import-not-found]

PAGE = 2
NAMES = ("echo", "count", "fail", "slow", "confirm", "era")
cancelled: defaultdict[str, Any] = defaultdict(anyio.Event)
CITIES = ("Lisbon", "London", "Lima", "Oslo")


async def list_tools(ctx: Any, params: Any) -> Any:
    start = int((params and params.cursor) or 0)
    more = str(start + PAGE) if start + PAGE < len(NAMES) else None
    tools = [
        types.Tool(name=name, description=name, input_schema={"type": "object"})
        for name in NAMES[start : start + PAGE]
    ]
    return types.ListToolsResult(tools=tools, next_cursor=more)


async def call_tool(ctx: Any, params: Any) -> Any:
    arguments = params.arguments or {}
    match params.name:
        case "echo":
            return _text(json.dumps(arguments, sort_keys=True))
        case "count":
            for done in range(1, arguments["to"] + 1):
                await ctx.session.report_progress(done, arguments["to"], f"counted {done}")
            return _text(f"counted to {arguments['to']}")
        case "fail":
            return types.CallToolResult(
                content=[types.TextContent(type="text", text="failed as asked")], is_error=True
            )
        case "slow":
            return await _slow(ctx, arguments["name"])
        case "confirm":
            with anyio.fail_after(5):
                await cancelled[arguments["name"]].wait()
            return _text("cancelled")
        case "era":
            return _text(ctx.protocol_version)
        case unknown:
            raise MCPError(types.INVALID_PARAMS, f"Tool {unknown} not found")


async def _slow(ctx: Any, name: str) -> Any:
    try:
        await ctx.session.report_progress(1, 2, "started")
        await anyio.sleep(60)
    except anyio.get_cancelled_exc_class():
        print(f"cancelled {name}", file=sys.stderr, flush=True)
        cancelled[name].set()
        raise
    return _text("never cancelled")


def _text(text: str) -> Any:
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)])


async def list_resources(ctx: Any, params: Any) -> Any:
    return types.ListResourcesResult(resources=[types.Resource(uri="test://note", name="note")])


async def list_templates(ctx: Any, params: Any) -> Any:
    template = types.ResourceTemplate(uri_template="test://note/{n}", name="notes")
    return types.ListResourceTemplatesResult(resource_templates=[template])


async def read_resource(ctx: Any, params: Any) -> Any:
    contents = types.TextResourceContents(uri=params.uri, mime_type="text/plain", text="a note")
    return types.ReadResourceResult(contents=[contents])


async def list_prompts(ctx: Any, params: Any) -> Any:
    city = types.PromptArgument(name="city", required=True)
    return types.ListPromptsResult(prompts=[types.Prompt(name="visit", arguments=[city])])


async def get_prompt(ctx: Any, params: Any) -> Any:
    text = types.TextContent(type="text", text=f"Plan a visit to {params.arguments['city']}.")
    return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=text)])


async def complete(ctx: Any, params: Any) -> Any:
    values = [city for city in CITIES if city.startswith(params.argument.value)]
    return types.CompleteResult(completion=types.Completion(values=values, total=len(values)))


async def main() -> None:
    server = Server(
        "dual-py",
        version="1",
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
        on_list_prompts=list_prompts,
        on_get_prompt=get_prompt,
        on_completion=complete,
    )
    async with stdio_server() as (reader, writer):
        await server.run(reader, writer, server.create_initialization_options())


anyio.run(main)
