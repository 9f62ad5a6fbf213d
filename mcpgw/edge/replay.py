"""What went over an event stream, kept for a client whose connection breaks. Pure.

Spec: https://modelcontextprotocol.io/specification/2025-11-25/basic/transports
"""

import re
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Final, Protocol

from mcpgw.edge.large import SLICE, Large, Message
from mcpgw.errors import EventsGone
from mcpgw.units import Bytes

_EVENT_ID: Final = re.compile(r"([A-Za-z0-9_-]{1,64})-([0-9]{1,15})")


def parse_event_id(text: str) -> tuple[str, int]:
    """The stream that an event id names, and the position in it.

    Raises:
        EventsGone: The gateway makes no such ids.
    """
    if (found := _EVENT_ID.fullmatch(text)) is None:
        raise EventsGone(f"{text[:80]!r} is no event id of this gateway; {WHAT_TO_DO}")
    return found[1], int(found[2])


WHAT_TO_DO: Final = (
    "send the request again if its answer is missing, or open a new stream without Last-Event-ID"
)


class ReplayLog:
    """The last events of one stream, numbered from 1; position 0 is its beginning.

    Its first events go when the others weigh more than `limit`; an answer weighs nothing,
    since it is held in memory already, and is what a client comes back for.
    """

    def __init__(self, stream: str, limit: Bytes) -> None:
        self.stream = stream
        """What its event ids begin with; nobody can guess it."""
        self.size = 0
        """How many bytes it holds, answers included."""
        self.position = 0
        """The number of its last event."""
        self._id_line = b"\nid: %b-" % stream.encode()
        self._limit = limit
        self._weight = 0
        self._events: deque[tuple[Message, int]] = deque()
        self._keeps = True

    def id_at(self, position: int) -> str:
        """The event id of a position."""
        return f"{self.stream}-{position}"

    def put(self, message: Message) -> Message:
        """Keep a message; gives it with its event id, as it goes over the wire."""
        return self._append(message, len(message))

    def answer(self, message: Message) -> Message:
        """Keep an answer, whatever its size."""
        return self._append(message, 0)

    def after(self, position: int) -> list[Message]:
        """Every event after that position.

        Raises:
            EventsGone: It never was, or what came after it is not held any more.
        """
        missed = self.position - position
        if not 0 <= missed <= len(self._events):
            raise EventsGone(f"what followed that event is not kept any more; {WHAT_TO_DO}")
        return [event for event, _ in islice(self._events, len(self._events) - missed, None)]

    def clear(self) -> None:
        """Hold nothing, now and later."""
        self._keeps = False
        self._events.clear()
        self.size = self._weight = 0

    def _append(self, message: Message, weight: int) -> Message:
        self.position += 1
        event = _followed(message, b"%b%d" % (self._id_line, self.position))
        if self._keeps:
            self._events.append((event, weight))
            self.size += len(event)
            self._weight += weight
            while self._weight > self._limit:
                evicted, weight = self._events.popleft()
                self.size -= len(evicted)
                self._weight -= weight
        return event


def _followed(message: Message, tail: bytes) -> Message:
    """A message and the line with its event id.

    The fields of an event may come in any order. With the id behind it, a large message is
    not copied, and an event that was cut off has none.
    """
    if isinstance(message, Large):
        return message.followed_by(tail)
    return message + tail if len(message) <= SLICE else Large(message, tail)


class Reader(Protocol):
    """Takes the events of a stream to a client; see `Outbox`."""

    def put(self, message: Message) -> None: ...  # noqa: D102
    def answer(self, message: Message) -> None: ...  # noqa: D102
    def catch_up(self, messages: list[Message]) -> None: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102
    def give_up(self) -> None: ...  # noqa: D102


class Keeper(Protocol):
    """Bounds what many streams keep together."""

    def grown(self, by: int) -> None:
        """Hear that a stream keeps so many bytes more, or less."""

    def moved(self, stream: "KeptStream") -> None:
        """Hear that a stream got or lost its reader, or is over."""


class KeptStream:
    """An event stream that outlives its connections.

    What it is given goes to its reader, if it has one, and stays for a reader that comes
    back.
    """

    def __init__(self, log: ReplayLog, owner: str, keeper: Keeper, *, listens: bool) -> None:
        self.log = log
        self.owner = owner
        """The id of the session whose stream it is."""
        self.listens = listens
        """Whether it carries what answers no request, and so never ends by itself."""
        self.superseded = False
        """Whether another stream of its session listens instead."""
        self.is_closed = False
        """Whether everything was said."""
        self._keeper: Keeper | None = keeper
        self._reader: Reader | None = None

    @property
    def is_read(self) -> bool:
        """Whether it has a reader."""
        return self._reader is not None

    @property
    def is_over(self) -> bool:
        """Whether nothing more can be expected of it."""
        return self.is_closed or self.superseded

    def put(self, message: Message) -> None:
        """Send a message; a reader without room for it is given up."""
        if not self.is_closed:
            before = self.log.size
            event = self.log.put(message)
            self._sent(before)
            if self._reader is not None:
                self._reader.put(event)

    def answer(self, message: Message) -> None:
        """Send an answer, whatever its size."""
        if not self.is_closed:
            before = self.log.size
            event = self.log.answer(message)
            self._sent(before)
            if self._reader is not None:
                self._reader.answer(event)

    def close(self) -> None:
        """End the stream once everything is sent."""
        self.is_closed = True
        if self._reader is not None:
            self._reader.close()
        elif self._keeper is not None:
            self._keeper.moved(self)

    def attach(self, reader: Reader, position: int = 0) -> None:
        """Send what came after that position, and whatever comes, to this reader.

        A reader that is still there is dropped: the newest wins, since a client notices
        before we do that its connection is dead.

        Raises:
            EventsGone: See `ReplayLog.after`.
        """
        events = self.log.after(position)
        if self._reader is not None:
            self._reader.give_up()
        self._reader = reader
        reader.catch_up(events)
        if self.is_closed:
            reader.close()
        if self._keeper is not None:
            self._keeper.moved(self)

    def detach(self, reader: Reader) -> None:
        """Note that this reader is gone, if it is the one."""
        if self._reader is reader:
            self._reader = None
            if self._keeper is not None:
                self._keeper.moved(self)

    @contextmanager
    def read_by(self, reader: Reader, position: int = 0) -> Iterator[None]:
        """Have a reader for the length of the block; see `attach`."""
        self.attach(reader, position)
        try:
            yield
        finally:
            self.detach(reader)

    def forget(self) -> None:
        """Keep nothing any more; a reader that is there is sent the rest."""
        self._keeper = None
        self.log.clear()

    def _sent(self, before: int) -> None:
        if self._keeper is not None:
            self._keeper.grown(self.log.size - before)
