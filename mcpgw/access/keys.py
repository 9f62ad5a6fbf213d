"""API keys: made, kept as digests, and recognised. Reads no clock but what it is given.

A key is random, so one round of SHA-256 is enough: there is nothing to guess.
"""

import hashlib
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from mcpgw.access.principal import Principal

DIGEST: Final = "sha256:"
_KEY: Final = re.compile(r"mcpgw_[0-9a-f]{8}_[A-Za-z0-9_-]{43}")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_SHORTEST: Final = 32
"""What a key that somebody made up must have at least."""


class BadKey(ValueError):
    """What should be a key, or the digest of one, is neither."""


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A key as the gateway keeps it."""

    principal: Principal
    expires: datetime | None = None


class KeyRing:
    """Every key that is accepted, by its digest."""

    def __init__(self, keys: Iterable[tuple[str, KnownKey]]) -> None:
        """Take the keys, each with its digest as `digest_of` gives it."""
        self._keys: Mapping[str, KnownKey] = dict(keys)

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, key: str, now: datetime) -> KnownKey | None:
        """Give what is known of a key that somebody shows; None if it is not, or not any more.

        The look-up compares digests, which tell nothing about keys that are nearly right.
        """
        known = self._keys.get(digest(key))
        if known is None or (known.expires is not None and now >= known.expires):
            return None
        return known


def new_key() -> str:
    """Make a key: a public part to recognise it by, and 256 random bits."""
    return f"mcpgw_{secrets.token_hex(4)}_{secrets.token_urlsafe(32)}"


def digest(key: str) -> str:
    """Give what is kept of a key."""
    return DIGEST + hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()


def digest_of(value: str) -> str:
    """Give the digest that a setting stands for: one, or the key itself.

    Raises:
        BadKey: It is neither. The message does not quote it.
    """
    value = value.strip()
    if value.startswith(DIGEST):
        if _DIGEST.fullmatch(value) is None:
            raise BadKey(f'a digest is "{DIGEST}" and 64 hexadecimal digits')
        return value
    if _KEY.fullmatch(value) is None and len(value) < _SHORTEST:
        raise BadKey(
            f"it is shorter than {_SHORTEST} characters; make one with: mcpgw key new NAME"
        )
    return digest(value)
