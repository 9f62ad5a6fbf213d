"""Objects are opened one level deep; what is inside keeps its bytes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from mcpgw.protocol.rawjson import (
    NotJson,
    decode_any,
    decode_array,
    decode_object,
    decode_text,
    encode,
    is_json,
    is_utf8,
    object_or_empty,
)
from tests.protocol.parts import objects, texts, values, written


@given(value=objects, data=st.data())
def test_an_object_is_put_back_together_as_it_was(
    value: dict[str, Any], data: st.DataObject
) -> None:
    fields = decode_object(data.draw(written(value)))
    assert json.loads(bytes(encode(fields))) == value


@given(value=values, data=st.data())
def test_a_value_keeps_its_bytes(value: Any, data: st.DataObject) -> None:
    inner = data.draw(written(value))
    assert bytes(decode_object(b'{"kept": %b }' % inner)["kept"]) == inner.strip()
    assert [bytes(item) for item in decode_array(b"[ %b ]" % inner)] == [inner.strip()]


@pytest.mark.parametrize(
    "spelling",
    [
        b"1.50e+3",
        b"-0",
        b"9007199254740993",
        b'"\\u0041\\/\\ud83d\\ude00"',
        b'"\xe2\x80\xa8\xc2\xa0"',
    ],
)
def test_spellings_survive(spelling: bytes) -> None:
    opened = decode_object(b'{"a":%b}' % spelling)
    assert bytes(encode(opened)) == b'{"a":%b}' % spelling


@pytest.mark.parametrize(
    "value",
    [b'"\\ud800"', b'"\\uDC00x\\ud83d\\ude00"', b'{"\\udfff":["\\ud800"]}', b'"\\\\ud800 \\ud800"'],
)
def test_halves_of_characters_survive_in_values(value: bytes) -> None:
    assert bytes(decode_object(b'{"a":%b,"b":1}' % value)["a"]) == value
    assert bytes(decode_array(b"[%b]" % value)[0]) == value


def test_the_word_that_hides_them_may_occur_in_the_data() -> None:
    value = b'"@surrogate@d800 @surrogate@@ \\ud800"'
    assert bytes(decode_object(b'{"a":%b}' % value)["a"]) == value


def test_keys_beside_a_half_character_keep_their_meaning() -> None:
    fields = decode_object(b'{"\\ud83d\\ude00":1,"\\u0041":2,"x\\ud800y":3,"v":"\\ud800"}')
    assert set(fields) == {"😀", "A", "x\ufffdy", "v"}
    assert json.loads(bytes(encode(fields)))["😀"] == 1


def test_the_later_of_equal_keys_wins() -> None:
    assert bytes(decode_object(b'{"a":1,"a":2}')["a"]) == b"2"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"{",
        b'{"a"}',
        b'{"a":}',
        b'{"a":1,}',
        b'{"a":01}',
        b'{"a":"\n"}',
        b'{"a":"\\x"}',
        b'{"a":"\\ud800',
        b'{"a":nul}',
        b'{"a":[1,]}',
        b"{}{}",
        b"[]",
        b"null",
        b'"{}"',
        b"\xef\xbb\xbf{}",
        b'{"a":' + b"[" * 100_000,
    ],
)
def test_what_is_no_object_is_refused(data: bytes) -> None:
    with pytest.raises(NotJson):
        decode_object(data)
    assert object_or_empty(Raw(data)) == {}


@pytest.mark.parametrize("data", [b"", b"{}", b"[1,]", b"[" * 100_000, b"1"])
def test_what_is_no_array_is_refused(data: bytes) -> None:
    with pytest.raises(NotJson):
        decode_array(data)


def test_nesting_that_people_use_is_no_problem() -> None:
    deep = b"[" * 500 + b"]" * 500
    assert bytes(decode_object(b'{"a":%b}' % deep)["a"]) == deep


@pytest.mark.parametrize("key", ["a", "\\ud800"])
def test_nesting_beyond_reason_is_refused_or_kept_but_harms_nobody(key: str) -> None:
    """How deep the decoder goes is the Python's to say: since 3.14 it is the size of its stack."""
    deep = b"[" * 100_000 + b"]" * 100_000
    try:
        fields = decode_object(b'{"%b":%b}' % (key.encode(), deep))
    except NotJson:
        return
    assert [bytes(value) for value in fields.values()] == [deep]


@given(text=texts)
def test_texts_are_read(text: str) -> None:
    assert decode_text(encode(text)) == text


@pytest.mark.parametrize("data", [b"1", b"null", b"{}", b"", b'"', b'"\\ud800"', b'"\xff"'])
def test_what_is_no_text_is_none(data: bytes) -> None:
    assert decode_text(data) is None


@given(value=values, data=st.data())
def test_values_are_read_whole(value: Any, data: st.DataObject) -> None:
    assert decode_any(data.draw(written(value))) == value


@pytest.mark.parametrize(("data", "known"), [(b"[1]", True), (b"nul", False), (b"", False)])
def test_is_json(data: bytes, known: bool) -> None:
    assert is_json(data) is known


@pytest.mark.parametrize(
    ("data", "known"), [(b"abc", True), ("é".encode(), True), (b"\xe9", False)]
)
def test_is_utf8(data: bytes, known: bool) -> None:
    assert is_utf8(data) is known
