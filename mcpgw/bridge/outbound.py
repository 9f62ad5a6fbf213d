"""A client's request, in the words of the server that will answer it."""

from typing import Final

from msgspec import Raw

from mcpgw.errors import NotBridged, UnknownMethod
from mcpgw.protocol import meta
from mcpgw.protocol.client import ClientFacts
from mcpgw.protocol.connection import Outbound
from mcpgw.protocol.handshake import ServerFacts, envelope
from mcpgw.protocol.messages import Request
from mcpgw.protocol.meta import Opened, open_params
from mcpgw.protocol.methods import LEGACY_ONLY, NOT_BRIDGED, RELAYED
from mcpgw.protocol.questions import INVITING, inviting
from mcpgw.protocol.rawjson import Fields, encode, first_byte, object_or_empty
from mcpgw.protocol.revisions import Era
from mcpgw.protocol.tasks import EXTENSION, METHODS, are_carried

_TOKEN_STARTS: Final = frozenset(bytes([byte]) for byte in b'"-0123456789')


def to_server(
    request: Request,
    client: ClientFacts,
    server: ServerFacts,
    opened: Opened | None = None,
    log_level: str | None = None,
    *,
    asks: bool = True,
) -> Outbound:
    """What to send for `request`; `opened` are its parameters, if they were opened already.

    `log_level` is what a modern server is told of the log messages its client wants;
    `asks` says whether it may ask the client's user.

    Raises:
        UnknownMethod: The method means nothing in the server's era.
        NotBridged: The gateway does not carry the method, and never advertised it.
    """
    check_method(request.method, client, server)
    tasks = are_carried(client, server)
    opened = opened or open_params(request.params)
    params, given = dict(opened.params), dict(opened.meta)
    params.pop("_meta", None)
    token = _legal_token(given.pop(meta.PROGRESS_TOKEN, None))
    if request.method == "tools/call" and client.era is Era.LEGACY and not tasks:
        params.pop("task", None)  # who never offered tasks MUST answer as if it were not there
    if server.era is Era.MODERN:
        modern = _modern_meta(given, client, asks=asks, tasks=tasks)
        if log_level is not None:
            modern[meta.LOG_LEVEL] = encode(log_level)
        return Outbound(request.method, params, modern, token)
    if client.era is Era.MODERN:
        given = _without_envelope(given)
        for key in ("inputResponses", "requestState"):  # the gateway's own business
            params.pop(key, None)
    return Outbound(request.method, params, given, token)


def check_method(method: str, client: ClientFacts, server: ServerFacts | None = None) -> None:
    """Refuse what cannot be carried; `server` is None when it is not known yet.

    Raises:
        UnknownMethod: The method means nothing in the client's or the server's era.
        NotBridged: The gateway does not carry the method, and never advertised it.
    """
    if method in RELAYED:
        return
    if client.era is Era.MODERN and method in LEGACY_ONLY:
        raise UnknownMethod(f"method {method!r} does not exist in {client.revision.date}")
    if server is not None and method in METHODS[client.era] and are_carried(client, server):
        return
    if method in NOT_BRIDGED:
        raise NotBridged(f"{method} is not offered by this gateway")
    if server is not None and server.era is not client.era:
        raise UnknownMethod(f"method {method!r} is unknown to this server")


def upstream_capabilities(client: ClientFacts, *, asks: bool, tasks: bool) -> Raw:
    """The client capabilities to declare to a modern server: only what the gateway can keep.

    A server that needs more answers with the specification's own error.
    """
    kept: Fields = {}
    if client.era is Era.MODERN:
        kept = {k: v for k, v in client.capabilities.items() if asks or k not in INVITING}
        extensions = object_or_empty(client.capabilities.get("extensions"))
        if not tasks:
            extensions.pop(EXTENSION, None)
        kept.pop("extensions", None)
        if extensions:
            kept["extensions"] = encode(extensions)
    elif asks:
        kept = inviting(client)
    return encode(kept)


def _legal_token(token: Raw | None) -> Raw | None:
    """The progress token, if it is the text or number it must be."""
    return token if token is not None and first_byte(token) in _TOKEN_STARTS else None


def _modern_meta(given: Fields, client: ClientFacts, *, asks: bool, tasks: bool) -> Fields:
    capabilities = upstream_capabilities(client, asks=asks, tasks=tasks)
    return {**_without_envelope(given), **envelope(capabilities, client.info)}


def _without_envelope(given: Fields) -> Fields:
    return {key: value for key, value in given.items() if key not in meta.ENVELOPE}
