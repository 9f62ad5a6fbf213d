"""The suite's server on the Python SDK 2.x: `modern.py` on stdio, `modern.py PORT` over HTTP."""

import hashlib
import hmac
import os
import sys
from typing import Any

import anyio  # type: ignore[import-not-found]
import contents  # type: ignore[import-not-found]
import mcp_types as types  # type: ignore[import-not-found]
from mcp import MCPError  # type: ignore[import-not-found]
from mcp.server.lowlevel import Server  # type: ignore[import-not-found]
from mcp.server.stdio import stdio_server  # type: ignore[import-not-found]
from mcp.server.subscriptions import (  # type: ignore[import-not-found]
    InMemorySubscriptionBus,
    ListenHandler,
    PromptsListChanged,
    ToolsListChanged,
)

KEY = os.urandom(32)
bus = InMemorySubscriptionBus()


def seal(text: str) -> str:
    return text + "." + hmac.new(KEY, text.encode(), hashlib.sha256).hexdigest()


def opened(state: str | None) -> str:
    text = (state or "").rpartition(".")[0]
    if state is None or not hmac.compare_digest(seal(text), state):
        raise MCPError(types.INVALID_PARAMS, "requestState was changed")
    return text


def form(message: str, **properties: str) -> Any:
    schema = {
        "type": "object",
        "properties": {name: {"type": kind} for name, kind in properties.items()},
        "required": list(properties),
    }
    params = types.ElicitRequestFormParams(message=message, requested_schema=schema)
    return types.ElicitRequest(params=params)


def sample(text: str, tokens: int) -> Any:
    said = types.SamplingMessage(role="user", content=types.TextContent(type="text", text=text))
    params = types.CreateMessageRequestParams(messages=[said], max_tokens=tokens)
    return types.CreateMessageRequest(params=params)


NAME = form("What is your name?", name="string")
ROOTS = types.ListRootsRequest()
ASKING: dict[str, dict[str, Any]] = {
    "elicitation": {"user_name": NAME},
    "sampling": {"capital_question": sample("What is the capital of France?", 100)},
    "list_roots": {"client_roots": ROOTS},
    "request_state": {"confirm": form("Please confirm", ok="boolean")},
    "tampered_state": {"confirm": form("Please confirm", ok="boolean")},
    "multiple_inputs": {
        "user_name": NAME,
        "greeting": sample("Generate a greeting", 50),
        "client_roots": ROOTS,
    },
    "multi_round": {"step1": form("Step 1: What is your name?", name="string")},
    "capabilities": {"user_name": NAME, "greeting": sample("Generate a greeting", 50)},
}
PREFIX = "test_input_required_result_"
STATED = ("request_state", "tampered_state", "multiple_inputs", "multi_round")
HEADERS = {"region": "Region", "count": "Count"}


def text(value: str, **more: Any) -> Any:
    return types.CallToolResult(content=[types.TextContent(type="text", text=value)], **more)


async def list_tools(ctx: Any, params: Any) -> Any:
    schemas = {
        **contents.COMMON,
        **{PREFIX + name: contents.EMPTY for name in ASKING},
        "test_missing_capability": contents.EMPTY,
        "test_logging_tool": contents.EMPTY,
        "test_streaming_elicitation": contents.EMPTY,
        "test_trigger_tool_change": contents.EMPTY,
        "test_trigger_prompt_change": contents.EMPTY,
        "test_headers_tool": {
            "type": "object",
            "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
        },
    }
    tools = [types.Tool(name=n, description=n, input_schema=s) for n, s in schemas.items()]
    return types.ListToolsResult(tools=tools, ttl_ms=1000, cache_scope="public")


async def call_tool(ctx: Any, params: Any) -> Any:  # noqa: C901 (one case a tool)
    name = params.name
    if name in contents.FIXED:
        return types.CallToolResult.model_validate(contents.FIXED[name])
    if name.startswith(PREFIX) and name.removeprefix(PREFIX) in ASKING:
        return asking(ctx, params, name.removeprefix(PREFIX))
    match name:
        case "test_tool_with_logging" | "test_logging_tool":
            await ctx.session.send_log_message("info", "said")
        case "test_tool_with_progress":
            for done in (0, 50, 100):
                await ctx.session.report_progress(done, 100)
                await anyio.sleep(0.05)
        case "test_missing_capability":
            missing(ctx, "sampling")
        case "test_streaming_elicitation":
            if not params.input_responses:
                return types.InputRequiredResult(input_requests={"user_name": NAME})
        case "test_trigger_tool_change":
            await bus.publish(ToolsListChanged())
        case "test_trigger_prompt_change":
            await bus.publish(PromptsListChanged())
        case "json_schema_2020_12_tool" | "test_headers_tool":
            pass
        case _:
            raise MCPError(types.INVALID_PARAMS, f"no tool {name}")
    return text("done")


