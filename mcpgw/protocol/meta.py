"""The `_meta` keys the gateway touches.

Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic#meta
"""

from typing import Final

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


def meta_of(params: Fields) -> Fields:
    """The `_meta` of opened params or of an opened result."""
    return object_or_empty(params.get("_meta"))
