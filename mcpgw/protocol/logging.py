"""Log messages that a server sends its clients: their levels, and who asked for which.

Spec: https://modelcontextprotocol.io/specification/2026-07-28/server/utilities/logging
"""

from typing import Final

from msgspec import Raw

from mcpgw.protocol.rawjson import decode_text, object_or_empty

SET_LEVEL: Final = "logging/setLevel"
MESSAGE: Final = "notifications/message"

_SEVERITY: Final = {
    level: severity
    for severity, level in enumerate(
        ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
    )
}


def read_level(raw: Raw | None) -> str | None:
    """The level that `raw` names, or None if it names none."""
    level = decode_text(raw) if raw is not None else None
    return level if level in _SEVERITY else None


def is_wanted(params: Raw | None, level: str | None) -> bool:
    """Whether a message with these params is for a client that asked for `level`; None wants none.

    A message of no known level is for nobody: what it is worth cannot be told.
    """
    told = read_level(object_or_empty(params).get("level"))
    return level is not None and told is not None and _SEVERITY[told] >= _SEVERITY[level]
