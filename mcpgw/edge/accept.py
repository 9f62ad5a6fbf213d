"""What a client is willing to read. Pure.

The specification gives no status for a bad `Accept`; any client that can read one of the
two types we write is served.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final


@dataclass(frozen=True, slots=True)
class Accepts:
    """The two types an answer may have."""

    json: bool
    sse: bool


@lru_cache(maxsize=256)
def parse_accept(header: str | None) -> Accepts:
    """Read an `Accept` header; a missing one accepts anything."""
    if header is None or not header.strip():
        return Accepts(json=True, sse=True)
    types = {}
    for part in header.lower().split(","):
        kind, *params = (piece.strip() for piece in part.split(";"))
        types[kind] = not any(_NEVER.fullmatch(param) for param in params)
    anything = types.get("*/*", False)

    def accepted(exact: str, family: str) -> bool:
        return types.get(exact, types.get(family, anything))

    return Accepts(
        json=accepted("application/json", "application/*"),
        sse=accepted("text/event-stream", "text/*"),
    )


_NEVER: Final = re.compile(r"q\s*=\s*0(?:\.0{0,3})?")
