"""Values that stand elsewhere: in a variable, or in a file."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mcpgw.config.references import Variable, parse_template
from mcpgw.units import KIB

_LARGEST: Final = 128 * KIB
"""In bytes: Linux takes no longer variable."""


class Unreadable(ValueError):
    """A reference leads nowhere; the message never has a value."""


def read_reference(text: str, own: Mapping[str, str], *, base_dir: Path) -> str:
    """Give what `text` stands for: itself, variables of `own`, or the content of a file.

    All of the file but for one line end after it. It is small and local: nothing waits.

    Raises:
        ValueError: A dollar sign begins nothing known.
        Unreadable: A variable is not set, or the file cannot be read.
    """
    template = parse_template(text)
    value = "".join(
        _variable(part, own) if isinstance(part, Variable) else part for part in template.parts
    )
    return _content(base_dir / Path(value).expanduser()) if template.is_file else value


def _variable(wanted: Variable, own: Mapping[str, str]) -> str:
    value = own.get(wanted.name)
    if wanted.default is not None:
        return value or wanted.default
    if value is None:
        raise Unreadable(f"the variable {wanted.name} is not set where the gateway runs")
    return value


def _content(file: Path) -> str:
    try:
        if file.is_fifo():  # would wait for a writer
            raise Unreadable(f"{file} is a pipe, not a file")
        with file.open("rb") as opened:
            data = opened.read(_LARGEST + 1)
    except OSError as exc:
        raise Unreadable(f"{file} cannot be read: {exc.strerror}") from None
    if len(data) > _LARGEST or b"\0" in data:
        raise Unreadable(
            f"{file} is no value for a variable: it is longer than {_LARGEST // KIB} KiB, or has "
            "NUL bytes"
        )
    return os.fsdecode(data.removesuffix(b"\n").removesuffix(b"\r"))
