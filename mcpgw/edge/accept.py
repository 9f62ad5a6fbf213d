"""What a client is willing to read. Pure.

The specification gives no status for a bad `Accept`; any client that can read one of the
two types we write is served.
"""

from dataclasses import dataclass
from functools import lru_cache


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
    types = set()
    for part in header.lower().split(","):
        kind, *params = (piece.strip() for piece in part.split(";"))
        if not any(p.replace(" ", "") in ("q=0", "q=0.0", "q=0.00", "q=0.000") for p in params):
            types.add(kind)
    anything = "*/*" in types
    return Accepts(
        json=anything or bool(types & {"application/json", "application/*"}),
        sse=anything or bool(types & {"text/event-stream", "text/*"}),
    )
