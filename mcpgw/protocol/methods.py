"""What a gateway must know about each method.

Spec: the schemas of the revisions; protocol tables in the specification's
`basic/index` and `changelog` pages.
"""

from typing import Final

INITIALIZE: Final = "initialize"
DISCOVER: Final = "server/discover"
PING: Final = "ping"
LISTEN: Final = "subscriptions/listen"
SUBSCRIBE: Final = "resources/subscribe"
UNSUBSCRIBE: Final = "resources/unsubscribe"

CANCELLED: Final = "notifications/cancelled"
PROGRESS: Final = "notifications/progress"
INITIALIZED: Final = "notifications/initialized"

RELAYED: Final = frozenset(
    {
        "tools/list",
        "tools/call",
        "prompts/list",
        "prompts/get",
        "resources/list",
        "resources/templates/list",
        "resources/read",
        "completion/complete",
    }
)
"""Known to every era, and carried from any client to any server."""

ASKING: Final = frozenset({"tools/call", "prompts/get", "resources/read"})
"""While it works on one of these a server may have questions.
Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic/patterns/mrtr"""

NAMED_BY: Final = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "tasks/get": "taskId",
    "tasks/update": "taskId",
    "tasks/cancel": "taskId",
}
"""The parameter that `Mcp-Name` mirrors."""

CACHEABLE: Final = frozenset(
    {
        "tools/list",
        "prompts/list",
        "resources/list",
        "resources/templates/list",
        "resources/read",
        DISCOVER,
    }
)
"""Their complete modern results carry `ttlMs` and `cacheScope`.
Spec: https://modelcontextprotocol.io/specification/2026-07-28/server/utilities/caching"""

LEGACY_ONLY: Final = frozenset(
    {INITIALIZE, PING, "logging/setLevel", "resources/subscribe", "resources/unsubscribe"}
)
"""Removed in 2026-07-28: unknown methods to a modern client."""

NOT_BRIDGED: Final = frozenset(
    {
        "logging/setLevel",  # these four are answered by the gateway where they mean something
        SUBSCRIBE,
        UNSUBSCRIBE,
        LISTEN,
        "tasks/get",
        "tasks/result",
        "tasks/cancel",
        "tasks/list",
        "tasks/update",
    }
)
"""Known to some revision, not advertised by the gateway and refused when used all the same."""

LIST_CHANGED: Final = frozenset(
    {
        "notifications/tools/list_changed",
        "notifications/prompts/list_changed",
        "notifications/resources/list_changed",
    }
)
"""Server notifications that concern every client of the server alike."""
