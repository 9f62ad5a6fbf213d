"""What legacy instances are told that their clients can do, and so who may share them."""

from dataclasses import dataclass
from typing import Final

from msgspec import Raw

from mcpgw.protocol.client import ClientFacts
from mcpgw.protocol.questions import INVITING, inviting
from mcpgw.protocol.rawjson import Fields, encode, object_or_empty


@dataclass(frozen=True, slots=True)
class Capset:
    """A set of client capabilities that invite questions; equal if they invite the same."""

    words: bytes

    @property
    def capabilities(self) -> Fields:
        """What an instance is initialised with."""
        return object_or_empty(Raw(self.words))

    @property
    def is_plain(self) -> bool:
        """Whether it invites none, so that any number of calls may share an instance."""
        return self == PLAIN


PLAIN: Final = Capset(b"{}")
"""Of clients that cannot be asked anything."""


def capset_of(client: ClientFacts) -> Capset:
    """What such a client invites."""
    if INVITING.isdisjoint(client.capabilities):
        return PLAIN
    return Capset(bytes(encode(inviting(client))))
