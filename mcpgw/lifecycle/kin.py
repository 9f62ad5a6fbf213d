"""Pools that share one limit: those of a server, one for each set of client capabilities.

A legacy server learns once, from its `initialize`, what its client can do. So clients that
differ in that are served by different instances, and `max` counts them together.
"""

from math import inf
from typing import Final, Protocol


class Sharer(Protocol):
    """A pool, as the others see it."""

    @property
    def size(self) -> int:
        """How many instances it has, those that start and stop included."""

    @property
    def is_stopping_one(self) -> bool:
        """Whether the place of an instance will be free soon."""

    @property
    def wants_room(self) -> bool:
        """Whether somebody waits for an instance of it."""

    def idle_since(self) -> float:
        """Since when its longest idle instance has been idle; inf if none is."""

    def shed(self) -> None:
        """Stop that instance."""

    def look_again(self) -> None:
        """Decide anew what to start."""


class Kin:
    """The pools of one server. None of its methods waits."""

    def __init__(self) -> None:
        self._pools: list[Sharer] = []

    def join(self, pool: Sharer) -> None:
        """Count a pool in, from now on."""
        self._pools.append(pool)

    def elsewhere(self, pool: Sharer) -> int:
        """How many instances the others have."""
        return sum(other.size for other in self._pools if other is not pool)

    def make_room(self, pool: Sharer) -> None:
        """Stop the instance that idles for longest among the others, unless one stops already."""
        others = [other for other in self._pools if other is not pool]
        if any(other.is_stopping_one for other in others):
            return
        idlest = min(others, key=lambda other: other.idle_since(), default=None)
        if idlest is not None and idlest.idle_since() < inf:
            idlest.shed()

    def freed(self, pool: Sharer) -> None:
        """Let the others look again, since a place or an instance of `pool` came free."""
        for other in self._pools:
            if other is not pool and other.wants_room:
                other.look_again()


class _Alone(Kin):
    """Of a pool that shares its limit with nobody."""

    def elsewhere(self, pool: Sharer) -> int:
        """See `Kin.elsewhere`."""
        return 0


ALONE: Final[Kin] = _Alone()
