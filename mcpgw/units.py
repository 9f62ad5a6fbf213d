"""Units as types, so that a bare number is never a duration or a size."""

from typing import Final, NewType

Seconds = NewType("Seconds", float)
Bytes = NewType("Bytes", int)

KIB: Final = 2**10
MIB: Final = 2**20
