"""The log of a stream, and how many are kept: decided on values, without a connection."""

import asyncio
from collections.abc import Callable
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpgw.config.schema import Limits
from mcpgw.edge.large import SLICE, Large, Message
from mcpgw.edge.replay import KeptStream, ReplayLog, parse_event_id
from mcpgw.edge.resuming import Replays
from mcpgw.edge.stream import Outbox
from mcpgw.errors import EventsGone
from mcpgw.gateway.session import Session
from mcpgw.units import Bytes, Seconds
from tests.edge.replies import PATIENCE

LIMIT = Bytes(60)


class Connection:
    """A reader that has sent nothing yet."""

    def __init__(self) -> None:
        self.waiting: list[Message] = []
        self.closed = False
        self.dropped = False

    def put(self, message: Message) -> None:
        if not self.closed:
            self.waiting.append(message)

    def answer(self, message: Message) -> None:
        self.put(message)

    def catch_up(self, messages: list[Message]) -> None:
        self.waiting += messages

    def close(self) -> None:
        self.closed = True

    def give_up(self) -> None:
        self.closed = self.dropped = True


class NoKeeper:
    """Bounds nothing."""

    def grown(self, by: int) -> None: ...
    def moved(self, stream: KeptStream) -> None: ...


def stream(limit: Bytes = LIMIT) -> KeptStream:
    return KeptStream(ReplayLog("s", limit), "session", NoKeeper(), listens=False)


class Client:
    """Reads a stream over connections that break, and resumes from what it has seen."""

    def __init__(self, stream: KeptStream) -> None:
        self.stream = stream
        self.seen: list[bytes] = []
        self.position = 0
        self.connection: Connection | None = None
        self.lost = False

    def receive(self, count: int) -> None:
        """Take so many of the events that wait for it."""
        if self.connection is not None:
            events = [whole(event) for event in self.connection.waiting[:count]]
            del self.connection.waiting[:count]
            for data, _, id in (event.partition(b"\nid: ") for event in events):
                assert parse_event_id(id.decode()) == ("s", self.position + 1)
                self.position += 1
                self.seen.append(data)

    def resume(self) -> None:
        """Connect again; the old connection may not have been missed yet."""
        before, fresh = self.connection, Connection()
        try:
            self.stream.attach(fresh, self.position)
        except EventsGone:
            self.lost = True
        else:
            assert before is None or before.dropped
            self.connection = fresh

    def leave(self, noticed: bool) -> None:
        """Break the connection; what was on its way is not received."""
        if self.connection is not None and noticed:
            self.stream.detach(self.connection)
        self.connection = None


def whole(message: Message) -> bytes:
    return message if isinstance(message, bytes) else b"".join(message.slices())


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(1, 40)),
        st.tuples(st.just("answer"), st.integers(1, 200)),
        st.tuples(st.just("receive"), st.integers(1, 3)),
        st.tuples(st.just("leave"), st.booleans()),
        st.tuples(st.just("resume"), st.none()),
    ),
    max_size=40,
)


@given(STEPS)
def test_every_event_is_seen_once_and_in_order_or_said_to_be_gone(
    steps: list[tuple[str, int]],
) -> None:
    client = Client(kept := stream())
    client.resume()
    sent: list[bytes] = []
    answers: set[int] = set()
    for step, value in steps:
        if step in ("put", "answer"):
            sent.append(b"%d" % len(sent) + b"x" * value)
            if step == "answer":
                answers.add(len(sent))
            (kept.put if step == "put" else kept.answer)(sent[-1])
        elif step == "receive":
            client.receive(value)
        elif step == "leave":
            client.leave(bool(value))
        else:
            client.resume()
        assert kept.log.size <= bound(sent, answers)
        if client.lost:
            assert weight(sent, answers, client.position) > LIMIT
            return
    kept.close()
    client.leave(noticed=False)
    client.resume()
    if client.lost:
        assert weight(sent, answers, client.position) > LIMIT
    else:
        client.receive(len(sent))
        assert client.seen == sent
        assert client.connection is not None and client.connection.closed


def weight(sent: list[bytes], answers: set[int], since: int) -> int:
    """What the messages after that position weigh with their ids; answers weigh nothing."""
    counted = enumerate(sent[since:], since + 1)
    return sum(len(message) for number, message in counted if number not in answers)


