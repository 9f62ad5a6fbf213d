"""What each revision makes of the demo server's answers: eras, revisions, error codes. Pure."""

from typing import Any, Final

from mcpgw import __version__

Json = dict[str, Any]

MODERN: Final = "2026-07-28"
LEGACY: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")

PREFIX: Final = "io.modelcontextprotocol/"
VERSION_KEY: Final = f"{PREFIX}protocolVersion"
CAPABILITIES_KEY: Final = f"{PREFIX}clientCapabilities"
LOG_LEVEL_KEY: Final = f"{PREFIX}logLevel"
LOG_LEVELS: Final = frozenset(
    ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
)

INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
RESOURCE_NOT_FOUND: Final = -32002
"""Legacy only; modern servers answer `INVALID_PARAMS`."""

UNSUPPORTED_VERSION: Final = -32022

SINCE: Final = {
    "annotations": "2025-03-26",
    "completions": "2025-03-26",
    "message": "2025-03-26",
    "title": "2025-06-18",
    "outputSchema": "2025-06-18",
    "structuredContent": "2025-06-18",
}
"""The fields we use that not every revision has."""

CACHEABLE: Final = frozenset(
    (
        *("server/discover", "tools/list", "prompts/list", "resources/list"),
        *("resources/templates/list", "resources/read"),
    )
)
"""The methods whose modern results must say how long they may be kept."""

INSTRUCTIONS: Final = "Call echo first; slow shows progress and cancellation."
CAPABILITIES: Final[Json] = {"tools": {}, "resources": {}, "prompts": {}, "completions": {}}
SERVER_INFO: Final[Json] = {"name": "mcpgw-demo", "title": "mcpgw demo", "version": __version__}


class Refusal(Exception):
    """The request is answered with an error."""

    def __init__(self, code: int, message: str, data: Json | None = None) -> None:
        super().__init__(message)
        self.error: Json = {"code": code, "message": message}
        if data is not None:
            self.error["data"] = data


def trim(item: Json, revision: str) -> Json:
    """`item` without the fields that `revision` does not have."""
    return {key: value for key, value in item.items() if SINCE.get(key, "") <= revision}


def unsupported(requested: object) -> Refusal:
    """The error for a revision that cannot be served here."""
    data = {"supported": [MODERN], "requested": str(requested)}
    return Refusal(UNSUPPORTED_VERSION, "this revision is not supported here", data)


def is_enveloped(params: Json) -> bool:
    """Whether the parameters carry a modern request's metadata."""
    return VERSION_KEY in meta_of(params)


def meta_of(params: Json) -> Json:
    """The `_meta` of a request; empty if there is none."""
    return as_object(params.get("_meta"))


def as_object(value: object) -> Json:
    """`value` if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def check_envelope(params: Json) -> None:
    """See that a modern request carries what every request must.

    Raises:
        Refusal: It does not, or names a revision we do not speak.
    """
    meta = meta_of(params)
    if not isinstance(meta.get(VERSION_KEY), str):
        raise Refusal(INVALID_PARAMS, f"_meta needs {VERSION_KEY}")
    if not isinstance(meta.get(CAPABILITIES_KEY), dict):
        raise Refusal(INVALID_PARAMS, f"_meta needs {CAPABILITIES_KEY}")
    if meta[VERSION_KEY] != MODERN:
        raise unsupported(meta[VERSION_KEY])
    if meta.get(LOG_LEVEL_KEY, "info") not in LOG_LEVELS:
        raise Refusal(INVALID_PARAMS, f"{LOG_LEVEL_KEY} is not a log level")


def initialize_result(params: Json) -> tuple[str, Json]:
    """The revision agreed on by the legacy handshake, and the answer to it.

    Raises:
        Refusal: No revision was asked for.
    """
    asked = params.get("protocolVersion")
    if not isinstance(asked, str):
        raise Refusal(INVALID_PARAMS, "initialize needs protocolVersion")
    revision = asked if asked in LEGACY else LEGACY[-1]
    return revision, {
        "protocolVersion": revision,
        "capabilities": trim(CAPABILITIES, revision),
        "serverInfo": trim(SERVER_INFO, revision),
        "instructions": INSTRUCTIONS,
    }


def discover_result() -> Json:
    """The answer to `server/discover`."""
    return {
        "supportedVersions": [MODERN],
        "capabilities": CAPABILITIES,
        "instructions": INSTRUCTIONS,
    }


def as_result(method: str, result: Json, revision: str) -> Json:
    """`result` in the shape that `revision` gives the results of `method`."""
    if revision != MODERN:
        lists: Json = {
            key: [trim(item, revision) for item in result[key]]
            for key in ("tools", "resources", "resourceTemplates", "prompts")
            if key in result
        }
        return trim({**result, **lists}, revision)
    caching = {"ttlMs": 60_000, "cacheScope": "public"} if method in CACHEABLE else {}
    meta = {"_meta": {f"{PREFIX}serverInfo": SERVER_INFO}}
    return {"resultType": "complete", **result, **caching, **meta}
