import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpgw.config.units import format_duration, format_size, parse_duration, parse_size
from mcpgw.units import Bytes, Seconds


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("250ms", 0.25),
        ("30s", 30),
        ("5m", 300),
        ("2h", 7200),
        ("1d", 86400),
        ("1m30s", 90),
        ("1h0m5s", 3605),
        ("1.5h", 5400),
        (" 30s ", 30),
        ("30", 30),
        ("0", 0),
        (30, 30),
        (0.5, 0.5),
        (Seconds(120), 120),
    ],
)
def test_durations_people_write(written: object, seconds: float) -> None:
    assert parse_duration(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param("30x", id="unknown unit"),
        pytest.param("", id="empty"),
        pytest.param("s", id="no number"),
        pytest.param("1m30", id="a part without unit"),
        pytest.param("1s1m", id="smaller unit first"),
        pytest.param("1s1s", id="a unit twice"),
        pytest.param("1:30", id="clock time"),
        pytest.param("-1s", id="negative text"),
        pytest.param(-1, id="negative number"),
        pytest.param(True, id="yes or no"),
        pytest.param(None, id="nothing"),
        pytest.param([30], id="list"),
        pytest.param("٣s", id="digits of another script"),
        pytest.param(float("nan"), id="not a number"),
        pytest.param(float("inf"), id="endless"),
        pytest.param("9" * 4000, id="longer than a float can say"),
    ],
)
def test_what_is_no_duration_is_refused_with_an_example(wrong: object) -> None:
    with pytest.raises(ValueError, match='expected a duration such as "30s"'):
        parse_duration(wrong)


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("512KiB", 512 * 2**10),
        ("4MiB", 4 * 2**20),
        ("1GiB", 2**30),
        ("10KB", 10_000),
        ("3MB", 3_000_000),
        ("1.5MiB", 3 * 2**19),
        ("10 mib", 10 * 2**20),
        ("100B", 100),
        ("4096", 4096),
        (4096, 4096),
    ],
)
def test_sizes_people_write(written: object, size: int) -> None:
    assert parse_size(written) == size


@pytest.mark.parametrize(
    "wrong", ["4MX", "4k", "", "MiB", "0", 0, -1, 1.5, "1.5B", True, None, "9" * 4000, 2**60]
)
def test_what_is_no_size_is_refused_with_an_example(wrong: object) -> None:
    with pytest.raises(ValueError, match='expected a size such as "4MiB"'):
        parse_size(wrong)


@given(st.integers(min_value=0, max_value=10**9))
def test_a_duration_reads_back_as_it_was_written(milliseconds: int) -> None:
    seconds = Seconds(milliseconds / 1000)
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=1e-5)


@given(st.integers(min_value=1, max_value=2**50))
def test_a_size_reads_back_as_it_was_written(size: int) -> None:
    assert parse_size(format_size(Bytes(size))) == size
