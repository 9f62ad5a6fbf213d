"""Mirrored headers: what may stand plain, what must be encoded, and what is refused."""

import base64

import pytest
from hypothesis import given

from mcpgw.protocol.headers import BadHeader, decode_value
from tests.protocol.parts import texts


def encoded(text: str) -> str:
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


@pytest.mark.spec("N7")
@given(text=texts)
def test_every_text_survives_the_header(text: str) -> None:
    assert decode_value(encoded(text)) == text


@pytest.mark.spec("N7")
@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("echo", "echo"),
        ("two words", "two words"),
        ("", ""),
        (" \techo\t ", "echo"),
        (encoded("olá ☕"), "olá ☕"),
        (f"  {encoded('x')} ", "x"),
        (encoded(" padded "), " padded "),
        ("=?base64??=", ""),
        ("=?BASE64?eA==?=", "=?BASE64?eA==?="),
        ("=?Base64?eA==?=", "=?Base64?eA==?="),
        ("=?base64?eA==", "=?base64?eA=="),
        ("x=?base64?eA==?=", "x=?base64?eA==?="),
    ],
)
def test_what_a_value_stands_for(value: str, text: str) -> None:
    assert decode_value(value) == text


@pytest.mark.spec("N7")
@pytest.mark.parametrize(
    "value",
    [
        "olá",
        "a\x00b",
        "a\x7fb",
        "a\nb",
        "\udce9",
        "=?base64?*?=",
        "=?base64?eA?=",
        "=?base64?eA==eA==?=",
        "=?base64?é?=",
        "=?base64?\udce9?=",
        "=?base64?/w==?=",
        "=?base64? eA== ?=",
    ],
)
def test_illegal_values_are_refused(value: str) -> None:
    with pytest.raises(BadHeader):
        decode_value(value)
