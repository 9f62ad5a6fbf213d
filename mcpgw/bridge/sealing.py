"""`requestState`: what the gateway must know again when a client comes back, sealed.

A client can neither read nor change it, nor use it for anything but the very request that
it was given for: the same principal, server, method and parameters (AES-256-GCM, with all
that as associated data).
Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic/patterns/mrtr
"""

import base64
import hashlib
import os
from typing import Final, TypeAlias

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Raw, Struct

from mcpgw.protocol.rawjson import Fields, NotJson, decode_any, encode
from mcpgw.units import Seconds

_PREFIX: Final = "mcpgw1."
_NONCE: Final = 12


class HeldState(Struct, frozen=True, tag="held"):
    """A legacy server's call is kept open and waits for the answers."""

    until: float
    """When it stops to be valid, in seconds since the epoch."""
    call: str
    turn: int
    """Which of the call's turns it belongs to, so that it works once."""


class PassedState(Struct, frozen=True, tag="passed"):
    """A modern server's own state, and which instance it is from."""

    until: float
    instance: str
    parked: str | None
    """What the instance is kept under, if it is one that serves one request only."""
    state: str | None
    """The server's state, as it wrote it (JSON); None if it gave none."""


class ReplayState(Struct, frozen=True, tag="replay"):
    """A legacy server wants the user to visit pages before it is called again."""

    until: float
    instance: str
    visits: tuple[str, ...]
    """The ids of those visits."""


State: TypeAlias = HeldState | PassedState | ReplayState

_DECODER: Final = msgspec.json.Decoder(HeldState | PassedState | ReplayState)


class BadState(ValueError):
    """A `requestState` that is not ours, not for this request, or too old."""


class Sealer:
    """Seals with a key of its own, so what another process sealed means nothing to it."""

    def __init__(self, key: bytes | None = None) -> None:
        self._cipher = AESGCM(key or AESGCM.generate_key(256))

    def seal(self, state: State, bound_to: bytes) -> Raw:
        """The `requestState` to give out, as JSON."""
        nonce = os.urandom(_NONCE)
        sealed = self._cipher.encrypt(nonce, msgspec.json.encode(state), bound_to)
        return encode(_written(nonce + sealed))

    def open(self, text: str | None, bound_to: bytes, now: Seconds) -> State:
        """What was sealed.

        Raises:
            BadState: Changed, foreign, for another request, or expired.
        """
        try:
            if text is None or not text.startswith(_PREFIX):
                raise BadState("requestState is not one that this server gave out")
            data = base64.urlsafe_b64decode(text.removeprefix(_PREFIX))
            if _written(data) != text:  # decoding is lenient
                raise BadState("requestState is not one that this server gave out")
            opened = self._cipher.decrypt(data[:_NONCE], data[_NONCE:], bound_to)
            state: State = _DECODER.decode(opened)
        except (InvalidTag, ValueError) as exc:
            if isinstance(exc, BadState):
                raise
            raise BadState(
                "requestState was not given out for this request, or was changed"
            ) from None
        if state.until < now:
            raise BadState("requestState has expired; make the request anew")
        return state


def _written(data: bytes) -> str:
    return _PREFIX + base64.urlsafe_b64encode(data).decode()


def binding(owner: str, server: str, method: str, params: Fields) -> bytes:
    """What a state is valid for: who asks whom for what."""
    plain = {k: v for k, v in params.items() if k not in _NOT_BOUND}
    try:
        said = msgspec.json.encode(decode_any(encode(plain)), order="deterministic")
    except NotJson:
        said = bytes(encode(plain))
    words = msgspec.json.encode([owner, server, method])
    return hashlib.sha256(words + b"\n" + said).digest()


_NOT_BOUND: Final = frozenset({"_meta", "inputResponses", "requestState"})
"""What may differ between the rounds of one request."""
