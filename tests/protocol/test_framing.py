"""However the bytes are chunked, the lines are the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpgw.protocol.framing import LineDecoder, LineOverflow
from mcpgw.units import Bytes
from tests.protocol.parts import TRICKY, chunked

LIMIT = Bytes(1000)

lines = st.lists(
    st.one_of(st.binary(max_size=30), st.sampled_from([text.encode() for text in TRICKY])).map(
        lambda line: line.replace(b"\n", b"")
    ),
    max_size=8,
)
ends = st.lists(st.sampled_from([b"\n", b"\r\n"]), min_size=8, max_size=8)
cuts = st.lists(st.integers(0, 10_000), max_size=12)


@given(lines=lines, ends=ends, cuts=cuts)
def test_any_chunking_gives_the_same_lines(
    lines: list[bytes], ends: list[bytes], cuts: list[int]
) -> None:
    data = b"".join(line + end for line, end in zip(lines, ends, strict=False))
    decoder = LineDecoder(LIMIT)
    got = [line for chunk in chunked(data, cuts) for line in decoder.feed(chunk)]
    assert got == [line.strip() for line in lines if line.strip()]


@pytest.mark.parametrize("text", TRICKY)
def test_only_a_line_feed_ends_a_line(text: str) -> None:
    line = f'"a{text}b"'.encode()
    decoder = LineDecoder(LIMIT)
    assert [got for byte in line for got in decoder.feed(bytes([byte]))] == []
    assert decoder.feed(b"\n") == [line]


def test_an_unfinished_line_is_not_a_line() -> None:
    decoder = LineDecoder(LIMIT)
    assert decoder.feed(b"one\ntw") == [b"one"]
    assert decoder.feed(b"") == []
    assert decoder.feed(b"o\n\n\r\n") == [b"two"]


@pytest.mark.parametrize("size", [999, 1000])
@pytest.mark.parametrize("step", [1, 7, 5000])
def test_a_line_may_be_as_long_as_the_limit(size: int, step: int) -> None:
    decoder = LineDecoder(LIMIT)
    data = b"x" * size + b"\n"
    got = [line for at in range(0, len(data), step) for line in decoder.feed(data[at : at + step])]
    assert got == [b"x" * size]


@pytest.mark.parametrize("step", [1, 7, 5000])
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_longer_line_is_an_overflow(step: int, end: bytes) -> None:
    decoder = LineDecoder(LIMIT)
    data = b"x" * 1001 + end
    with pytest.raises(LineOverflow, match="1000 bytes"):
        for at in range(0, len(data), step):
            decoder.feed(data[at : at + step])


def test_the_limit_is_of_a_line_not_of_the_stream() -> None:
    decoder = LineDecoder(LIMIT)
    for _ in range(50):
        assert decoder.feed(b"x" * 900 + b"\n") == [b"x" * 900]
