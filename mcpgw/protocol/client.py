"""What is known about the client behind a request."""

from msgspec import Raw, Struct, field

from mcpgw.protocol.rawjson import Fields
from mcpgw.protocol.revisions import Era, Revision


class ClientFacts(Struct, frozen=True, gc=False):
    """What a client said about itself: in its handshake (legacy) or with the request (modern)."""

    revision: Revision
    capabilities: Fields = field(default_factory=dict)
    info: Raw | None = None

    @property
    def may_have_tasks(self) -> bool:
        """Whether it may know tasks; a quick look."""
        return self.revision.tasks and (self.era is Era.LEGACY or "extensions" in self.capabilities)

    @property
    def era(self) -> Era:
        """The era it speaks."""
        return self.revision.era
