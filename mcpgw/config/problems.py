"""What is wrong with a configuration, and how it is told."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

Path = tuple[str | int, ...]
"""Where a value sits in the file: keys and list positions, from the top."""

_LONGEST_QUOTE: Final = 60
_PLAIN_KEY: Final = re.compile(r"^[A-Za-z0-9_-]+$", re.ASCII)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to correct."""

    path: Path
    text: str
    line: int | None = None
    """The line it is on, from 1; None where only `path` is known."""

    meant: str | None = None
    """The key that was probably meant, where a key is unknown."""


def describe(path: Path) -> str:
    """Write a path the way people do: ``tools.search.args[1]``."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + (step if _PLAIN_KEY.match(step) else quote(step))
    return text


def quote(text: str) -> str:
    """Put text in double quotes, short and with nothing a terminal would act on."""
    shown = text if len(text) <= _LONGEST_QUOTE else text[: _LONGEST_QUOTE - 1] + "…"
    return '"' + "".join(map(_visible, shown)) + '"'


def listing(choices: Iterable[str], conjunction: str = "or") -> str:
    """Join choices for a sentence: ``"a", "b" or "c"``."""
    *most, last = map(quote, choices)
    return f"{', '.join(most)} {conjunction} {last}" if most else last


def _visible(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    return char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
