"""What is known about the client behind a request."""

from dataclasses import dataclass, field

from msgspec import Raw

from mcpgw.protocol.rawjson import Fields
from mcpgw.protocol.revisions import Era, Revision


@dataclass(frozen=True, slots=True)
class ClientFacts:
    """What a client said about itself: in its handshake (legacy) or with the request (modern)."""

    revision: Revision
    capabilities: Fields = field(default_factory=dict)
    info: Raw | None = None

    @property
    def era(self) -> Era:
        """The era it speaks."""
        return self.revision.era
