"""Who a request is from."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody the gateway knows, or nobody in particular."""

    id: str
    """Unique, and safe to log: ``key:alice``."""

    name: str
    """What `allow` calls it."""

    groups: frozenset[str] = frozenset()
    """What `allow` may call it as well."""


ANYBODY: Final = Principal("anonymous", "anonymous")
"""Whoever comes where nobody is asked who they are."""
