"""How a server introduces itself: `server/discover` and `initialize`, as messages and verdicts.

Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic/versioning
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from msgspec import Raw

from mcpgw import __version__
from mcpgw.protocol import codes, meta
from mcpgw.protocol.connection import Outbound
from mcpgw.protocol.messages import Failure, Outcome, Result
from mcpgw.protocol.methods import DISCOVER, INITIALIZE
from mcpgw.protocol.rawjson import (
    Fields,
    NotJson,
    decode_any,
    decode_object,
    decode_text,
    encode,
    object_or_empty,
)
from mcpgw.protocol.revisions import NEWEST_LEGACY, NEWEST_MODERN, REVISIONS, Era, Revision

GATEWAY_INFO: Final = encode({"name": "mcpgw", "version": __version__})


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a server said about itself in its handshake."""

    revision: Revision
    capabilities: Fields
    info: Raw | None
    instructions: Raw | None

    @property
    def era(self) -> Era:
        """The era it is spoken to in."""
        return self.revision.era


class HandshakeFailed(ValueError):
    """The server answered the handshake with something that cannot be worked with."""


class Verdict(Enum):
    """What the answer to a probe says about a server."""

    MODERN = auto()
    LEGACY = auto()


def envelope(capabilities: Raw, client_info: Raw | None) -> Fields:
    """The `_meta` every request to a modern server carries (MUST)."""
    return {
        meta.VERSION: encode(NEWEST_MODERN.date),
        meta.CAPABILITIES: capabilities,
        meta.CLIENT_INFO: client_info or GATEWAY_INFO,
    }


def discover() -> Outbound:
    """Ask a server what it is; a modern one MUST answer."""
    return Outbound(DISCOVER, {}, envelope(Raw(b"{}"), None))


def initialize(capabilities: Fields) -> Outbound:
    """Open a legacy server as the gateway itself, with some clients' capabilities.

    A server that is told of none may not send sampling, elicitation or roots requests,
    which name no call and could not be attributed on a shared pipe.
    """
    params = {
        "protocolVersion": encode(NEWEST_LEGACY.date),
        "capabilities": encode(capabilities),
        "clientInfo": GATEWAY_INFO,
    }
    return Outbound(INITIALIZE, params, {})


def judge_probe(outcome: Outcome) -> Verdict:
    """What the answer to `server/discover` proves. An error of any other code means legacy."""
    if isinstance(outcome, Result):
        modern = NEWEST_MODERN.date in _versions(object_or_empty(outcome.value))
        return Verdict.MODERN if modern else Verdict.LEGACY
    if outcome.code not in codes.MODERN_ONLY:
        return Verdict.LEGACY
    supported = _supported(outcome)
    only_legacy = supported and not any(
        (row := REVISIONS.get(date)) is None or row.era is Era.MODERN for date in supported
    )
    return Verdict.LEGACY if only_legacy else Verdict.MODERN


def is_modern_refusal(outcome: Outcome) -> bool:
    """Whether a failed `initialize` proves the server modern after all (a slow start)."""
    return isinstance(outcome, Failure) and outcome.code == codes.UNSUPPORTED_VERSION


def read_discover(outcome: Outcome) -> ServerFacts:
    """The facts in a DiscoverResult.

    Raises:
        HandshakeFailed: It is an error, or names no revision we speak.
    """
    fields = _result(outcome, DISCOVER)
    versions = _versions(fields)
    if NEWEST_MODERN.date not in versions:
        raise HandshakeFailed(f"it supports {_listed(versions)}, not {NEWEST_MODERN.date}")
    info = meta.meta_of(fields).get(meta.SERVER_INFO) or fields.get("serverInfo")
    return ServerFacts(
        NEWEST_MODERN,
        object_or_empty(fields.get("capabilities")),
        info,
        fields.get("instructions"),
    )


def read_initialize(outcome: Outcome) -> ServerFacts:
    """The facts in an InitializeResult.

    Raises:
        HandshakeFailed: It is an error, or names no revision we speak.
    """
    fields = _result(outcome, INITIALIZE)
    date = decode_text(fields.get("protocolVersion", Raw(b"null"))) or ""
    revision = REVISIONS.get(date)
    if revision is None or revision.era is not Era.LEGACY:
        raise HandshakeFailed(f"it wants to speak protocol version {date!r}, which is not known")
    return ServerFacts(
        revision,
        object_or_empty(fields.get("capabilities")),
        fields.get("serverInfo"),
        fields.get("instructions"),
    )


def _result(outcome: Outcome, method: str) -> Fields:
    if isinstance(outcome, Failure):
        raise HandshakeFailed(f"it answered {method} with error {outcome.code}: {outcome.message}")
    try:
        return decode_object(outcome.value)
    except NotJson as exc:
        raise HandshakeFailed(f"its answer to {method} is not an object: {exc}") from None


def _versions(fields: Fields) -> tuple[str, ...]:
    return _texts(fields.get("supportedVersions"))


def _supported(failure: Failure) -> tuple[str, ...]:
    data = object_or_empty(object_or_empty(failure.error).get("data"))
    return _texts(data.get("supported"))


def _texts(raw: Raw | None) -> tuple[str, ...]:
    try:
        values = decode_any(raw) if raw is not None else ()
    except NotJson:
        return ()
    return tuple(v for v in values if isinstance(v, str)) if isinstance(values, list) else ()


def _listed(versions: tuple[str, ...]) -> str:
    return ", ".join(versions) or "no version at all"
