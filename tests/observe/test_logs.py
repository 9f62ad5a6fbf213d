import io
import json
import logging
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog

from mcpgw.observe import logs

EVIL = "\x1b[2Jgone\r\n2026-01-01 fake line\x07\x7f\x9b31m\u202egnp.exe\u2028\udc80"
"""What a server may write to clear the screen, forge a line or hide its name."""


class Odd:
    """Something whose looks are up to a stranger."""

    def __repr__(self) -> str:
        return EVIL


@pytest.fixture(autouse=True)
def untouched() -> Iterator[None]:
    """Leave the configuration of both kinds of logging as it was found."""
    root = logging.getLogger()
    before = structlog.get_config(), root.level, root.handlers[:]
    yield
    structlog.configure(**before[0])
    root.setLevel(before[1])
    root.handlers[:] = before[2]
    logging.captureWarnings(False)


def stream() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="ascii")


def written(to: io.TextIOWrapper) -> str:
    buffer = to.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode()


def as_json(**fields: Any) -> dict[str, Any]:
    to = stream()
    logs.configure("debug", "json", to)
    structlog.get_logger("x").info("a.b", **fields)
    [line] = written(to).splitlines()
    entry: dict[str, Any] = json.loads(line)
    return entry


def on_console(**fields: Any) -> str:
    to = stream()
    logs.configure("debug", "console", to)
    structlog.get_logger("x").info("a.b", **fields)
    return written(to)


def test_json_has_time_level_event_and_fields() -> None:
    entry = as_json(server="git", instance="git#3", status=200, ok=True, none=None)
    at = datetime.fromisoformat(entry.pop("timestamp"))
    assert abs((datetime.now(UTC) - at).total_seconds()) < 60
    assert entry == {
        "level": "info",
        "event": "a.b",
        "server": "git",
        "instance": "git#3",
        "status": 200,
        "ok": True,
        "none": None,
    }


def test_the_console_shows_the_same_on_one_line() -> None:
    line = on_console(server="git", reason="two words", n=1.23456789, stderr=("a", "b"), none=None)
    at, level, rest = line.split(maxsplit=2)
    assert datetime.fromisoformat(at).tzinfo == UTC
    assert level == "info"
    assert rest == "a.b server=git reason='two words' n=1.23457 stderr=('a', 'b') none=None\n"


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"line": EVIL}, id="text"),
        pytest.param({"line": "\x07"}, id="a single character"),
        pytest.param({"stderr": (EVIL,)}, id="tuple"),
        pytest.param({"things": [Odd()]}, id="looks"),
        pytest.param({"deep": {EVIL: [EVIL]}}, id="deep"),
        pytest.param({EVIL: 1}, id="key"),
        pytest.param({"error": ValueError(EVIL)}, id="exception"),
        pytest.param({"path": Path(EVIL)}, id="path"),
    ],
)
def test_nothing_in_a_value_acts_on_a_terminal(fields: dict[str, Any]) -> None:
    """Security: log injection."""
    line = on_console(**fields)
    assert line.endswith("\n")
    assert line[:-1].isprintable()
    assert line[:-1].isascii()


def test_nothing_in_an_exception_acts_on_a_terminal() -> None:
    """Security: log injection."""
    to = stream()
    logs.configure("info", "console", to)
    try:
        raise ValueError(EVIL)
    except ValueError:
        structlog.get_logger().exception("a.b")
    text = written(to)
    assert "ValueError" in text
    assert all(line.isprintable() for line in text.split("\n"))
    assert "\n2026-01-01 fake" not in text


def test_json_keeps_a_value_whole_and_a_terminal_safe() -> None:
    to = stream()
    logs.configure("info", "json", to)
    evil = EVIL.replace("\udc80", "")
    structlog.get_logger().info("a.b", line=evil)
    text = written(to)
    assert json.loads(text)["line"] == evil
    assert not {"\x1b", "\x7f", "\x9b", "\r"} & set(text)
    assert text.count("\n") == 1


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param("half a pair: \udc80", id="surrogate"),
        pytest.param(10**40, id="huge number"),
        pytest.param(object, id="type"),
        pytest.param({1: {2}}, id="keys that are no text"),
        pytest.param(float("nan"), id="not a number"),
        pytest.param(b"\xff", id="bytes"),
    ],
)
@pytest.mark.parametrize("render", [as_json, on_console])
def test_a_log_call_never_raises(render: Any, odd: object) -> None:
    assert render(odd=odd, more="x")