def bound(sent: list[bytes], answers: set[int]) -> int:
    """The most that may be kept: the limit, all answers, and the ids."""
    ids = len(sent) * len(b"\nid: s-00")
    return LIMIT + sum(len(sent[number - 1]) for number in answers) + ids


def test_a_large_message_is_kept_as_it_is() -> None:
    value = memoryview(b"x" * (2 * SLICE))
    event = ReplayLog("s", LIMIT).answer(Large(b"{", value, b"}"))
    assert isinstance(event, Large)
    kept = [part for part in event.slices() if len(part) == SLICE]
    assert all(part.obj is value.obj for part in kept) and len(kept) == 2
    assert whole(event) == b"{" + value.tobytes() + b"}\nid: s-1"


async def test_a_reader_that_was_too_slow_finds_what_it_missed() -> None:
    kept = stream(Bytes(2 * LIMIT))
    slow, fresh = Outbox(LIMIT), Connection()
    kept.attach(slow)
    sent = 0
    while not slow.given_up:
        kept.put(b"%010d" % sent)
        sent += 1
    kept.put(b"one more")
    kept.attach(fresh, 0)
    assert len(fresh.waiting) == sent + 1


async def test_what_was_missed_takes_no_room_from_what_comes() -> None:
    kept, reader = stream(Bytes(2 * LIMIT)), Outbox(LIMIT)
    for _ in range(2 * LIMIT):
        kept.put(b"x")
    kept.attach(reader)
    kept.put(b"x")
    assert not reader.given_up
    kept.put(b"x" * LIMIT)
    assert reader.given_up


class Owner:
    """As much of a session as its streams need."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.ended: list[Callable[[], None]] = []

    def at_end(self, callback: Callable[[], None]) -> None:
        self.ended.append(callback)


def owner(id: str) -> Session:
    return cast(Session, Owner(id))


async def test_a_session_keeps_so_many_streams_that_are_over() -> None:
    replays = Replays(Limits(in_flight_per_session=3), Seconds(60))
    session, other = owner("a"), owner("b")
    waiting = [replays.open(session) for _ in range(5)]
    for kept in (*waiting, replays.open(other)):
        reader = Connection()
        kept.attach(reader)
        kept.detach(reader)
    for _ in range(10):
        replays.open(session).close()
    assert len(replays) == 5 + 1 + 3
    for kept in waiting:
        assert replays.find(session, kept.log.id_at(0)) == (kept, 0)


async def test_all_streams_together_stay_within_their_bound() -> None:
    replays = Replays(Limits(replay=Bytes(10_000)), Seconds(60))
    session = owner("a")
    read = replays.open(session)
    read.attach(Connection())
    over, awaited = replays.open(session), replays.open(session)
    awaited.attach(reader := Connection())
    awaited.detach(reader)
    over.answer(b"x" * 1000)
    over.close()
    read.answer(b"x" * 5000)
    assert len(replays) == 3
    read.answer(b"x" * 2000)  # what is over goes first, then what is awaited, what is read never
    with pytest.raises(EventsGone):
        replays.find(session, over.log.id_at(0))
    assert replays.find(session, awaited.log.id_at(0)) == (awaited, 0)
    read.answer(b"x" * 5000)
    assert len(replays) == 1
    awaited.answer(b"x" * 5000)
    assert awaited.log.size == 0


async def test_nothing_is_left_of_a_session_that_ended() -> None:
    replays = Replays(Limits(), Seconds(60))
    session = owner("a")
    read, listener = replays.open(session), replays.open(session, listens=True)
    read.attach(reader := Connection())
    replays.listen(listener)
    for callback in cast(Owner, session).ended:
        callback()
    assert (len(replays), replays.size) == (0, 0)
    read.answer(b"who reads is answered all the same")
    assert len(reader.waiting) == 1
    assert (read.log.size, replays.size) == (0, 0)


async def test_a_stream_for_news_waits_as_long_as_its_session() -> None:
    """It would otherwise be gone after every night, and some clients open no other."""
    replays = Replays(Limits(), Seconds(0))
    session = owner("a")
    first, second = replays.open(session, listens=True), replays.open(session, listens=True)
    for kept in (first, second):
        replays.listen(kept)
        kept.attach(reader := Connection())
        kept.detach(reader)
    async with asyncio.timeout(PATIENCE):
        while len(replays) > 1:  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert replays.find(session, second.log.id_at(0)) == (second, 0)
