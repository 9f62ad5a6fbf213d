"""Pages that legacy servers want users to visit, and whether the users were there.

Spec: https://modelcontextprotocol.io/specification/2025-11-25/client/elicitation
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

from msgspec import Raw

from mcpgw.protocol.messages import Failure, Notification
from mcpgw.protocol.questions import ELICIT
from mcpgw.protocol.rawjson import (
    Fields,
    NotJson,
    decode_array,
    decode_object,
    decode_text,
    encode,
    object_or_empty,
)
from mcpgw.units import Seconds

COMPLETE: Final = "notifications/elicitation/complete"
URL_REQUIRED: Final = -32042
"""The error of a server that works only after a visit (2025-11-25 only)."""

_MOST: Final = 4096
"""How many visits are remembered; of those forgotten nobody is told."""

Tell = Callable[[Notification], None]


def wanted_visits(failure: Failure) -> list[Fields]:
    """The elicitations in such an error; none if it is another one, or has none."""
    if failure.code != URL_REQUIRED:
        return []
    data = object_or_empty(decode_object(failure.error).get("data"))
    try:
        return [decode_object(raw) for raw in decode_array(data["elicitations"])]
    except (KeyError, NotJson):
        return []


def visit_id(elicitation: Fields) -> str | None:
    """The id by which the server will say that a visit is over."""
    raw = elicitation.get("elicitationId")
    return decode_text(raw) if raw is not None else None


def as_input_request(elicitation: Fields) -> Raw:
    """A visit as an entry of `inputRequests`."""
    params = {key: raw for key, raw in elicitation.items() if key != "elicitationId"}
    return encode({"method": ELICIT, "params": encode({**params, "mode": encode("url")})})


class Visits:
    """Who wants to know of which visit, and which are over."""

    def __init__(self) -> None:
        self._wanted: OrderedDict[str, Tell | None] = OrderedDict()
        self._over: OrderedDict[str, None] = OrderedDict()
        self._changed = asyncio.Event()

    def expect(self, ids: Iterable[str | None], tell: Tell | None) -> None:
        """Note that a client was told of these; `tell` tells it that they are over."""
        for id in ids:
            if id is not None:
                self._wanted[id] = tell
                if len(self._wanted) > _MOST:
                    self._wanted.popitem(last=False)

    def hear(self, notification: Notification) -> None:
        """A server says that a visit is over; only whoever was told of it hears so."""
        raw = object_or_empty(notification.params).get("elicitationId")
        id = decode_text(raw) if raw is not None else None
        if id is None or id not in self._wanted:
            return
        tell = self._wanted.pop(id)
        if tell is not None:
            tell(notification)
            return
        self._over[id] = None
        if len(self._over) > _MOST:
            self._over.popitem(last=False)
        self._changed.set()
        self._changed = asyncio.Event()

    async def all_over(self, ids: Iterable[str], within: Seconds) -> None:
        """Wait for all of these to be over, but no longer than `within`."""
        open_ids = set(ids)
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                while open_ids := {id for id in open_ids if id not in self._over}:
                    await self._changed.wait()
