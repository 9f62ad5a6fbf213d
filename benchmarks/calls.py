"""Calls with small and with large results, through the gateway and past it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import gateway as gw
from benchmarks import messages
from benchmarks.gateway import Gateway, echo_command, open_gateway
from benchmarks.jobs import HttpJob, Job, PipeJob, SpawnJob
from benchmarks.processes import free_port, module, serving
from benchmarks.report import Row, Target
from benchmarks.series import Effort, Generator, Series, cpu, p50, rate

BUSY = 32
"""Connections, where one is not meant."""

PAUSE = 0.12
"""Seconds between the calls that a warm launcher is measured by: time to warm the next one."""

STEPS = 3
"""Progress notifications of a call that streams."""

MEGABYTE = 1_000_000
SMALL = {"text": "hello from the other side"}


@dataclass(frozen=True, slots=True)
class Bench:
    """The processes that calls go to."""

    gateway: Gateway
    bare_port: int
    bare_pid: int

    def http(
        self, requests: list[str], connections: int, effort: Effort, pause: float = 0
    ) -> HttpJob:
        """A job for the gateway."""
        port, watch = self.gateway.port, [self.gateway.pid]
        return HttpJob(
            port, requests, connections, effort.seconds, warmup=0.25, pause=pause, watch=watch
        )

    def bare(self, requests: list[str], connections: int, effort: Effort) -> HttpJob:
        """The same job for bare aiohttp."""
        watch = [self.bare_pid]
        return HttpJob(self.bare_port, requests, connections, effort.seconds, watch=watch)


@contextmanager
def open_bench(folder: Path) -> Iterator[Bench]:
    """Run the gateway and bare aiohttp for the length of the block."""
    with ExitStack() as stack:
        port = free_port()
        command = module("benchmarks.servers.bare_http", str(port))
        bare = stack.enter_context(serving(command, port, folder / "bare.log"))
        gateway = stack.enter_context(open_gateway(folder))
        gateway.open_sessions(BUSY)
        yield Bench(gateway, port, bare.pid)


def measure_small(bench: Bench, generator: Generator, series: Series, effort: Effort) -> list[Row]:
    """Small results: what a call costs."""
    jobs: dict[str, Job] = {}
    for connections in (1, BUSY):
        jobs |= _small_jobs(bench, connections, effort)
    jobs |= _start_jobs(bench, effort)
    series.measure(generator, jobs, effort.rounds)
    return [*_small_rows(series), *_start_rows(series)]


def _small_jobs(bench: Bench, connections: int, effort: Effort) -> dict[str, Job]:
    gateway = bench.gateway
    params = messages.call_params("echo", SMALL)
    steps = messages.call_params("steps", {"count": STEPS}, token="token")
    modern = gateway.modern(gw.MODERN, params)
    line = messages.modern_line("tools/call", params)
    jobs: dict[str, Job] = {
        "pipe": PipeJob(echo_command("modern"), line, connections, effort.seconds),
        "aiohttp": bench.bare(modern, connections, effort),
        "modern daemon": bench.http(modern, connections, effort),
        "legacy daemon": bench.http(gateway.legacy(params), connections, effort),
        "modern to legacy": bench.http(gateway.modern(gw.LEGACY, params), connections, effort),
        "progress": bench.http(gateway.modern(gw.MODERN, steps), connections, effort),
    }
    return {f"{name}, {connections}": job for name, job in jobs.items()}


def _start_jobs(bench: Bench, effort: Effort) -> dict[str, Job]:
    gateway = bench.gateway
    params = messages.call_params("echo", SMALL)
    longer = Effort(effort.rounds, max(1.0, 1.5 * effort.seconds))
    handshake = [messages.modern_line("server/discover", {})]
    call = [messages.modern_line("tools/call", params)]
    cold = gateway.modern(gw.COLD, params)
    jobs: dict[str, Job] = {
        "bare start": SpawnJob(echo_command("modern"), handshake + call, effort.seconds),
        "cold launcher, 1": bench.http(cold, 1, effort),
        f"cold launcher, {BUSY}": bench.http(cold, BUSY, longer),
    }
    for name, path in (("daemon, paced", gw.MODERN), ("warm launcher, paced", gw.WARM)):
        requests = gateway.modern(path, params)
        jobs[name] = bench.http(requests, 1, longer, pause=PAUSE)
    return jobs


def _small_rows(series: Series) -> list[Row]:
    section = f"Small calls, {BUSY} connections: in proportion to a bare aiohttp handler"
    names = ("modern daemon", "legacy daemon", "modern to legacy", "progress")
    base = f"aiohttp, {BUSY}"
    rows = []
    for name in names:
        what = f"{name} ({STEPS} notifications, SSE)" if name == "progress" else name
        aim = None if name == "progress" else Target(0.5, "at least")
        share = series.ratio(f"{name}, {BUSY}", base, rate)
        work = series.ratio(f"{name}, {BUSY}", base, cpu)
        rows.append(Row(section, f"{what}: calls per second", share, target=aim))
        rows.append(Row(section, f"{what}: CPU per call", work))
    rows.append(Row(section, "bare pipe: calls per second", series.ratio("pipe, 32", base, rate)))
    section = "Small calls, 1 connection: beside the bare pipe"
    for name in names:
        aim = Target(0.35) if name == "modern daemon" else None
        added = series.difference(f"{name}, 1", "pipe, 1", lambda o: o.p50 * 1e3)
        rows.append(Row(section, f"{name}: added at the median", added, "ms", aim))
    added = series.difference("aiohttp, 1", "pipe, 1", lambda o: o.p50 * 1e3)
    rows.append(Row(section, "bare aiohttp, for comparison", added, "ms"))
    return rows


def _start_rows(series: Series) -> list[Row]:
    section = "Launcher: a fresh instance for every call"
    busy = series.ratio(f"cold launcher, {BUSY}", "bare start", rate)
    warm = series.ratio("warm launcher, paced", "daemon, paced", p50)
    cold = series.ratio("cold launcher, 1", "bare start", p50)
    return [
        Row(section, "warm: median time / that of a daemon", warm, target=Target(2)),
        Row(section, "cold: median time / start and call without gateway", cold),
        Row(section, f"cold, {BUSY} connections: calls per second / the same", busy),
    ]


def measure_large(bench: Bench, generator: Generator, series: Series, effort: Effort) -> list[Row]:
    """Large results: what a megabyte costs."""
    sizes = ((1, 1), (1, BUSY), (20, 1)) if effort.thorough else ((1, 1), (20, 1))
    rounds = 5 if effort.thorough else 2
    rows = []
    for kind in ("prose", "dense"):
        for megabytes, connections in sizes:
            name = f"{megabytes} MB {kind}, {connections}"
            jobs = _large_jobs(bench, kind, megabytes, connections, effort)
            series.measure(generator, {f"{k} {name}": job for k, job in jobs.items()}, rounds)
            rows += _large_rows(series, name)
    return rows


def _large_jobs(
    bench: Bench, kind: str, megabytes: int, connections: int, effort: Effort
) -> dict[str, Job]:
    params = messages.call_params("big", {"kind": kind, "bytes": megabytes * MEGABYTE})
    modern = bench.gateway.modern(gw.MODERN, params)
    line = messages.modern_line("tools/call", params)
    crossed = bench.gateway.modern(gw.LEGACY, params)
    seconds = effort.seconds * (1 if megabytes == 1 else 1.5)
    longer = Effort(effort.rounds, seconds)
    return {
        "pipe": PipeJob(echo_command("modern"), line, connections, seconds),
        "aiohttp": bench.bare(modern, connections, longer),
        "modern": bench.http(modern, connections, longer),
        "crossed": bench.http(crossed, connections, longer),
    }


def _large_rows(series: Series, name: str) -> list[Row]:
    section = "Large results: bytes per second, in proportion"
    what = f"{name} connection{'s' if name.endswith(str(BUSY)) else ''}"
    return [
        Row(section, f"{what}: to pipe", series.ratio(f"modern {name}", f"pipe {name}", rate)),
        Row(
            section, f"{what}: to aiohttp", series.ratio(f"modern {name}", f"aiohttp {name}", rate)
        ),
        Row(
            section,
            f"{what}: crossing eras, to same era",
            series.ratio(f"crossed {name}", f"modern {name}", rate),
        ),
    ]
