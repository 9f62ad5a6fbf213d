"""The suite's server on the Python SDK 1.x: `legacy.py` on stdio, `legacy.py PORT` over HTTP."""

import contextlib
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import anyio  # type: ignore[import-not-found]
import contents  # type: ignore[import-not-found]
from mcp import types  # type: ignore[import-not-found]
from mcp.server.lowlevel import Server  # type: ignore[import-not-found]
from mcp.server.stdio import stdio_server  # type: ignore[import-not-found]
from mcp.shared.exceptions import McpError  # type: ignore[import-not-found]

server: Any = Server("conformance-legacy", version="1")


@server.list_tools()  # type: ignore[untyped-decorator]
async def list_tools() -> Any:
    schemas = {**contents.COMMON, **contents.PUSHING}
    return [types.Tool(name=n, description=n, inputSchema=s) for n, s in schemas.items()]


async def call_tool(request: Any) -> Any:
    name, arguments = request.params.name, request.params.arguments or {}
    if name in contents.FIXED:
        return types.ServerResult(types.CallToolResult.model_validate(contents.FIXED[name]))
    context = server.request_context
    session = context.session
    told = "done"
    if name == "test_tool_with_logging":
        for said in ("Tool execution started", "Tool processing data", "Tool execution completed"):
            await session.send_log_message("info", said, related_request_id=context.request_id)
            await anyio.sleep(0.05)
    elif name == "test_tool_with_progress":
        for done in (0, 50, 100):
            if context.meta is not None and context.meta.progressToken is not None:
                token = context.meta.progressToken
                await session.send_progress_notification(
                    token, done, 100, related_request_id=str(context.request_id)
                )
            await anyio.sleep(0.05)
    elif name in contents.PUSHING:
        told = await ask(session, context.request_id, name, arguments)
    else:
        raise McpError(types.ErrorData(code=types.INVALID_PARAMS, message=f"no tool {name}"))
    return types.ServerResult(
        types.CallToolResult(content=[types.TextContent(type="text", text=told)])
    )


server.request_handlers[types.CallToolRequest] = call_tool


async def ask(session: Any, id: Any, name: str, arguments: dict[str, Any]) -> str:
    if name == "test_sampling":
        content = types.TextContent(type="text", text=arguments["prompt"])
        said = types.SamplingMessage(role="user", content=content)
        made = await session.create_message([said], max_tokens=100, related_request_id=id)
        return f"LLM response: {made.content.text}"
    schema = {
        "test_elicitation": contents.ELICITED,
        "test_elicitation_sep1034_defaults": contents.DEFAULTS,
        "test_elicitation_sep1330_enums": contents.ENUMS,
    }[name]
    message = arguments.get("message", "Please fill this in")
    told = await session.elicit_form(message, schema, related_request_id=id)
    head = "User response" if name == "test_elicitation" else "Elicitation completed"
    return f"{head}: action={told.action}, content={json.dumps(told.content)}"


@server.list_resources()  # type: ignore[untyped-decorator]
async def list_resources() -> Any:
    return [
        types.Resource(uri=uri, name=uri, description=uri, mimeType=one["mimeType"])
        for uri, one in contents.RESOURCES.items()
    ]


@server.list_resource_templates()  # type: ignore[untyped-decorator]
async def list_templates() -> Any:
    return [types.ResourceTemplate(uriTemplate=contents.TEMPLATE, name="template")]


async def read_resource(request: Any) -> Any:
    found = contents.read(str(request.params.uri))
    if found is None:
        raise McpError(types.ErrorData(code=-32002, message="Resource not found"))
    return types.ServerResult(types.ReadResourceResult.model_validate({"contents": [found]}))


server.request_handlers[types.ReadResourceRequest] = read_resource


@server.subscribe_resource()  # type: ignore[untyped-decorator]
async def subscribe(uri: Any) -> None:
    pass


@server.unsubscribe_resource()  # type: ignore[untyped-decorator]
async def unsubscribe(uri: Any) -> None:
    pass


@server.set_logging_level()  # type: ignore[untyped-decorator]
async def set_level(level: Any) -> None:
    pass


@server.completion()  # type: ignore[untyped-decorator]
async def complete(ref: Any, argument: Any, context: Any) -> Any:
    return types.Completion(values=["paris", "park", "party"], total=3, hasMore=False)


@server.list_prompts()  # type: ignore[untyped-decorator]
async def list_prompts() -> Any:
    return [
        types.Prompt(
            name=name,
            description=name,
            arguments=[types.PromptArgument(name=one, required=True) for one in names],
        )
        for name, names in contents.PROMPTS.items()
    ]


@server.get_prompt()  # type: ignore[untyped-decorator]
async def get_prompt(name: str, arguments: Any) -> Any:
    return types.GetPromptResult.model_validate(contents.prompt(name, arguments or {}))


def options() -> Any:
    made = server.create_initialization_options()
    made.capabilities.resources.subscribe = True
    return made


async def serve_stdio() -> None:
    async with stdio_server() as (reader, writer):
        await server.run(reader, writer, options())


def serve_http(port: int) -> None:
    import uvicorn  # type: ignore[import-not-found]
    from mcp.server.fastmcp.server import (  # type: ignore[import-not-found]
        StreamableHTTPASGIApp,
    )
    from mcp.server.streamable_http_manager import (  # type: ignore[import-not-found]
        StreamableHTTPSessionManager,
    )
    from mcp.server.transport_security import (  # type: ignore[import-not-found]
        TransportSecuritySettings,
    )
    from starlette.applications import Starlette  # type: ignore[import-not-found]
    from starlette.routing import Route  # type: ignore[import-not-found]

    local = ["127.0.0.1:*", "localhost:*"]
    security = TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=local,
        allowed_origins=[f"http://{host}" for host in local],
    )
    server.create_initialization_options = lambda *_: _options_over_http
    manager = StreamableHTTPSessionManager(server, security_settings=security)

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        async with manager.run():
            yield

    routes = [Route("/mcp", endpoint=StreamableHTTPASGIApp(manager))]
    app = Starlette(routes=routes, lifespan=lifespan)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _options_over_http = options()
        serve_http(int(sys.argv[1]))
    else:
        anyio.run(serve_stdio)
