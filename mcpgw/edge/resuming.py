"""The event streams that clients may resume, and when they are forgotten."""

import asyncio
import secrets
from typing import Final

from mcpgw.config.schema import Limits
from mcpgw.edge.replay import WHAT_TO_DO, KeptStream, ReplayLog, parse_event_id
from mcpgw.errors import EventsGone
from mcpgw.gateway.session import Session
from mcpgw.units import KIB, Bytes, Seconds

EVENT_HEADER: Final = "Last-Event-ID"

_OVERHEAD: Final = KIB
"""What a stream counts for that keeps nothing, so that empty ones are bounded as well."""


class Replays:
    """The streams of every session.

    A stream is forgotten with its session, `window` after it is over and has no reader, or
    to make room: a session keeps no more streams that are over than it may have requests
    in flight, and all streams together stay within `limits.replay`. Those that somebody
    reads are never forgotten; each is bounded by `limits.stream_buffer`.
    """

    def __init__(self, limits: Limits, window: Seconds) -> None:
        self._limits = limits
        self._window = window
        self._loop = asyncio.get_running_loop()
        self._total = 0
        self._by_name: dict[str, KeptStream] = {}
        self._by_session: dict[str, dict[KeptStream, None]] = {}
        self._listeners: dict[str, KeptStream] = {}
        self._over: dict[KeptStream, float] = {}  # since when, the oldest first
        self._awaited: dict[KeptStream, None] = {}  # under way, but nobody reads them
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._by_name)

    @property
    def size(self) -> Bytes:
        """What all streams keep, in bytes."""
        return Bytes(self._total)

    def open(self, session: Session, *, listens: bool = False) -> KeptStream:
        """Begin a stream of a session."""
        # Twice the buffer, so that a reader dropped for being slow finds what it missed.
        log = ReplayLog(secrets.token_urlsafe(16), Bytes(2 * self._limits.stream_buffer))
        stream = KeptStream(log, session.id, self, listens=listens)
        self._by_name[log.stream] = stream
        self._total += _OVERHEAD
        if (known := self._by_session.get(session.id)) is not None:
            known[stream] = None
        else:
            self._by_session[session.id] = {stream: None}
            session.at_end(lambda: self._forget_all(session.id))
        return stream

    def find(self, session: Session, event_id: str) -> tuple[KeptStream, int]:
        """The stream of the session that an event id names, and the position in it.

        Raises:
            EventsGone: There is no such stream, or it keeps less than that.
        """
        name, position = parse_event_id(event_id)
        stream = self._by_name.get(name)
        if stream is None or stream.owner != session.id:
            raise EventsGone(f"no stream of this session has that event; {WHAT_TO_DO}")
        stream.log.after(position)
        return stream, position

    def listen(self, stream: KeptStream) -> None:
        """Make a stream the one that its session listens on."""
        before = self._listeners.get(stream.owner)
        if before is not None and before is not stream:
            before.superseded = True
            self.moved(before)
        stream.superseded = False
        self._listeners[stream.owner] = stream

    def grown(self, by: int) -> None:
        """See `Keeper.grown`."""
        self._total += by
        if self._total > self._limits.replay:
            self._make_room()

    def moved(self, stream: KeptStream) -> None:
        """See `Keeper.moved`."""
        self._over.pop(stream, None)
        self._awaited.pop(stream, None)
        if stream.is_read:
            return
        if stream.is_over:
            self._over[stream] = self._loop.time()
            self._thin_out(stream.owner)
            self._arm()
        else:
            self._awaited[stream] = None
        self._make_room()

    def _make_room(self) -> None:
        while self._total > self._limits.replay and (self._over or self._awaited):
            self._forget(next(iter(self._over or self._awaited)))

    def _thin_out(self, owner: str) -> None:
        streams = self._by_session[owner]
        if len(streams) <= self._limits.in_flight_per_session:
            return
        over = [stream for stream in streams if stream in self._over]
        for stream in over[: -self._limits.in_flight_per_session]:
            self._forget(stream)

    def _forget(self, stream: KeptStream) -> None:
        self._over.pop(stream, None)
        self._awaited.pop(stream, None)
        del self._by_name[stream.log.stream]
        del self._by_session[stream.owner][stream]
        if self._listeners.get(stream.owner) is stream:
            del self._listeners[stream.owner]
        self._total -= stream.log.size + _OVERHEAD
        stream.forget()

    def _forget_all(self, owner: str) -> None:
        for stream in tuple(self._by_session[owner]):
            self._forget(stream)
        del self._by_session[owner]

    def _arm(self) -> None:
        if self._timer is None and self._over:
            due = next(iter(self._over.values())) + self._window
            self._timer = self._loop.call_at(due, self._expire)

    def _expire(self) -> None:
        self._timer = None
        now = self._loop.time()
        for stream, since in tuple(self._over.items()):
            if now < since + self._window:
                break
            self._forget(stream)
        self._arm()
