"""One pipe, many clients: nobody gets what belongs to another."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from mcpgw.protocol.connection import (
    Answered,
    Asked,
    Event,
    Late,
    Noise,
    Notified,
    Outbound,
    Progressed,
    ServerConnection,
    WireId,
)
from mcpgw.protocol.framing import LineOverflow
from mcpgw.protocol.messages import Failure, Result
from mcpgw.protocol.rawjson import encode
from mcpgw.units import Bytes
from tests.protocol.parts import chunked


def connect() -> ServerConnection:
    return ServerConnection(max_line=Bytes(100_000), token_prefix="secret")


def send(
    connection: ServerConnection, token: bytes | None = None, **meta: str
) -> tuple[WireId, dict[str, Any]]:
    """Send a call; the id and the message that went out."""
    outbound = Outbound(
        "tools/call",
        {"name": encode("t")},
        {key: encode(value) for key, value in meta.items()},
        Raw(token) if token is not None else None,
    )
    wire_id, line = connection.send_request(outbound)
    assert line.endswith(b"\n")
    return wire_id, json.loads(line)


def receive(connection: ServerConnection, *messages: object) -> list[Event]:
    return connection.receive_data(b"".join(json.dumps(m).encode() + b"\n" for m in messages))


def answer(id: object, value: object = "x") -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": id, "result": {"value": value}}


def progress(token: object, done: int = 1) -> dict[str, object]:
    params = {"progressToken": token, "progress": done}
    return {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}


@pytest.mark.spec("CL10")
def test_ids_are_minted_and_never_used_again() -> None:
    connection = connect()
    sent = [send(connection) for _ in range(3)]
    ids = [message["id"] for _, message in sent]
    receive(connection, *(answer(id) for id in ids))
    connection.send_cancel(send(connection)[0], "gone")
    again = send(connection)[1]["id"]
    assert len({*ids, again}) == 4
    assert all(type(id) is int for id in ids)


@pytest.mark.spec("H7")
def test_answers_find_their_requests_in_any_order() -> None:
    connection = connect()
    (alice, _), (bob, _) = send(connection), send(connection)
    assert connection.in_flight == 2
    events = receive(connection, answer(bob, "bob"), answer(alice, "alice"))
    assert [e.wire_id for e in events if isinstance(e, Answered)] == [bob, alice]
    values = [
        json.loads(bytes(e.outcome.value))
        for e in events
        if isinstance(e, Answered) and isinstance(e.outcome, Result)
    ]
    assert values == [{"value": "bob"}, {"value": "alice"}]
    assert connection.in_flight == 0


@pytest.mark.spec("C5")
def test_answers_that_nobody_waits_for_are_late() -> None:
    connection = connect()
    wire_id, _ = send(connection)
    receive(connection, answer(wire_id))
    cancelled, _ = send(connection)
    connection.send_cancel(cancelled, "gone")
    events = receive(connection, answer(wire_id), answer(cancelled), answer(99), answer(0))
    assert [type(event) for event in events] == [Late, Late, Late, Late]


@pytest.mark.spec("X8")
@pytest.mark.parametrize("id", ["1", 1.0, "", None, True, [1], 10**30, int("9" * 4000)])
def test_an_answer_to_an_id_of_another_type_is_not_ours(id: object) -> None:
    connection = connect()
    send(connection)
    (event,) = receive(connection, answer(id))
    assert isinstance(event, Late | Noise)
    assert connection.in_flight == 1


def test_an_id_of_too_many_digits_to_read_is_nobodys() -> None:
    connection = connect()
    line = b'{"jsonrpc":"2.0","id":%b,"result":{}}\n' % (b"9" * 5000)
    assert isinstance(connection.receive_data(line)[0], Late)


def test_an_error_without_an_id_answers_nobody() -> None:
    connection = connect()
    send(connection)
    error = {"jsonrpc": "2.0", "error": {"code": -32700, "message": "what?"}}
    assert receive(connection, error) == [Late(b"")]


@pytest.mark.spec("X8")
@pytest.mark.parametrize(
    "token", [b"0", b'""', b'"1"', b"1", b"1.5", b'"secret-1"', b"9007199254740993"]
)
def test_a_progress_token_is_restored_as_it_was_written(token: bytes) -> None:
    connection = connect()
    wire_id, message = send(connection, token)
    word = message["params"]["_meta"]["progressToken"]
    assert word == f"secret-{wire_id}"
    (event,) = receive(connection, progress(word))
    assert isinstance(event, Progressed)
    assert event.wire_id == wire_id
    assert bytes(event.params) == b'{"progressToken":%b,"progress":1}' % token


@pytest.mark.spec("X9", "C7")
@pytest.mark.parametrize(
    "token",
    [
        "secret-2",
        "secret-",
        "secret-x",
        "secret-\u0661",
        "secret-01x",
        "other-1",
        1,
        None,
        "secret-" + "9" * 5000,
    ],
)
def test_progress_on_what_nobody_waits_for_reaches_no_request(token: object) -> None:
    connection = connect()
    send(connection, b'"mine"')
    assert isinstance(receive(connection, progress(token))[0], Notified)


@pytest.mark.spec("X9", "N26")
def test_progress_after_the_answer_reaches_no_request() -> None:
    connection = connect()
    wire_id, message = send(connection, b'"mine"')
    word = message["params"]["_meta"]["progressToken"]
    receive(connection, answer(wire_id))
    assert isinstance(receive(connection, progress(word))[0], Notified)


def test_a_request_without_a_token_gets_none() -> None:
    _, message = send(connect(), trace="t")
    assert message["params"]["_meta"] == {"trace": "t"}
    _, bare = send(connect())
    assert "_meta" not in bare["params"]


def test_a_token_smuggled_past_us_is_a_word_like_any_other() -> None:
    connection = connect()
    alice, _ = send(connection, b'"a"')
    bob, message = send(connection, f'"secret-{alice}"'.encode())
    word = message["params"]["_meta"]["progressToken"]
    (event,) = receive(connection, progress(word))
    assert isinstance(event, Progressed) and event.wire_id == bob


@pytest.mark.spec("C6", "CM4")
def test_a_cancellation_names_the_id_on_the_wire_once() -> None:
    connection = connect()
    wire_id, _ = send(connection)
    told = json.loads(connection.send_cancel(wire_id, "bored"))
    assert told == {
        "jsonrpc": "2.0",
        "method": "notifications/cancelled",
        "params": {"requestId": wire_id, "reason": "bored"},
    }
    assert connection.send_cancel(wire_id, "bored") == b""
    answered, _ = send(connection)
    receive(connection, answer(answered))
    assert connection.send_cancel(answered, "late") == b""


@pytest.mark.spec("C7")
def test_questions_and_notifications_are_told_apart() -> None:
    connection = connect()
    question = {"jsonrpc": "2.0", "id": "q", "method": "roots/list"}
    news = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
    asked, notified = receive(connection, question, news)
    assert isinstance(asked, Asked) and asked.request.id == b'"q"'
    assert isinstance(notified, Notified)
    line = connection.send_response(asked.request, Result(Raw(b"{}")))
    assert line == b'{"jsonrpc":"2.0","id":"q","result":{}}\n'


def test_a_server_may_batch() -> None:
    connection = connect()
    (one, _), (two, _) = send(connection), send(connection)
    events = receive(connection, [answer(two), "noise", answer(one)])
    assert [type(event) for event in events] == [Answered, Noise, Answered]


@pytest.mark.parametrize(
    "line", [b"Listening on stdio", b"null", b"[]", b"[1,2", b"5", b'{"level":"info"}', b"\xff\xfe"]
)
def test_noise_is_noise_and_what_follows_is_read(line: bytes) -> None:
    connection = connect()
    wire_id, _ = send(connection)
    noise, answered = connection.receive_data(
        line + b"\r\n" + json.dumps(answer(wire_id)).encode() + b"\n"
    )
    assert isinstance(noise, Noise) and noise.line == line
    assert isinstance(answered, Answered)


def test_a_log_line_that_holds_an_answer_is_no_answer() -> None:
    connection = connect()
    wire_id, _ = send(connection)
    line = b"DEBUG sent " + json.dumps(answer(wire_id)).encode() + b"\n"
    assert isinstance(connection.receive_data(line)[0], Noise)
    assert connection.in_flight == 1


def test_a_byte_order_mark_is_tolerated_once() -> None:
    connection = connect()
    (one, _), (two, _) = send(connection), send(connection)
    first = b"\xef\xbb\xbf" + json.dumps(answer(one)).encode() + b"\n"
    assert isinstance(connection.receive_data(first)[0], Answered)
    again = b"\xef\xbb\xbf" + json.dumps(answer(two)).encode() + b"\n"
    assert isinstance(connection.receive_data(again)[0], Noise)


def test_a_second_answer_is_late() -> None:
    connection = connect()
    wire_id, _ = send(connection)
    first, second = receive(connection, answer(wire_id, "first"), answer(wire_id, "second"))
    assert isinstance(first, Answered) and isinstance(second, Late)


def test_an_error_is_an_answer() -> None:
    connection = connect()
    wire_id, _ = send(connection)
    error = {"jsonrpc": "2.0", "id": wire_id, "error": {"code": 5, "message": "no"}}
    (event,) = receive(connection, error)
    assert isinstance(event, Answered) and isinstance(event.outcome, Failure)
    assert event.outcome.code == 5


def test_a_line_beyond_the_limit_is_the_end() -> None:
    connection = connect()
    with pytest.raises(LineOverflow):
        connection.receive_data(b"x" * 100_001)


@given(
    order=st.permutations(range(6)),
    cuts=st.lists(st.integers(0, 10_000), max_size=10),
    noise=st.lists(
        st.binary(max_size=8).map(lambda b: b.replace(b"\n", b"")), min_size=6, max_size=6
    ),
)
def test_everyone_gets_their_own_however_it_comes(
    order: list[int], cuts: list[int], noise: list[bytes]
) -> None:
    connection = connect()
    sent = [send(connection, b'"t%d"' % n) for n in range(6)]
    data = b""
    for n in order:
        wire_id, message = sent[n]
        word = message["params"]["_meta"]["progressToken"]
        for line in (noise[n], progress(word), answer(wire_id, n)):
            data += (line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n"
    events = [e for chunk in chunked(data, cuts) for e in connection.receive_data(chunk)]
    answers = {
        e.wire_id: json.loads(bytes(e.outcome.value))["value"]
        for e in events
        if isinstance(e, Answered) and isinstance(e.outcome, Result)
    }
    told = {
        e.wire_id: json.loads(bytes(e.params))["progressToken"]
        for e in events
        if isinstance(e, Progressed)
    }
    assert answers == {sent[n][0]: n for n in range(6)}
    assert told == {sent[n][0]: f"t{n}" for n in range(6)}