def test_a_value_that_contains_itself_is_written_somehow() -> None:
    loop: list[object] = []
    loop.append(loop)
    assert as_json(loop=loop)["loop"]


def test_levels_below_the_chosen_one_are_dropped() -> None:
    to = stream()
    logs.configure("warning", "json", to)
    log = structlog.get_logger()
    log.debug("a.debug")
    log.info("a.info")
    log.warning("a.warning")
    log.error("a.error")
    lines = [json.loads(line) for line in written(to).splitlines()]
    assert [(line["event"], line["level"]) for line in lines] == [
        ("a.warning", "warning"),
        ("a.error", "error"),
    ]


def test_the_logging_of_libraries_takes_the_same_way() -> None:
    to = stream()
    logs.configure("info", "json", to)
    logging.getLogger("asyncio").warning("took %s seconds", 1.5)
    logging.getLogger("asyncio").debug("nobody wants to know")
    logging.getLogger("odd").critical("%d", "not a number")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("beware", stacklevel=1)
    first, odd, warning = [json.loads(line) for line in written(to).splitlines()]
    assert first["event"] == "library.logged"
    assert (first["logger"], first["message"]) == ("asyncio", "took 1.5 seconds")
    assert (odd["level"], odd["message"]) == ("error", "%d")
    assert "beware" in warning["message"]


def test_an_exception_comes_with_its_traceback() -> None:
    to = stream()
    logs.configure("info", "json", to)
    try:
        raise LookupError("here")
    except LookupError as exc:
        structlog.get_logger().error("a.b", exc_info=exc)
        logging.getLogger("asyncio").exception("x")
    for line in written(to).splitlines():
        assert json.loads(line)["exception"].endswith("LookupError: here\n")


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("format", "environment", "coloured"),
    [
        ("auto", {}, True),
        ("auto", {"NO_COLOR": "1"}, False),
        ("auto", {"TERM": "dumb"}, False),
        ("console", {}, True),
    ],
)
def test_a_terminal_gets_the_console_with_colours_unless_told(
    monkeypatch: pytest.MonkeyPatch, format: Any, environment: dict[str, str], coloured: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    to = Terminal(io.BytesIO())
    logs.configure("info", format, to)
    structlog.get_logger().info("a.b")
    assert ("\x1b[" in written(to)) is coloured
    assert "{" not in written(to)


def test_anything_but_a_terminal_gets_json() -> None:
    to = stream()
    logs.configure("info", "auto", to)
    structlog.get_logger().info("a.b")
    assert json.loads(written(to))


def test_a_stream_of_text_will_do() -> None:
    to = io.StringIO()
    logs.configure("info", "json", to)
    structlog.get_logger().info("a.b", name="é")
    assert json.loads(to.getvalue())["name"] == "é"


def test_a_log_that_nobody_reads_is_no_reason_to_fail() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as to:
        logs.configure("info", "json", to)
        os.close(reader)
        structlog.get_logger().info("a.b")
    structlog.get_logger().info("to a closed stream")


def test_a_line_costs_little() -> None:
    """The budget is 10 µs on an idle machine; this one may be busy."""
    with Path(os.devnull).open("w") as to:
        logs.configure("info", "json", to)
        log = structlog.get_logger()
        fields = {"http": "POST", "status": 200, "server": "git", "request_id": "a" * 16}
        best = min(_seconds_for(log, 1000, fields) for _ in range(20))
    assert best / 1000 < 30e-6


def _seconds_for(log: Any, count: int, fields: dict[str, Any]) -> float:
    started = time.perf_counter()
    for _ in range(count):
        log.info("http.answered", **fields)
    return time.perf_counter() - started


def test_stderr_is_where_lines_go_by_default() -> None:
    code = "import structlog; from mcpgw.observe import logs; logs.configure('info')\n"
    code += "structlog.get_logger().info('a.b')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=30, check=True)
    assert done.stdout == b""
    assert json.loads(done.stderr)["event"] == "a.b"
