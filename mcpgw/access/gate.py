"""Decides who a request is from, and whether they may use a server. Pure but for its clock."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from mcpgw.access.keys import BadKey, KeyRing, KnownKey, digest_of
from mcpgw.access.principal import ANYBODY, Principal
from mcpgw.config.schema import Config, ServerSpec
from mcpgw.errors import ConfigError, Forbidden, TooManyCredentials, Unauthenticated
from mcpgw.sandbox.secrets import Unreadable, read_reference

AUTHORIZATION: Final = "Authorization"
API_KEY: Final = "X-API-Key"
_BEARER: Final = "bearer "

_HOW: Final = "show a key as `Authorization: Bearer <key>` or `X-API-Key: <key>`"

Clock = Callable[[], datetime]


class Gate:
    """Everybody who is known."""

    def __init__(self, keys: KeyRing, clock: Clock = lambda: datetime.now(UTC)) -> None:
        self._keys = keys
        self._clock = clock

    @property
    def is_open(self) -> bool:
        """Whether nobody is asked who they are."""
        return not self._keys

    def identify(self, authorization: Sequence[str], api_key: Sequence[str]) -> Principal:
        """Say who a request is from, by every value of the two headers.

        Raises:
            Unauthenticated: It shows no credentials, or none that are known.
            TooManyCredentials: It shows several, of which only one could be meant.
        """
        if self.is_open:
            return ANYBODY
        shown = [*map(_bearer, authorization), *api_key]
        if not shown:
            raise Unauthenticated(f"this gateway asks who you are: {_HOW}")
        if len(shown) > 1:
            raise TooManyCredentials("several credentials were shown at once; show one")
        known = self._keys.find(shown[0], self._clock())
        if known is None:
            raise Unauthenticated("that key is not known here, or has expired", shown=True)
        return known.principal


def _bearer(value: str) -> str:
    """Give the token; another scheme counts as a key that nobody has."""
    return value[len(_BEARER) :].strip() if value.lower().startswith(_BEARER) else ""


def check_allowed(principal: Principal, spec: ServerSpec) -> None:
    """Make sure that somebody may use a server at all.

    Raises:
        Forbidden: `allow` names neither them nor a group of theirs.
    """
    if spec.allow is None or principal.name in spec.allow:
        return
    if not principal.groups.isdisjoint(spec.allow):
        return
    raise Forbidden(f"{principal.name} may not use {spec.name!r} (allow)")


def open_gate(config: Config, own: Mapping[str, str]) -> Gate:
    """Make the gate that a configuration asks for; `own` is the gateway's environment.

    Raises:
        ConfigError: A key cannot be read, or is none.
    """
    keys = []
    for number, entry in enumerate(config.auth.keys):
        place = f"auth.keys[{number}].key ({entry.name})"
        try:
            value = read_reference(entry.key, own, base_dir=config.base_dir)
            found = digest_of(value)
        except (Unreadable, BadKey) as exc:
            raise ConfigError(f"{place}: {exc}") from None
        principal = Principal(f"key:{entry.name}", entry.name, frozenset(entry.groups))
        keys.append((found, KnownKey(principal, entry.until)))
    return Gate(KeyRing(keys))
