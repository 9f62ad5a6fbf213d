import time
import tracemalloc
from typing import Any

import pytest
import structlog
from structlog.typing import EventDict

from mcpgw.config.schema import ServerLimits
from mcpgw.runtimes.native import NativeRuntime
from mcpgw.runtimes.stderr import KEPT_BYTES, LINE_BYTES, StderrLog
from mcpgw.units import MIB
from tests.runtimes.conftest import Recorder, Scene, eventually


def log_of(rate: int = 1000) -> StderrLog:
    return StderrLog(server="srv", instance="srv#1", rate=rate)


def lines_of(logs: list[EventDict]) -> list[Any]:
    return [entry["line"] for entry in logs if "line" in entry]


@pytest.mark.parametrize(
    ("chunks", "lines"),
    [
        ([b"one\ntwo\n"], ["one", "two"]),
        ([b"on", b"e\ntw", b"o\n"], ["one", "two"]),
        ([b"dos\r\nlines\r", b"\nmore"], ["dos", "lines", "more"]),
        ([b"10%\r20%\r30%\n"], ["10%", "20%", "30%"]),
        ([b"\n\n \n"], [" "]),
        ([b"caf\xc3", b"\xa9\n"], ["café"]),
        ([b"bad \xff byte\n"], ["bad � byte"]),
        ([b"\x1b[31mred\x1b[0m\x07\tend\n"], ["red\tend"]),
        ([b"unfinished"], ["unfinished"]),
    ],
)
async def test_stderr_is_logged_by_the_line(chunks: list[bytes], lines: list[str]) -> None:
    with structlog.testing.capture_logs() as logs:
        log = log_of()
        for chunk in chunks:
            log.receive(chunk)
        assert list(log.tail()) == lines
        log.finish()
    assert lines_of(logs) == lines
    assert {(e["event"], e["log_level"], e["server"], e["instance"]) for e in logs} == {
        ("instance.stderr", "info", "srv", "srv#1")
    }


@pytest.mark.parametrize("size", [1, 100, 64 * 1024])
async def test_a_line_without_end_is_cut_and_not_kept(size: int) -> None:
    with structlog.testing.capture_logs() as logs:
        log = log_of()
        for _ in range(0, 200_000, size):
            log.receive(b"x" * size)
        log.receive(b"\nnext\n")
        log.finish()
    assert lines_of(logs) == ["x" * LINE_BYTES + "…", "next"]


async def test_a_line_without_end_takes_no_memory() -> None:
    log, block = log_of(), b"x" * 64 * 1024
    tracemalloc.start()
    try:
        for _ in range(256):
            log.receive(block)
        assert tracemalloc.get_traced_memory()[1] < MIB
    finally:
        tracemalloc.stop()
    log.finish()


async def test_the_last_lines_are_kept_within_bounds() -> None:
    log = log_of()
    log.receive(b"".join(b"%d\n" % number for number in range(100)))
    assert log.tail() == tuple(str(number) for number in range(80, 100))
    log.receive((b"y" * 3000 + b"\n") * 20)
    assert len(log.tail()) == KEPT_BYTES // 3000
    log.finish()


async def test_lines_beyond_the_rate_are_counted_and_still_kept() -> None:
    with structlog.testing.capture_logs() as logs:
        log = log_of(rate=3)
        log.receive(b"".join(b"%d\n" % number for number in range(10)))
        log.finish()
        log.receive(b"later\n")
        log.finish()
    assert lines_of(logs) == ["0", "1", "2", "later"]
    assert [entry["suppressed"] for entry in logs if "suppressed" in entry] == [7]
    assert log.tail()[-2:] == ("9", "later")


async def test_the_rate_holds_per_second() -> None:
    with structlog.testing.capture_logs() as logs:
        log = log_of(rate=1)
        log.receive(b"a\nb\n")
        await eventually(lambda: len(logs) == 2)
        log.receive(b"c\n")
        log.finish()
    assert lines_of(logs) == ["a", "c"]
    assert [entry["suppressed"] for entry in logs if "suppressed" in entry] == [1]


async def test_a_flood_is_linear_and_stalls_neither_its_own_stdout_nor_another_instance(
    runtime: NativeRuntime, receiver: Recorder, scene: Scene
) -> None:
    echo = Recorder()
    flood = scene.python("flood", str(20 * MIB), limits=ServerLimits(stderr_rate=10))
    longest = 0.0
    with structlog.testing.capture_logs() as logs:
        async with runtime.start(scene.spec("cat"), echo) as other:
            async with runtime.start(flood, receiver):
                rounds = 0
                while b"after" not in receiver.data:
                    begun = time.monotonic()
                    other.write(b"%d\n" % rounds)
                    await echo.received(b"%d\n" % rounds, within=5)
                    longest = max(longest, time.monotonic() - begun)
                    rounds += 1
                    echo.data.clear()
            assert receiver.exit.stderr[-1] == "the last words"
    assert rounds > 10
    assert longest < 0.5
    assert len(lines_of(logs)) < 200
    counted = sum(entry.get("suppressed", 0) for entry in logs) + len(lines_of(logs))
    assert counted > 20 * MIB / 80
