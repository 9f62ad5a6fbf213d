"""How a server is introduced to a client of either era, whatever its own era is.

Capabilities are advertised only as far as the gateway keeps them.
"""

from typing import Final

from msgspec import Raw

from mcpgw.protocol import meta
from mcpgw.protocol.client import ClientFacts
from mcpgw.protocol.handshake import ServerFacts
from mcpgw.protocol.rawjson import Fields, encode, object_or_empty
from mcpgw.protocol.revisions import NEWEST_MODERN, Era
from mcpgw.protocol.tasks import are_carried

_LISTS: Final = ("tools", "prompts", "resources")


def carries_logs(server: ServerFacts, *, alone: bool) -> bool:
    """Whether log messages can reach the client they are for.

    Those of a modern server belong to a request that asked for them. Those of a legacy
    server name nobody, so they are for whoever is `alone` with it, if only for a call.
    """
    return "logging" in server.capabilities and (alone or server.era is Era.MODERN)


def discover_result(server: ServerFacts, *, alone: bool) -> Raw:
    """What `server/discover` is answered with; `alone`, if no two calls share an instance.

    Spec: https://modelcontextprotocol.io/specification/2026-07-28/server/discover
    """
    result: dict[str, object] = {
        "resultType": "complete",
        "supportedVersions": [NEWEST_MODERN.date],
        "capabilities": encode(_advertised(server, Era.MODERN, alone=alone)),
        "ttlMs": 0,
        "cacheScope": "private",
    }
    if server.instructions is not None:
        result["instructions"] = server.instructions
    if server.info is not None:
        result["_meta"] = {meta.SERVER_INFO: server.info}
    return encode(result)


def initialize_result(server: ServerFacts, client: ClientFacts, name: str, *, alone: bool) -> Raw:
    """What `initialize` is answered with; `name` stands in for a server that gave none.

    `alone`, if no two sessions, or no two calls, share an instance.

    Spec: https://modelcontextprotocol.io/specification/2025-11-25/basic/lifecycle
    """
    tasks = are_carried(client, server)
    capabilities = _advertised(server, Era.LEGACY, alone=alone, tasks=tasks)
    result: dict[str, object] = {
        "protocolVersion": client.revision.date,
        "capabilities": encode(capabilities),
        "serverInfo": server.info or {"name": name, "version": "unknown"},
    }
    if server.instructions is not None:
        result["instructions"] = server.instructions
    return encode(result)


def _advertised(server: ServerFacts, era: Era, *, alone: bool, tasks: bool = False) -> Fields:
    """The server's capabilities less what does not cross, and logs that name nobody."""
    kept: Fields = {}
    for name, raw in server.capabilities.items():
        if name in _LISTS:
            kept[name] = encode(object_or_empty(raw))
        elif (
            name == "completions"
            or (name == "logging" and carries_logs(server, alone=alone))
            or (name == "extensions" and era is server.era is Era.MODERN)
            or (name == "tasks" and tasks)
            or (name == "experimental" and era is server.era)
        ):
            kept[name] = raw
    return kept
