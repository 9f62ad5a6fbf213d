"""The log: one line per event on stderr, for machines as JSON and for people on a terminal.

Logging may happen anywhere, pumps included, so it neither raises nor lets a value reach
a terminal as anything but text: log lines quote what strangers wrote.
"""

import json
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, WrappedLogger

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "console", "json"]

FOREIGN_EVENT: Final = "library.logged"
"""What a record of the standard library's logging becomes."""

_LEVELS: Final = {"warn": "warning", "exception": "error", "fatal": "critical"}
"""Names of methods that are not names of levels."""

_NUMBERS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}

_STEERING: Final = re.compile(rb"\x7f|\xc2[\x80-\x9f]")
"""What JSON leaves as it is and a terminal acts on: DEL and the C1 controls, in UTF-8."""

_BARE: Final = re.compile(r"^[^\s\"'=\[\]{}\\]+$")
"""Text that needs no quotes on the console."""

_RESET: Final = "\x1b[0m"
_DIM: Final = "\x1b[2m"
_BOLD: Final = "\x1b[1m"
_COLOURS: Final = {
    "debug": _DIM,
    "info": "\x1b[32m",
    "warning": "\x1b[33m",
    "error": "\x1b[31m",
    "critical": "\x1b[31m",
}


def configure(level: Level, format: Format = "auto", stream: TextIO | None = None) -> None:
    """Send every event of at least `level` to `stream` (stderr), from structlog and logging."""
    stream = sys.stderr if stream is None else stream
    terminal = stream.isatty()
    render: Any = _render_json
    if format == "console" or (format == "auto" and terminal):
        render = _Console(colours=terminal and _colours_wanted())
    structlog.configure(
        processors=[render],
        wrapper_class=structlog.make_filtering_bound_logger(_NUMBERS[level]),
        context_class=dict,
        logger_factory=lambda *_: _Writer(stream),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=_NUMBERS[level], handlers=[_Forward()], force=True)
    logging.captureWarnings(True)


def emitter(event: str, level: Level) -> Callable[..., None]:
    """A function that logs `event` with the fields it is given, for an event of every request.

    It goes straight to what `configure` set up; a logger's own way costs as much again.
    """
    if not structlog.get_logger().bind().is_enabled_for(_NUMBERS[level]):
        return lambda **_: None
    setup = structlog.get_config()
    writer, processors = setup["logger_factory"](), setup["processors"]

    def emit(**fields: object) -> None:
        line: Any = {"event": event, **fields}
        try:
            for process in processors:
                line = process(writer, level, line)
        except structlog.DropEvent:
            return
        writer.msg(line)

    return emit


def _colours_wanted() -> bool:
    return "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


class _Writer:
    """Where lines go. A log that nobody reads any more is no reason to fail."""

    def __init__(self, stream: TextIO) -> None:
        binary = getattr(stream, "buffer", None)
        # Unbuffered: a line that could not be written must not wait to fail again at exit.
        self._write = (
            _text_writer(stream) if binary is None else getattr(binary, "raw", binary).write
        )

    def msg(self, line: bytes) -> None:
        try:
            while line and (count := self._write(line)):
                line = line[count:]
        except (OSError, ValueError):  # full, closed, or nobody at the other end
            pass

    debug = info = warn = warning = error = exception = critical = fatal = log = msg


def _text_writer(stream: TextIO) -> Callable[[bytes], int]:
    def write(line: bytes) -> int:
        stream.write(line.decode())
        return len(line)

    return write


class _Forward(logging.Handler):
    """Passes records of the standard library's logging on as events."""

    def emit(self, record: logging.LogRecord) -> None:
        log = getattr(structlog.get_logger(), _method_for(record.levelno))
        try:
            message = record.getMessage()
        except (TypeError, ValueError):  # arguments that do not fit
            message = str(record.msg)
        log(FOREIGN_EVENT, logger=record.name, message=message, exc_info=record.exc_info)


def _method_for(number: int) -> str:
    reached = [name for name, level in _NUMBERS.items() if number >= level]
    return reached[-1] if reached else "debug"


def _render_json(_logger: WrappedLogger, method: str, event: EventDict) -> bytes:
    exc_info = event.pop("exc_info", None)
    entry = {
        "timestamp": datetime.now(UTC),
        "level": _LEVELS.get(method, method),
        "event": event.pop("event", ""),
        **event,
    }
    if exc_info:
        entry["exception"] = "".join(_traceback(exc_info))
    try:
        line = msgspec.json.encode(entry, enc_hook=str)
    except (TypeError, ValueError, OverflowError, RecursionError):
        line = _encode_odd(entry)
    if b"\x7f" in line or b"\xc2" in line:
        line = _STEERING.sub(lambda found: b"\\u00%02x" % found[0][-1], line)
    return line + b"\n"


def _encode_odd(entry: EventDict) -> bytes:
    """Encode what msgspec refuses, such as half a surrogate pair."""
    plain = {
        key: value if isinstance(value, int | str) else str(value) for key, value in entry.items()
    }
    return json.dumps({**plain, "timestamp": entry["timestamp"].isoformat()}).encode()


class _Console:
    """Writes an event as ``time LEVEL event key=value ...``."""

    def __init__(self, *, colours: bool) -> None:
        self._colours = colours

    def __call__(self, _logger: WrappedLogger, method: str, event: EventDict) -> bytes:
        level = _LEVELS.get(method, method)
        exc_info = event.pop("exc_info", None)
        words = [
            self._paint(_DIM, datetime.now(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"),
            self._paint(_COLOURS.get(level, ""), f"{level:<7}"),
            self._paint(_BOLD, _harmless(str(event.pop("event", "")))),
        ]
        words += [
            self._paint(_DIM, f"{_harmless(key)}=") + _shown(value) for key, value in event.items()
        ]
        lines = [" ".join(words)]
        for part in _traceback(exc_info) if exc_info else ():
            lines += ["    " + _harmless(line) for line in part.splitlines()]
        return ("\n".join(lines) + "\n").encode(errors="backslashreplace")

    def _paint(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_RESET}" if self._colours else text


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, tuple | list | dict | set | frozenset):
        return _harmless(repr(value))
    text = str(value)
    return text if text.isprintable() and _BARE.match(text) else repr(text)


def _harmless(text: str) -> str:
    """Give text in which everything a terminal would not just show is written as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _traceback(exc_info: object) -> Iterable[str]:
    if isinstance(exc_info, tuple):
        exc_info = exc_info[1]
    exc = exc_info if isinstance(exc_info, BaseException) else sys.exc_info()[1]
    return traceback.format_exception(exc) if exc else ()