def declared(ctx: Any) -> Any:
    return ctx.session.client_capabilities


def missing(ctx: Any, capability: str) -> None:
    if getattr(declared(ctx), capability, None) is None:
        data: dict[str, Any] = {"requiredCapabilities": {capability: {}}}
        raise MCPError(-32021, f"this needs {capability}", data)


def asking(ctx: Any, params: Any, what: str) -> Any:
    wanted, given = ASKING[what], params.input_responses or {}
    state = opened(params.request_state) if params.request_state else None
    if what == "capabilities":
        able = declared(ctx)
        allowed = {"user_name": able and able.elicitation, "greeting": able and able.sampling}
        wanted = {key: one for key, one in wanted.items() if allowed[key] is not None}
        if not wanted:
            missing(ctx, "elicitation")
    if what == "multi_round" and state == "one":
        wanted = {"step2": form("Step 2: What is your favorite color?", color="string")}
    if wanted.keys() <= given.keys():
        if what == "multi_round" and "step1" in given:
            second = {"step2": form("Step 2: What is your favorite color?", color="string")}
            return types.InputRequiredResult(input_requests=second, request_state=seal("one"))
        return text(f"state-ok {state} {[str(value) for value in given.values()]}")
    made = seal("zero") if what in STATED else None
    return types.InputRequiredResult(input_requests=wanted, request_state=made)


async def list_resources(ctx: Any, params: Any) -> Any:
    resources = [
        types.Resource(uri=uri, name=uri, description=uri, mime_type=one["mimeType"])
        for uri, one in contents.RESOURCES.items()
    ]
    return types.ListResourcesResult(resources=resources, ttl_ms=1000, cache_scope="public")


async def list_templates(ctx: Any, params: Any) -> Any:
    template = types.ResourceTemplate(uri_template=contents.TEMPLATE, name="template")
    return types.ListResourceTemplatesResult(
        resource_templates=[template], ttl_ms=1000, cache_scope="public"
    )


async def read_resource(ctx: Any, params: Any) -> Any:
    found = contents.read(str(params.uri))
    if found is None:
        raise MCPError(types.INVALID_PARAMS, "Resource not found", {"uri": str(params.uri)})
    told = {"contents": [found], "ttlMs": 1000, "cacheScope": "public"}
    return types.ReadResourceResult.model_validate(told)


async def list_prompts(ctx: Any, params: Any) -> Any:
    names = {**contents.PROMPTS, "test_input_required_result_prompt": ()}
    prompts = [
        types.Prompt(
            name=name,
            description=name,
            arguments=[types.PromptArgument(name=one, required=True) for one in arguments],
        )
        for name, arguments in names.items()
    ]
    return types.ListPromptsResult(prompts=prompts, ttl_ms=1000, cache_scope="public")


async def get_prompt(ctx: Any, params: Any) -> Any:
    if params.name == "test_input_required_result_prompt":
        if not params.input_responses:
            asked = {"user_context": form("What context should the prompt use?", context="string")}
            return types.InputRequiredResult(input_requests=asked)
        return types.GetPromptResult.model_validate(contents.prompt("test_simple_prompt", {}))
    return types.GetPromptResult.model_validate(
        contents.prompt(params.name, params.arguments or {})
    )


async def complete(ctx: Any, params: Any) -> Any:
    values = ["paris", "park", "party"]
    return types.CompleteResult(completion=types.Completion(values=values, total=3, has_more=False))


async def set_level(ctx: Any, params: Any) -> Any:
    return types.EmptyResult()


server: Any = Server(
    "conformance-modern",
    version="1",
    on_list_tools=list_tools,
    on_call_tool=call_tool,
    on_list_resources=list_resources,
    on_list_resource_templates=list_templates,
    on_read_resource=read_resource,
    on_list_prompts=list_prompts,
    on_get_prompt=get_prompt,
    on_completion=complete,
    on_set_logging_level=set_level,
    on_subscriptions_listen=ListenHandler(bus),
)


async def serve_stdio() -> None:
    async with stdio_server() as (reader, writer):
        await server.run(reader, writer, server.create_initialization_options())


if __name__ == "__main__":
    if len(sys.argv) > 1:
        import uvicorn  # type: ignore[import-not-found]

        app = server.streamable_http_app()
        uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error")
    else:
        anyio.run(serve_stdio)
