"""The official schemas, one file per revision, and a check of messages against them."""

import json
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema.protocols import Validator
from jsonschema.validators import validator_for

RESULTS = {
    "initialize": "InitializeResult",
    "ping": "EmptyResult",
    "server/discover": "DiscoverResult",
    "tools/list": "ListToolsResult",
    "tools/call": "CallToolResult",
    "resources/list": "ListResourcesResult",
    "resources/templates/list": "ListResourceTemplatesResult",
    "resources/read": "ReadResourceResult",
    "prompts/list": "ListPromptsResult",
    "prompts/get": "GetPromptResult",
    "completion/complete": "CompleteResult",
    "logging/setLevel": "EmptyResult",
    "resources/subscribe": "EmptyResult",
    "resources/unsubscribe": "EmptyResult",
    "subscriptions/listen": "SubscriptionsListenResult",
}
"""The definition of each method's result."""


@cache
def validator(revision: str, definition: str) -> Validator:
    """Checks values against one definition of a revision's schema."""
    schema = json.loads(files(__name__).joinpath(f"{revision}.json").read_text("utf-8"))
    place = "$defs" if "$defs" in schema else "definitions"
    part = {"$schema": schema["$schema"], "$ref": f"#/{place}/{definition}", place: schema[place]}
    made: Validator = validator_for(part)(part)
    return made


def _definition(result: dict[str, Any], method: str) -> str:
    kind = result.get("resultType")
    if kind == "input_required":
        return "InputRequiredResult"
    if kind == "task":
        return "Result"  # of an extension, which has a schema elsewhere
    return "CreateTaskResult" if "task" in result else RESULTS[method]


def check_message(revision: str, message: dict[str, Any], method: str = "") -> None:
    """See that a server's message is what `revision` allows, `method` being what it answers."""
    validator(revision, "JSONRPCMessage").validate(message)
    if "result" in message:
        validator(revision, _definition(message["result"], method)).validate(message["result"])
    elif "id" in message and "method" in message:
        validator(revision, "ServerRequest").validate(message)
    elif "error" not in message:
        validator(revision, "ServerNotification").validate(message)
