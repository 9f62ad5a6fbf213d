"""What pydantic found wrong, in words for the person who wrote the file."""

import difflib
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from mcpgw.config.document import Document
from mcpgw.config.problems import Path, Problem, listing, quote
from mcpgw.config.schema import Config, ServerSpec

FILLED_IN: Final[Mapping[type[BaseModel], str]] = MappingProxyType(
    {Config: "base_dir", ServerSpec: "name"}
)
"""Fields that the loader fills in, and that the file must not have."""

_FOREIGN: Final[Mapping[str, str]] = MappingProxyType(
    {
        "command": "cmd",
        "arguments": "args",
        "environment": "env",
        "workdir": "cwd",
        "working_dir": "cwd",
        "mcpservers": "tools",
        "servers": "tools",
        "services": "tools",
        "type": "runtime",
        "transport": "protocol",
        "logging": "log",
    }
)
"""What other programs call our keys."""


def explain(error: ValidationError, document: Document) -> Iterator[Problem]:
    """Give a problem for each thing pydantic found."""
    for details in error.errors(include_url=False):
        path = details["loc"]
        value = document.value_at(path)
        if details["type"] == "extra_forbidden":
            yield unknown_key(path, value)
        else:
            yield Problem(path, _text(details, path, value, document.written.get(path, "")))


def unknown_key(path: Path, value: object = None) -> Problem:
    """Say that a key means nothing where it stands, and what may have been meant."""
    key = str(path[-1])
    text = f"unknown key {quote(key)}"
    known = keys_at(path[:-1])
    if len(path) == 1 and isinstance(value, dict) and value.keys() & {"cmd", "image"}:
        return Problem(path, f'{text}; a tool belongs under "tools"')
    if home := " or ".join(_homes(key, path[:-1])):
        near = _meant(key, known)
        other = f"; or did you mean {quote(near)}?" if near else ""
        return Problem(path, f"{text}; it belongs {home}{other}")
    if meant := _meant(key, known):
        return Problem(path, f"{text}; did you mean {quote(meant)}?", meant=meant)
    return Problem(path, f"{text}; the keys here are {listing(known, 'and')}")


def _meant(key: str, known: list[str]) -> str | None:
    names = {name: name for name in known}
    names |= {foreign: ours for foreign, ours in _FOREIGN.items() if ours in known}
    close = difflib.get_close_matches(key.lower(), names, n=1, cutoff=0.7)
    return names[close[0]] if close else None


def keys_at(path: Path) -> list[str]:
    """Give the keys that may stand in the mapping at `path`; none where any may."""
    return list(_fields(_model_at(path)))


def _homes(key: str, path: Path) -> Iterator[str]:
    """Say which places, within or around this mapping, know the key."""
    for name in keys_at(path):
        if key in keys_at((*path, name)):
            yield f"under {quote(name)}"
    if path[:1] == ("tools",) and len(path) > 2 and key in keys_at(path[:2]):
        yield f"to {quote(str(path[1]))} itself"
    if path and key in keys_at(()):
        yield "at the top of the file"
    if not path and key in keys_at(("tools", "any")):
        yield "under a tool"


def _fields(model: type[BaseModel] | None) -> dict[str, FieldInfo]:
    if model is None:
        return {}
    hidden = FILLED_IN.get(model)
    return {name: field for name, field in model.model_fields.items() if name != hidden}


def _model_at(path: Path) -> type[BaseModel] | None:
    model: type[BaseModel] | None = Config
    for i, step in enumerate(path):
        if i == 1 and path[0] == "tools":
            continue  # the name of a tool: the model stays
        if isinstance(step, int):
            continue  # a place in a list, all of whose items are alike
        field = _fields(model).get(str(step))
        model = _model_in(field.annotation) if field else None
    return None if path == ("tools",) else model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Find the model in a type such as ``Mapping[str, ServerSpec]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)


def _text(details: ErrorDetails, path: Path, value: object, written: str) -> str:
    """Say what was expected and what was found, quoting it unless it may be a secret."""
    kind = details["type"]
    context = details.get("ctx", {})
    if kind == "value_error":
        expected = str(context["error"])
        if isinstance(value, dict) or _may_be_secret(path):
            return expected
        return expected + _got(value, written)
    if kind in _MAPPING_WANTED:
        return _mapping_wanted(path) + _got(value, written)
    if kind == "string_type":
        return _text_wanted(path, value, written)
    if kind == "tuple_type":
        return _list_wanted(path) + _got(value, "" if _may_be_secret(path) else written)
    if choices := _CHOICES.findall(str(context.get("expected", ""))):
        return _choice_wanted(choices, value, written)
    expected = _EXPECTED.get(kind, details["msg"]).format_map(context)
    comma = "; remove the comma" if written.endswith(",") else ""
    return expected[:1].lower() + expected[1:] + _got(value, written) + comma


def _mapping_wanted(path: Path) -> str:
    if path == ("tools",):
        return 'expected tools by name, such as "git:" with "cmd: npx" indented under it'
    if path[:1] == ("tools",) and len(path) == 2:
        return 'expected the settings of a tool, such as "cmd: npx"'
    if path[-1:] == ("env",):
        return 'expected variables by name, such as "LANG: en_US.UTF-8"'
    return "expected settings by name" + (
        ", such as " + quote(keys[0] + ": ...") if (keys := keys_at(path)) else ""
    )


def _text_wanted(path: Path, value: object, written: str) -> str:
    variable = path[-1] if path[2:3] == ("env",) else None
    if value is None and variable:
        return (
            f'expected text, got nothing; write "${{{variable}}}" to pass on the variable '
            'of the gateway, or "" for an empty one'
        )
    if isinstance(value, dict | list) or value is None:
        return "expected text" + _got(value, written)
    if variable and not isinstance(value, bool):
        return "expected text, got a number; put it in quotes"
    return f"expected text, got {_KINDS[type(value)]}; quote it: {quote(written)}"


def _list_wanted(path: Path) -> str:
    example = '["-y", "some-package"]' if path[-1:] == ("args",) else '["first", "second"]'
    return f"expected a list with one item per value, such as {example}"


def _choice_wanted(choices: list[str], value: object, written: str) -> str:
    close = difflib.get_close_matches(str(value).lower(), choices, n=1)
    hint = f"; did you mean {quote(close[0])}?" if close else ""
    return f"expected {listing(choices)}" + _got(value, written) + hint


def _got(value: object, written: str) -> str:
    if isinstance(value, dict | list) or value is None:
        return f", got {_KINDS[type(value)]}"
    return f", got {quote(written)}" if written else f", got {_KINDS[type(value)]}"


def _may_be_secret(path: Path) -> bool:
    return path[2:3] in (("env",), ("args",)) or (path[:1] == ("auth",) and path[-1:] == ("key",))


_KINDS: Final[Mapping[type, str]] = {
    dict: "a mapping",
    list: "a list",
    str: "text",
    bool: "a yes or no",
    int: "a number",
    float: "a number",
    type(None): "nothing",
}
_MAPPING_WANTED: Final = frozenset(
    {"mapping_type", "dict_type", "model_type", "model_attributes_type"}
)
_CHOICES: Final = re.compile(r"'([^']+)'")
_EXPECTED: Final[Mapping[str, str]] = {
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "bool_type": "expected true or false",
    "greater_than_equal": "expected at least {ge}",
    "less_than_equal": "expected at most {le}",
}
