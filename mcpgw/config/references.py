"""``${VAR}``, ``${VAR:-default}``, ``$$`` and ``file:/path`` in the values of `env`.

Only the notation. What a reference stands for is looked up when an instance starts.
"""

import re
from dataclasses import dataclass
from typing import Final

FILE_PREFIX: Final = "file:"

_REFERENCE: Final = re.compile(r"\$(?:(\$)|\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Variable:
    """One ``${VAR}``."""

    name: str
    default: str | None = None
    """What it stands for where the variable is unset or empty."""


@dataclass(frozen=True, slots=True)
class Template:
    """A value of `env`, taken apart."""

    parts: tuple[str | Variable, ...]
    is_file: bool = False
    """Whether the parts make up the path of a file that holds the value."""


def parse_template(text: str) -> Template:
    """Take a value of `env` apart.

    Raises:
        ValueError: A dollar sign begins nothing known. The message does not quote the value.
    """
    is_file = text.startswith(FILE_PREFIX)
    parts: list[str | Variable] = []
    end = 0
    text = text.removeprefix(FILE_PREFIX)
    for match in _REFERENCE.finditer(text):
        parts.append(text[end : match.start()])
        parts.append(_part(match))
        end = match.end()
    parts.append(text[end:])
    return Template(tuple(part for part in parts if part), is_file)


def _part(match: re.Match[str]) -> str | Variable:
    dollar, name, default = match.groups()
    if dollar:
        return "$"
    if not name:
        raise ValueError('write "${NAME}" for a variable, or "$$" for a dollar sign')
    return Variable(name, default)
