"""A queue that is fair between owners: round-robin over them, first come first served within one.

Pure: it holds tickets, whatever they are, and knows neither clock nor task. Every
operation takes constant time, leaving from the middle included.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

from mcpgw.lifecycle.base import Owner

T = TypeVar("T", bound=Hashable)


class FairQueue(Generic[T]):
    """Waiting tickets, each pushed once on behalf of an owner."""

    def __init__(self) -> None:
        self._arrivals: OrderedDict[T, Owner] = OrderedDict()
        self._turns: OrderedDict[Owner, OrderedDict[T, None]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._arrivals)

    def __iter__(self) -> Iterator[T]:
        """Iterate over the tickets, oldest first, whoever they belong to."""
        return iter(self._arrivals)

    def push(self, owner: Owner, ticket: T) -> None:
        """Add a ticket behind the others of its owner; a new owner goes behind all others."""
        self._arrivals[ticket] = owner
        self._turns.setdefault(owner, OrderedDict())[ticket] = None

    def pop(self) -> T:
        """Take the ticket whose turn it is, and let every other owner go before its owner again.

        Raises:
            KeyError: Nobody waits.
        """
        if not self._turns:
            raise KeyError("nobody waits")
        owner, tickets = next(iter(self._turns.items()))
        ticket = next(iter(tickets))
        self._turns.move_to_end(owner)
        self.remove(ticket)
        return ticket

    def oldest(self) -> T | None:
        """Return the ticket that waits longest, without taking it."""
        return next(iter(self._arrivals), None)

    def remove(self, ticket: T) -> bool:
        """Take a ticket out of turn; say whether it was there."""
        owner = self._arrivals.pop(ticket, None)
        if owner is None:
            return False
        tickets = self._turns[owner]
        del tickets[ticket]
        if not tickets:
            del self._turns[owner]
        return True
