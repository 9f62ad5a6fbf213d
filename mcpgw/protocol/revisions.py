"""Protocol revisions, and what differs between them that a gateway must act on.

Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic/versioning
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final


class Era(Enum):
    """How a revision establishes who is talking; the spec's own two words."""

    LEGACY = "legacy"
    """An `initialize` handshake opens a session (2025-11-25 and earlier)."""

    MODERN = "modern"
    """Every request carries its own envelope in `_meta` (2026-07-28 and later)."""


@dataclass(frozen=True, slots=True)
class Revision:
    """One dated protocol revision, as a row of facts."""

    date: str
    era: Era
    batches: bool = False
    """Whether a body may be an array of messages."""
    audio: bool = True
    """Whether content may be sound."""
    links: bool = True
    """Whether content may be a link to a resource."""
    elicits: bool = True
    """Whether a server may ask the user to fill in a form."""
    visits: bool = True
    """Whether it may ask the user to open a page, too."""
    samples_many: bool = True
    """Whether the content of a sampling answer may be several blocks."""
    tasks: bool = True
    """Whether a call may become a task (in 2026-07-28 by an extension)."""
    resumes: bool = False
    """Whether a client may come back to an event stream that broke."""
    primes: bool = False
    """Whether an event stream begins with an event that has an id and no data."""


REVISIONS: Final[Mapping[str, Revision]] = {
    row.date: row
    for row in (
        Revision(
            "2024-11-05",
            Era.LEGACY,
            audio=False,
            links=False,
            elicits=False,
            visits=False,
            samples_many=False,
            tasks=False,
        ),
        Revision(
            "2025-03-26",
            Era.LEGACY,
            batches=True,
            resumes=True,
            links=False,
            elicits=False,
            visits=False,
            samples_many=False,
            tasks=False,
        ),
        Revision(
            "2025-06-18", Era.LEGACY, resumes=True, visits=False, samples_many=False, tasks=False
        ),
        Revision("2025-11-25", Era.LEGACY, resumes=True, primes=True),
        Revision("2026-07-28", Era.MODERN),
    )
}
"""Oldest first. Revisions are members of this table, never compared as strings."""

LEGACY: Final = tuple(r for r in REVISIONS.values() if r.era is Era.LEGACY)
MODERN: Final = tuple(r for r in REVISIONS.values() if r.era is Era.MODERN)
NEWEST_LEGACY: Final = LEGACY[-1]
NEWEST_MODERN: Final = MODERN[-1]

MODERN_SUPPORTED: Final = tuple(r.date for r in reversed(MODERN))
"""What a modern request can be answered in; `server/discover` says the same."""

SUPPORTED: Final = tuple(r.date for r in (*reversed(MODERN), *reversed(LEGACY)))
"""What an unsupported-version error lists: modern first, newest first."""


def legacy_revision(date: str | None) -> Revision | None:
    """The legacy revision of that date, or None."""
    row = REVISIONS.get(date or "")
    return row if row is not None and row.era is Era.LEGACY else None


def negotiate(requested: str | None) -> Revision:
    """The revision a legacy `initialize` is answered with: the client's, or our newest.

    Spec: https://modelcontextprotocol.io/specification/2025-11-25/basic/lifecycle
    """
    return legacy_revision(requested) or NEWEST_LEGACY
