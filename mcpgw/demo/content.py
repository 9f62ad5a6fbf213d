"""What the demo server offers. Pure; answers are in the newest shape, `wire` trims them.

Nothing heavy is imported: the server starts once per call in launcher mode.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

Json = dict[str, Any]

PAGE: Final = 10
"""Resources per page of `resources/list`: few, so that paging can be seen."""

BIGGEST: Final = 100 * 2**20
"""The most bytes `big` makes: what is beyond is a mistake, not a demonstration."""

LARGEST: Final = 1e300
"""The largest number taken, so that no sum becomes infinite, which JSON cannot say."""

NAMES: Final[tuple[str, ...]] = (
    "Ada",
    "Alan",
    "Barbara",
    "Edsger",
    "Frances",
    "Grace",
    "Katherine",
    "Margaret",
)
WORDS: Final[tuple[str, ...]] = (
    "hello",
    "hello world",
    "help",
    "mcp",
    "model context protocol",
    "ping",
)

ECHO_TEMPLATE: Final = "demo://echo/{text}"
ECHO_PREFIX: Final = "demo://echo/"


class BadParams(Exception):
    """The request's parameters name nothing we have; the message says what is wrong."""


class NotFound(BadParams):
    """There is no such resource."""


class BadArgument(Exception):
    """A tool's argument is not acceptable; the message is for the model."""


