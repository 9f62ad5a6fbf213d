"""The load generator, a process of its own: one job per line on stdin, one outcome per line out.

It speaks just enough HTTP/1.1 to keep connections busy, so that the two cores are
left to what is measured.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import cycle
from typing import cast

import msgspec
import uvloop

from benchmarks.jobs import HttpJob, Job, Outcome, PipeJob, SpawnJob
from benchmarks.processes import cpu_seconds

_TOO_LONG = 120.0
"""Seconds after which a job is given up."""

_END_OF_CHUNKS = b"\r\n0\r\n\r\n"


class Stopwatch:
    """Counts answers, once it is started."""

    def __init__(self, watch: list[int]) -> None:
        self._watch = watch
        self.started: float | None = None
        self.latencies: list[float] = []
        self.bytes = 0

    def start(self) -> None:
        """Count from now on."""
        self._cpu = [cpu_seconds(pid) for pid in self._watch]
        self._own_cpu = time.process_time()
        self.started = time.perf_counter()

    def note(self, sent: float, size: int) -> None:
        """Count an answer to what was sent then."""
        if self.started is not None:
            self.latencies.append(time.perf_counter() - sent)
            self.bytes += size

    def stop(self, problem: str = "") -> Outcome:
        """Sum up."""
        if self.started is None or not self.latencies:
            return Outcome(0, 1, 0, 0, 0, 0, 0, problem=problem or "no answers")
        seconds = time.perf_counter() - self.started
        ordered = sorted(self.latencies)
        count = len(ordered)
        return Outcome(
            count=count,
            seconds=seconds,
            p50=ordered[count // 2],
            p99=ordered[int(count * 0.99)],
            slowest=ordered[-1],
            bytes=self.bytes,
            own_cpu=time.process_time() - self._own_cpu,
            cpu=[cpu_seconds(p) - c for p, c in zip(self._watch, self._cpu, strict=True)],
            problem=problem,
        )


class Run:
    """One job of closed loops: when it begins to count, and when it is over."""

    def __init__(self, seconds: float, warmup: float, count: int | None, watch: list[int]) -> None:
        loop = asyncio.get_running_loop()
        self.watch = Stopwatch(watch)
        self.over: asyncio.Future[str] = loop.create_future()
        self.left = count
        loop.call_later(_TOO_LONG, self.end, "it took too long")
        if count is not None:
            self.watch.start()
        else:
            loop.call_later(warmup, self.watch.start)
            loop.call_later(warmup + seconds, self.end)

    def may_send(self) -> bool:
        """Whether a further request is wanted."""
        if self.over.done():
            return False
        if self.left is None:
            return True
        self.left -= 1
        return self.left >= 0

    def answered(self, sent: float, size: int) -> None:
        """Count an answer, and see whether it was the last."""
        self.watch.note(sent, size)

    def end(self, problem: str = "") -> None:
        """Be over."""
        if not self.over.done():
            self.over.set_result(problem)


class Connection(asyncio.Protocol):
    """One HTTP connection, one request at a time."""

    def __init__(self, run: Run, request: bytes, pause: float, idle: Callable[[], None]) -> None:
        self._run = run
        self._request = request
        self._pause = pause
        self._idle = idle
        self._head = b""
        self._left: int | None = None
        self._tail = b""
        self._size = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast(asyncio.Transport, transport)
        self.send()

    def send(self) -> None:
        """Send the request again, if it is wanted."""
        if not self._run.may_send():
            self._idle()
            return
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._size += len(data)
        if self._left is not None:
            self._left -= len(data)
            if self._left <= 0:
                self._answered()
        elif self._tail:
            self._chunks(data)
        else:
            self._first(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._run.end(f"a connection was lost ({exc})")

    def _first(self, data: bytes) -> None:
        data = self._head + data
        head, end, body = data.partition(b"\r\n\r\n")
        if not end:
            self._head = data
            return
        self._head = b""
        if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 202")):
            self._run.end(f"refused: {data[:400]!r}")
            return
        lower = head.lower()
        start = lower.find(b"\r\ncontent-length:")
        if start < 0:
            self._chunks(end + body)
            return
        line = lower[start + 17 :].partition(b"\r\n")[0]
        if b'"error":' in body[:100]:
            self._run.end(f"an error: {body[:400]!r}")
            return
        self._left = int(line) - len(body)
        if self._left <= 0:
            self._answered()

    def _chunks(self, data: bytes) -> None:
        self._tail = (self._tail + data)[-len(_END_OF_CHUNKS) :]
        if self._tail == _END_OF_CHUNKS:
            self._answered()

    def _answered(self) -> None:
        self._run.answered(self._sent, self._size)
        self._left, self._tail, self._size = None, b"", 0
        if self._pause:
            asyncio.get_running_loop().call_later(self._pause, self.send)
        else:
            self.send()


async def run_http(job: HttpJob) -> Outcome:
    """Keep connections busy."""
    loop = asyncio.get_running_loop()
    run = Run(job.seconds, job.warmup, job.count, job.watch)
    busy = job.connections
    all_idle = asyncio.Event()

    def idle() -> None:
        nonlocal busy
        busy -= 1
        if not busy:
            run.end()
            all_idle.set()

    transports = []
    for _, request in zip(range(job.connections), cycle(job.requests), strict=False):
        payload = request.encode()
        transport, _ = await loop.create_connection(
            lambda payload=payload: Connection(run, payload, job.pause, idle),  # type: ignore[misc]
            "127.0.0.1",
            job.port,
        )
        transports.append(transport)
    outcome = run.watch.stop(await run.over)
    if not outcome.problem:
        # Left alone, a session would still be at work when the next job uses its id again.
        async with asyncio.timeout(_TOO_LONG):
            await all_idle.wait()
    for transport in transports:
        transport.abort()
    return outcome


class Pipe:
    """A program spoken to directly, with some requests in flight."""

    def __init__(self, run: Run, process: "subprocess.Popen[bytes]", line: bytes) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._run = run
        self._line = line
        self._stdin, self._stdout = process.stdin.fileno(), process.stdout.fileno()
        self._sent: list[float] = []
        self._size = 0
        asyncio.get_running_loop().add_reader(self._stdout, self._read)

    def send(self) -> None:
        """Write the request once more, if it is wanted."""
        if self._run.may_send():
            self._sent.append(time.perf_counter())
            os.write(self._stdin, self._line)

    def close(self) -> None:
        """Stop reading."""
        asyncio.get_running_loop().remove_reader(self._stdout)

    def _read(self) -> None:
        if not (data := os.read(self._stdout, 65536)):
            self._run.end("the program ended")
            self.close()
            return
        self._size += len(data)
        for _ in range(data.count(b"\n")):
            self._run.answered(self._sent.pop(0), self._size)
            self._size = 0
            self.send()


def start(command: list[str]) -> "subprocess.Popen[bytes]":
    """Start a program with pipes."""
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


async def run_pipe(job: PipeJob) -> Outcome:
    """Keep a pipe busy."""
    process = start(job.command)
    run = Run(job.seconds, job.warmup, None, [process.pid])
    pipe = Pipe(run, process, job.line.encode() + b"\n")
    for _ in range(job.in_flight):
        pipe.send()
    outcome = run.watch.stop(await run.over)
    pipe.close()
    process.kill()
    process.communicate()
    return outcome


def run_spawn(job: SpawnJob) -> Outcome:
    """Start a program for every request, and wait for its last answer."""
    watch = Stopwatch([])
    watch.start()
    assert watch.started is not None
    while time.perf_counter() < watch.started + job.seconds:
        sent = time.perf_counter()
        process = start(job.command)
        assert process.stdin is not None
        assert process.stdout is not None
        size = 0
        for line in job.lines:
            process.stdin.write(line.encode() + b"\n")
            process.stdin.flush()
            if '"id"' in line:
                size += len(process.stdout.readline())
        watch.note(sent, size)
        process.stdin.close()
        process.wait()
        process.stdout.close()
    return watch.stop()


def run_job(job: Job) -> Outcome:
    """Do what was asked."""
    match job:
        case HttpJob():
            return uvloop.run(run_http(job))
        case PipeJob():
            return uvloop.run(run_pipe(job))
        case SpawnJob():
            return run_spawn(job)


def main() -> None:
    """Do one job after the other, until stdin ends."""
    decoder = msgspec.json.Decoder(Job)
    for line in sys.stdin.buffer:
        outcome = run_job(decoder.decode(line))
        sys.stdout.buffer.write(msgspec.json.encode(outcome) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
