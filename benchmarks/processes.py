"""Processes that are measured: started, awaited, looked at, stopped. Linux only."""

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_PATIENCE = 60.0


class Broken(RuntimeError):
    """Something did not start or did not answer, so there is nothing to measure."""


def cpu_seconds(pid: int) -> float:
    """The CPU time of all threads of a process, to the nanosecond."""
    ran = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        ran += int((task / "schedstat").read_text().split()[0])
    return ran / 1e9


def resident(pid: int) -> int:
    """The resident bytes of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(
    command: Sequence[str], log: Path, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program for the length of the block, with pipes for stdin and stdout."""
    with log.open("ab") as stderr:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, **(env or {})},
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


@contextmanager
def serving(
    command: Sequence[str], port: int, log: Path, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program that listens on `port`, for the length of the block.

    Raises:
        Broken: It does not listen.
    """
    with running(command, log, env) as process:
        await_port(process, port, log)
        yield process


def await_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Wait until somebody listens on a port.

    Raises:
        Broken: The process ended, or it took too long.
    """
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.002)
        else:
            return
    words = log.read_text(errors="replace")[-2000:]
    raise Broken(f"{process.args!r} does not listen; its last words:\n{words}")


def post(port: int, path: str, headers: dict[str, str], body: bytes) -> dict[str, str]:
    """Send one request that has to work; return the headers of its answer, in lower case.

    Raises:
        Broken: It did not work.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
    try:
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        answer = response.read()
    finally:
        connection.close()
    if response.status not in (200, 202) or b'"error"' in answer[:200]:
        raise Broken(f"POST {path}: {response.status} {answer[:300]!r}")
    return {name.lower(): value for name, value in response.getheaders()}


def ask(process: subprocess.Popen[bytes], line: bytes) -> bytes:
    """Write a line to a program and read one.

    Raises:
        Broken: It has ended.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(line + b"\n")
    process.stdin.flush()
    answer: IO[bytes] = process.stdout
    if not (read := answer.readline()):
        raise Broken(f"{process.args!r} has ended")
    return read


def module(name: str, *args: str) -> list[str]:
    """The command that runs a module with this Python."""
    return [sys.executable, "-m", name, *args]
