"""What the conformance suite asks a server for, as plain JSON: both servers give the same."""

import json
from typing import Any, Final

Json = dict[str, Any]

PNG: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAF"
    "AAH/q842iQAAAABJRU5ErkJggg=="
)
WAV: Final = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA="

IMAGE: Final[Json] = {"type": "image", "data": PNG, "mimeType": "image/png"}


def text(value: str) -> Json:
    return {"type": "text", "text": value}


def embedded(uri: str, mime: str, value: str) -> Json:
    return {"type": "resource", "resource": {"uri": uri, "mimeType": mime, "text": value}}


FIXED: Final[dict[str, Json]] = {
    "test_simple_text": {"content": [text("This is a simple text response for testing.")]},
    "test_image_content": {"content": [IMAGE]},
    "test_audio_content": {"content": [{"type": "audio", "data": WAV, "mimeType": "audio/wav"}]},
    "test_embedded_resource": {
        "content": [
            embedded(
                "test://embedded-resource", "text/plain", "This is an embedded resource content."
            )
        ]
    },
    "test_multiple_content_types": {
        "content": [
            text("Multiple content types test:"),
            IMAGE,
            embedded(
                "test://mixed-content-resource",
                "application/json",
                json.dumps({"test": "data", "value": 123}),
            ),
        ]
    },
    "test_error_handling": {
        "isError": True,
        "content": [text("This tool intentionally returns an error for testing")],
    },
}
"""Tools whose result is always the same."""

EMPTY: Final[Json] = {"type": "object", "properties": {}}
PROMPT: Final[Json] = {"type": "object", "properties": {"prompt": {"type": "string"}}}
MESSAGE: Final[Json] = {"type": "object", "properties": {"message": {"type": "string"}}}
ADDRESS: Final[Json] = {
    "$anchor": "addressDef",
    "type": "object",
    "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
}
RICH: Final[Json] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {"address": ADDRESS},
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}

COMMON: Final[dict[str, Json]] = {
    **dict.fromkeys(FIXED, EMPTY),
    "test_tool_with_logging": EMPTY,
    "test_tool_with_progress": EMPTY,
    "json_schema_2020_12_tool": RICH,
}
"""Tools of both servers, and their schemas."""

PUSHING: Final[dict[str, Json]] = {
    "test_sampling": PROMPT,
    "test_elicitation": MESSAGE,
    "test_elicitation_sep1034_defaults": EMPTY,
    "test_elicitation_sep1330_enums": EMPTY,
}
"""Tools of the legacy server, which ask in the middle of a call."""

RESOURCES: Final[dict[str, Json]] = {
    "test://static-text": {
        "mimeType": "text/plain",
        "text": "This is the content of the static text resource.",
    },
    "test://static-binary": {"mimeType": "image/png", "blob": PNG},
    "test://watched-resource": {"mimeType": "text/plain", "text": "Watched."},
}
TEMPLATE: Final = "test://template/{id}/data"


def read(uri: str) -> Json | None:
    """The content of a resource, or None."""
    if uri in RESOURCES:
        return {"uri": uri, **RESOURCES[uri]}
    head, tail = TEMPLATE.split("{id}")
    if uri.startswith(head) and uri.endswith(tail):
        id = uri[len(head) : -len(tail)]
        told = {"id": id, "templateTest": True, "data": f"Data for ID: {id}"}
        return {"uri": uri, "mimeType": "application/json", "text": json.dumps(told)}
    return None


PROMPTS: Final[dict[str, tuple[str, ...]]] = {
    "test_simple_prompt": (),
    "test_prompt_with_arguments": ("arg1", "arg2"),
    "test_prompt_with_embedded_resource": ("resourceUri",),
    "test_prompt_with_image": (),
}


def prompt(name: str, arguments: dict[str, str]) -> Json | None:
    """A prompt, or None."""
    contents: list[Json]
    match name:
        case "test_simple_prompt":
            contents = [text("This is a simple prompt for testing.")]
        case "test_prompt_with_arguments":
            told = f"arg1='{arguments['arg1']}', arg2='{arguments['arg2']}'"
            contents = [text(f"Prompt with arguments: {told}")]
        case "test_prompt_with_embedded_resource":
            value = "Embedded resource content for testing."
            contents = [
                embedded(arguments["resourceUri"], "text/plain", value),
                text("Please process the embedded resource above."),
            ]
        case "test_prompt_with_image":
            contents = [IMAGE, text("Please analyze the image above.")]
        case _:
            return None
    return {"messages": [{"role": "user", "content": content} for content in contents]}


ELICITED: Final[Json] = {
    "type": "object",
    "properties": {
        "username": {"type": "string", "description": "User's response"},
        "email": {"type": "string", "description": "User's email address"},
    },
    "required": ["username", "email"],
}
DEFAULTS: Final[Json] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {
            "type": "string",
            "enum": ["active", "inactive", "pending"],
            "default": "active",
        },
        "verified": {"type": "boolean", "default": True},
    },
}


def _titled(*titles: str) -> list[Json]:
    return [{"const": f"value{n}", "title": title} for n, title in enumerate(titles, 1)]


_PLAIN: Final = ["option1", "option2", "option3"]
ENUMS: Final[Json] = {
    "type": "object",
    "properties": {
        "untitledSingle": {"type": "string", "enum": _PLAIN},
        "titledSingle": {
            "type": "string",
            "oneOf": _titled("First Option", "Second Option", "Third Option"),
        },
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": _PLAIN}},
        "titledMulti": {
            "type": "array",
            "items": {"anyOf": _titled("First Choice", "Second Choice", "Third Choice")},
        },
    },
}
