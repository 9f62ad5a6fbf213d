"""The `_meta` keys the gateway touches.

Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic#meta
"""

from typing import Final

from msgspec import Raw, Struct

from mcpgw.protocol.rawjson import Fields, object_or_empty

PREFIX: Final = "io.modelcontextprotocol/"

VERSION: Final = PREFIX + "protocolVersion"
CAPABILITIES: Final = PREFIX + "clientCapabilities"
CLIENT_INFO: Final = PREFIX + "clientInfo"
LOG_LEVEL: Final = PREFIX + "logLevel"
SUBSCRIPTION_ID: Final = PREFIX + "subscriptionId"
SERVER_INFO: Final = PREFIX + "serverInfo"
PROGRESS_TOKEN: Final = "progressToken"  # noqa: S105 (a name, no secret)

ENVELOPE: Final = frozenset(
    {VERSION, CAPABILITIES, CLIENT_INFO, LOG_LEVEL, SUBSCRIPTION_ID, SERVER_INFO}
)
"""Keys that mean something in the modern era only; they never reach a legacy peer."""


class Opened(Struct, frozen=True, gc=False):
    """The parameters of a request, opened one level deep; not to be changed."""

    params: Fields
    """With `_meta` still among them."""
    meta: Fields


def open_params(params: Raw | None) -> Opened:
    """Open parameters; whatever is not an object counts as empty."""
    fields = object_or_empty(params)
    return Opened(fields, object_or_empty(fields.get("_meta")))


def meta_of(params: Fields) -> Fields:
    """The `_meta` of opened params or of an opened result."""
    return object_or_empty(params.get("_meta"))
