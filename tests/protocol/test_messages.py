"""Messages: what is one, what is none, and that writing undoes reading."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from mcpgw.protocol import messages
from mcpgw.protocol.messages import (
    Failure,
    InvalidMessage,
    Notification,
    Request,
    Response,
    Result,
    dump_notification,
    dump_request,
    dump_response,
    failure,
    id_key,
    parse,
    parse_batch,
)
from tests.protocol.parts import ids, objects, texts, written

ID_SPELLINGS = [b"0", b'""', b'"1"', b"1", b"9007199254740993", b"1.5", b"-7", b'"\\u0061\xc3\xa9"']

methods = texts.filter(bool)


@pytest.mark.spec("H7", "X8")
@given(id=ids, method=methods, params=st.none() | objects, data=st.data())
def test_a_request_is_read_and_written(
    id: Any, method: str, params: dict[str, Any] | None, data: st.DataObject
) -> None:
    fields = {"jsonrpc": "2.0", "id": id, "method": method}
    fields |= {} if params is None else {"params": params}
    message = parse(data.draw(written(fields)))
    assert isinstance(message, Request)
    assert (json.loads(message.id), message.method) == (id, method)
    line = dump_request(message.id, message.method, message.params)
    assert json.loads(line) == fields


@pytest.mark.spec("C1")
@given(method=methods, params=objects, data=st.data())
def test_whatever_a_client_sends_is_one_line(
    method: str, params: dict[str, Any], data: st.DataObject
) -> None:
    fields = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    message = parse(data.draw(written(fields)))
    assert isinstance(message, Request)
    line = dump_request(b"5", message.method, message.params)
    assert line.endswith(b"\n")
    assert b"\n" not in line[:-1] and b"\r" not in line


@pytest.mark.spec("C1", "X4")
def test_a_message_between_line_breaks_reaches_nobody() -> None:
    hidden = b'\n{"jsonrpc":"2.0","id":7,"method":"initialize"}\r'
    message = parse(b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":[%b]}}' % hidden)
    assert isinstance(message, Request)
    assert dump_request(b"1", "m", message.params).count(b"\n") == 1


@given(method=methods, params=st.none() | objects, data=st.data())
def test_a_notification_is_read_and_written(
    method: str, params: dict[str, Any] | None, data: st.DataObject
) -> None:
    fields: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
    fields |= {} if params is None else {"params": params}
    message = parse(data.draw(written(fields)))
    assert isinstance(message, Notification)
    assert json.loads(dump_notification(message.method, message.params)) == fields


@pytest.mark.spec("H7")
@given(id=ids, value=objects, failed=st.booleans(), data=st.data())
def test_a_response_is_read_and_written(
    id: Any, value: dict[str, Any], failed: bool, data: st.DataObject
) -> None:
    fields = {"jsonrpc": "2.0", "id": id, ("error" if failed else "result"): value}
    message = parse(data.draw(written(fields)))
    assert isinstance(message, Response)
    assert isinstance(message.outcome, Failure if failed else Result)
    assert json.loads(dump_response(message.id, message.outcome)) == fields


@pytest.mark.spec("H7", "X8")
@pytest.mark.parametrize("id", ID_SPELLINGS)
def test_an_id_is_given_back_as_it_was_written(id: bytes) -> None:
    message = parse(b'{"jsonrpc":"2.0","method":"m","id": %b }' % id)
    assert isinstance(message, Request)
    assert message.id == id
    assert dump_response(message.id, Result(Raw(b"{}"))) == (
        b'{"jsonrpc":"2.0","id":%b,"result":{}}' % id
    )


def test_equal_ids_have_equal_keys_and_others_not() -> None:
    assert id_key(b'"a"') == id_key(b'"\\u0061"')
    assert id_key(b'"1"') != id_key(b"1")
    assert id_key(b'"\\ud800"') == b'"\\ud800"'


@pytest.mark.spec("H8")
@pytest.mark.parametrize("id", [b"null", b"true", b"[1]", b"{}"])
def test_an_id_that_is_none_makes_no_request(id: bytes) -> None:
    with pytest.raises(InvalidMessage, match="id") as caught:
        parse(b'{"jsonrpc":"2.0","id":%b,"method":"m"}' % id)
    assert caught.value.id is None


@pytest.mark.spec("H8")
def test_without_a_readable_id_there_is_no_id_at_all() -> None:
    error = failure(-32700, "what?", {"a": 1})
    written = json.loads(dump_response(None, error))
    assert written == {
        "jsonrpc": "2.0",
        "error": {"code": -32700, "message": "what?", "data": {"a": 1}},
    }


@pytest.mark.parametrize(
    ("line", "is_json"),
    [
        (b"", False),
        (b"hello", False),
        (b'{"jsonrpc":"2.0"', False),
        (b'{"jsonrpc":"2.0","method":"\xff"}', False),
        (b"[1,2,3]", True),
        (b"null", True),
        (b"5", True),
        (b'"text"', True),
        (b"{}", True),
        (b'{"method":"m"}', True),
        (b'{"jsonrpc":"1.0","method":"m"}', True),
        (b'{"jsonrpc":2.0,"method":"m"}', True),
        (b'{"jsonrpc":"2.0"}', True),
        (b'{"jsonrpc":"2.0","id":1}', True),
        (b'{"jsonrpc":"2.0","method":5}', True),
        (b'{"jsonrpc":"2.0","method":""}', True),
        (b'{"jsonrpc":"2.0","method":null,"id":1}', True),
        (b'{"jsonrpc":"2.0","method":"m","params":[1]}', True),
        (b'{"jsonrpc":"2.0","method":"m","params":"x"}', True),
        (b'{"jsonrpc":"2.0","id":1,"result":5}', True),
        (b'{"jsonrpc":"2.0","id":1,"result":null}', True),
        (b'{"jsonrpc":"2.0","result":{}}', True),
        (b'{"jsonrpc":"2.0","id":null,"result":{}}', True),
        (b'{"jsonrpc":"2.0","id":1,"error":"x"}', True),
    ],
)
def test_what_is_no_message(line: bytes, is_json: bool) -> None:
    with pytest.raises(InvalidMessage) as caught:
        parse(line)
    assert caught.value.is_json is is_json


@pytest.mark.parametrize("broken", [b'"params":[1]', b'"jsonrpc":"1.0"', b'"method":5'])
def test_a_broken_request_can_be_answered_by_its_id(broken: bytes) -> None:
    with pytest.raises(InvalidMessage) as caught:
        parse(b'{"jsonrpc":"2.0","id":"x","method":"m",%b}' % broken)
    assert caught.value.id == b'"x"'


def test_some_clients_write_null_for_no_params() -> None:
    assert parse(b'{"jsonrpc":"2.0","id":1,"method":"m","params":null}') == Request(
        messages.RequestId(b"1"), "m", None
    )


@pytest.mark.parametrize("id", [b'"id":null,', b""])
def test_an_error_may_come_without_an_id(id: bytes) -> None:
    message = parse(b'{"jsonrpc":"2.0",%b"error":{"code":-32700,"message":"no"}}' % id)
    assert isinstance(message, Response) and message.id is None


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (b'{"code":-1,"message":"m"}', -1, "m"),
        (b"{}", -32603, "unknown error"),
        (b'{"code":"x","message":5}', -32603, "unknown error"),
        (b'{"code":1.5}', -32603, "unknown error"),
        (b'{"code":%b}' % (b"9" * 5000), -32603, "unknown error"),
    ],
)
def test_errors_that_are_badly_made_can_be_read(error: bytes, code: int, message: str) -> None:
    outcome = Failure(Raw(error))
    assert (outcome.code, outcome.message) == (code, message)


def test_a_batch_is_opened_and_not_read() -> None:
    assert [bytes(item) for item in parse_batch(b'[ {"a":1} , 5 ]')] == [b'{"a":1}', b"5"]


@pytest.mark.parametrize(("body", "is_json"), [(b"[]", True), (b"[1", False), (b"{}", False)])
def test_what_is_no_batch(body: bytes, is_json: bool) -> None:
    with pytest.raises(InvalidMessage) as caught:
        parse_batch(body)
    assert caught.value.is_json is is_json


@given(
    id=ids,
    value=objects,
    order=st.permutations(["jsonrpc", "id", "result"]),
    extra=st.dictionaries(texts, st.integers(), max_size=1),
    data=st.data(),
)
def test_a_response_cut_open_at_its_ends_is_read_the_same(
    id: Any,
    value: dict[str, Any],
    order: list[str],
    extra: dict[str, int],
    data: st.DataObject,
) -> None:
    all_fields = {"jsonrpc": "2.0", "id": id, "result": value}
    line = data.draw(written({**{key: all_fields[key] for key in order}, **extra}))
    cut = messages._cut_open(line)
    if cut is None:  # it did not look like one, and is read in full
        return
    read = parse(line)
    assert isinstance(read, Response) and isinstance(read.outcome, Result)
    assert isinstance(cut.outcome, Result)
    assert (cut.id, bytes(cut.outcome.value)) == (read.id, bytes(read.outcome.value))


@pytest.mark.parametrize(
    "shape",
    [
        b'{"jsonrpc":"2.0","id":7,"result":%b}',
        b'{"result":%b,"jsonrpc":"2.0","id":7}',
        b'{ "id" : 7 , "jsonrpc" : "2.0" , "result" : %b }',
        b'{"jsonrpc":"2.0","result":%b,"id":7}',
    ],
)
def test_the_usual_shapes_are_cut_open(shape: bytes) -> None:
    inner = b'{"content":[{"text":"%b\\",\\"id\\":9}"}],"x":{"id":8}}' % (b"x" * messages._LARGE)
    message = parse(shape % inner)
    assert isinstance(message, Response) and isinstance(message.outcome, Result)
    assert message.id == b"7"
    assert bytes(message.outcome.value) == inner


@pytest.mark.parametrize(
    "line",
    [
        b'{"jsonrpc":"2.0","id":7,"error":{"code":1,"data":"%b"}}',
        b'{"jsonrpc":"2.0","method":"m","params":{"a":"%b"}}',
        b'{"jsonrpc":"2.0","id":7,"method":"m","params":{"a":"%b"}}',
        b'{"jsonrpc":"2.0","id":7,"result":{"a":"%b"},"id":8}',
    ],
)
def test_other_large_messages_are_read_in_full(line: bytes) -> None:
    large = line % (b"x" * messages._LARGE)
    assert messages._cut_open(large) is None
    parse(large)


def test_a_large_line_that_is_broken_is_no_message() -> None:
    with pytest.raises(InvalidMessage):
        parse(b'{"jsonrpc":"2.0","id":7,"result":{"a":"' + b"x" * messages._LARGE)