def _schema(required: Sequence[str] = (), **properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": list(required)}


_NUMBER: Final[Json] = {"type": "number"}

TOOLS: Final[tuple[Json, ...]] = (
    {
        "name": "echo",
        "title": "Echo",
        "description": "Returns the text it is given.",
        "inputSchema": _schema(["text"], text={"type": "string"}),
        "annotations": {"readOnlyHint": True},
    },
    {
        "name": "add",
        "title": "Add",
        "description": "Adds two numbers; the sum is structured content as well as text.",
        "inputSchema": _schema(["a", "b"], a=_NUMBER, b=_NUMBER),
        "outputSchema": _schema(["sum"], sum=_NUMBER),
        "annotations": {"readOnlyHint": True},
    },
    {
        "name": "slow",
        "title": "Slow",
        "description": "Takes its time in equal steps, reports progress, can be cancelled.",
        "inputSchema": _schema(
            seconds={"type": "number", "minimum": 0, "maximum": 3600, "default": 2},
            steps={"type": "integer", "minimum": 1, "maximum": 1000, "default": 4},
        ),
        "annotations": {"readOnlyHint": True},
    },
    {
        "name": "big",
        "title": "Big",
        "description": "Returns a text of so many bytes.",
        "inputSchema": _schema(
            ["bytes"], bytes={"type": "integer", "minimum": 0, "maximum": BIGGEST}
        ),
        "annotations": {"readOnlyHint": True},
    },
    {
        "name": "fail",
        "title": "Fail",
        "description": "Always fails, the way a tool fails: with an error result.",
        "inputSchema": _schema(),
        "annotations": {"readOnlyHint": True},
    },
    {
        "name": "cancelled",
        "title": "Cancelled",
        "description": "How many calls of slow were cancelled since this server started.",
        "inputSchema": _schema(),
        "annotations": {"readOnlyHint": True},
    },
)

TEMPLATES: Final[tuple[Json, ...]] = (
    {
        "uriTemplate": ECHO_TEMPLATE,
        "name": "echo",
        "title": "Echo",
        "description": "The text in the URI.",
        "mimeType": "text/plain",
    },
)

PROMPTS: Final[tuple[Json, ...]] = (
    {
        "name": "greet",
        "title": "Greet",
        "description": "Asks for a greeting.",
        "arguments": [{"name": "name", "description": "Whom to greet.", "required": True}],
    },
)

TEXTS: Final[Mapping[str, str]] = {
    "demo://greeting": "Hello from the mcpgw demo server.",
    **{f"demo://square/{n}": f"{n} squared is {n * n}." for n in range(1, 25)},
}
"""The static resources, in the order they are listed."""


def text_result(text: str) -> Json:
    """A tool's result that is one text."""
    return {"content": [{"type": "text", "text": text}]}


def error_result(text: str) -> Json:
    """A tool's result that says what went wrong."""
    return {**text_result(text), "isError": True}


def _echo(arguments: Json) -> Json:
    text = arguments.get("text")
    if not isinstance(text, str):
        raise BadArgument("text must be a string")
    return text_result(text)


def _add(arguments: Json) -> Json:
    total = number(arguments, "a") + number(arguments, "b")
    return {**text_result(str(total)), "structuredContent": {"sum": total}}


def _big(arguments: Json) -> Json:
    size = whole(arguments, "bytes", None, 0, BIGGEST)
    line = "All work and no play makes a dull server. "
    return text_result((line * (size // len(line) + 1))[:size])


def _fail(_: Json) -> Json:
    return error_result("This tool always fails.")


QUICK_TOOLS: Final[Mapping[str, Callable[[Json], Json]]] = {
    "echo": _echo,
    "add": _add,
    "big": _big,
    "fail": _fail,
}
"""The tools that answer at once; `slow` and `cancelled` need the server."""


def number(arguments: Json, name: str, default: float | None = None) -> float:
    """A numeric argument.

    Raises:
        BadArgument: It is missing or something else.
    """
    value = arguments.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadArgument(f"{name} must be a number")
    if not abs(value) <= LARGEST:  # also true of NaN, which JSON cannot say
        raise BadArgument(f"{name} is too large")
    return value


def whole(arguments: Json, name: str, default: int | None, least: int, most: int) -> int:
    """A whole-numbered argument between `least` and `most`.

    Raises:
        BadArgument: It is missing, something else, or out of bounds.
    """
    value = number(arguments, name, default)
    if value != value // 1 or not least <= value <= most:
        raise BadArgument(f"{name} must be a whole number from {least} to {most}")
    return int(value)


def list_resources(cursor: object) -> Json:
    """One page of the static resources.

    Raises:
        BadParams: The cursor is not one of ours.
    """
    start = _parse_cursor(cursor)
    uris = list(TEXTS)[start : start + PAGE]
    page: Json = {
        "resources": [
            {"uri": uri, "name": uri.removeprefix("demo://"), "mimeType": "text/plain"}
            for uri in uris
        ]
    }
    if start + PAGE < len(TEXTS):
        page["nextCursor"] = f"from-{start + PAGE}"
    return page


def _parse_cursor(cursor: object) -> int:
    if cursor is None:
        return 0
    known = {f"from-{start}": start for start in range(PAGE, len(TEXTS), PAGE)}
    if not isinstance(cursor, str) or cursor not in known:
        raise BadParams("the cursor is not one this server gave out")
    return known[cursor]


def read_resource(uri: object) -> Json:
    """A resource's contents.

    Raises:
        NotFound: There is no such resource.
    """
    text = TEXTS.get(uri) if isinstance(uri, str) else None
    if isinstance(uri, str) and uri.startswith(ECHO_PREFIX):
        from urllib.parse import unquote

        text = unquote(uri.removeprefix(ECHO_PREFIX))
    if text is None:
        raise NotFound(f"there is no resource {uri}")
    return {"contents": [{"uri": uri, "mimeType": "text/plain", "text": text}]}


def get_prompt(name: object, arguments: Json) -> Json:
    """A prompt, filled in.

    Raises:
        BadParams: There is no such prompt, or the name to greet is missing.
    """
    if name != "greet":
        raise BadParams(f"there is no prompt {name}")
    who = arguments.get("name")
    if not isinstance(who, str):
        raise BadParams("the prompt greet needs the argument name")
    text = {"type": "text", "text": f"Please greet {who} in one friendly sentence."}
    return {"description": "Asks for a greeting.", "messages": [{"role": "user", "content": text}]}


def complete(ref: Json, argument: Json) -> Json:
    """Suggestions for an argument of the prompt or of the resource template.

    Raises:
        BadParams: There is no such argument.
    """
    match ref.get("type"), ref.get("name") or ref.get("uri"), argument.get("name"):
        case "ref/prompt", "greet", "name":
            known = NAMES
        case "ref/resource", uri, "text" if uri == ECHO_TEMPLATE:
            known = WORDS
        case _:
            raise BadParams("there is nothing of that name to complete")
    typed = str(argument.get("value", "")).lower()
    values = [word for word in known if word.lower().startswith(typed)]
    return {"completion": {"values": values, "total": len(values), "hasMore": False}}
