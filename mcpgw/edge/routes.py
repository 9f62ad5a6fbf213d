"""From a request path to a server. Pure, and strict: only the exact spelling is a route.

The raw path is matched, never a decoded one, so no proxy in front and no rule here can
disagree about what a path means.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

_ROUTE: Final = re.compile(
    r"(?P<prefix>/mcp)?/(?P<server>[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?)(?P<sse>/sse)?"
)


@dataclass(frozen=True, slots=True)
class Route:
    """Where a request goes."""

    server: str
    sse: bool
    """Whether it names the HTTP+SSE entrance."""
    prefixed: bool
    """Whether the path still has its ``/mcp``; a proxy may have stripped it."""


@lru_cache(maxsize=1024)
def find_route(raw_path: str) -> Route | None:
    """The route of ``/mcp/<tool>``, ``/<tool>`` or either with ``/sse``; None for all else."""
    match = _ROUTE.fullmatch(raw_path.partition("?")[0])
    if match is None or (match["server"] == "mcp"):
        return None
    return Route(match["server"], match["sse"] is not None, match["prefix"] is not None)
