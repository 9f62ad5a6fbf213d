"""Which instance served whom last."""

from collections import OrderedDict
from typing import Final, Generic

from mcpgw.lifecycle.base import M
from mcpgw.lifecycle.states import Slot

AFFINITIES: Final = 16_384
"""How many keys a pool remembers: more than sessions may be open by default. The one unused
for longest is forgotten, which costs its owner a different instance at worst."""


class Affinities(Generic[M]):
    """Remembers the slot each key was served by, for as long as the slot exists."""

    def __init__(self, size: int = AFFINITIES) -> None:
        self._size = size
        self._slots: OrderedDict[str, Slot[M]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._slots)

    def get(self, key: str) -> Slot[M] | None:
        """Return the slot that served `key` last."""
        return self._slots.get(key)

    def note(self, key: str, slot: Slot[M]) -> None:
        """Remember that `slot` serves `key`."""
        self._slots[key] = slot
        self._slots.move_to_end(key)
        if len(self._slots) > self._size:
            self._slots.popitem(last=False)

    def forget(self, slot: Slot[M]) -> None:
        """Forget a slot that is gone."""
        for key in [key for key, served_by in self._slots.items() if served_by is slot]:
            del self._slots[key]
