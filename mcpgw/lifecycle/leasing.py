"""The block in which a lease is held."""

from typing import Any, Generic, Protocol

from mcpgw.lifecycle.base import Lease, M, Owner
from mcpgw.lifecycle.states import Slot
from mcpgw.units import Seconds


class Lessor(Protocol[M]):
    """A pool, as its leases see it."""

    def take(self, affinity: str | None, *, guest: bool) -> Slot[M] | None:
        """Lease an instance at once if one is free and nobody waits."""

    async def wait(
        self, owner: Owner, affinity: str | None, *, guest: bool
    ) -> tuple[Slot[M], Seconds]:
        """Lease an instance when it is this request's turn; say how long that took."""

    def release(self, slot: Slot[M], *, guest: bool) -> None:
        """Take a lease back."""


class Leasing(Generic[M]):
    """See the module. A class, since it is entered for every request."""

    __slots__ = ("_affinity", "_guest", "_owner", "_pool", "_slot")

    _slot: Slot[M]

    def __init__(self, pool: Lessor[M], owner: Owner, affinity: str | None, *, guest: bool) -> None:
        self._pool = pool
        self._guest = guest
        self._owner = owner
        self._affinity = affinity

    async def __aenter__(self) -> Lease[M]:
        slot = self._pool.take(self._affinity, guest=self._guest)
        queued = Seconds(0)
        if slot is None:
            slot, queued = await self._pool.wait(self._owner, self._affinity, guest=self._guest)
        self._slot = slot
        assert slot.member is not None
        return Lease(slot.member, queued)

    async def __aexit__(self, *exc_info: Any) -> None:
        self._pool.release(self._slot, guest=self._guest)
