"""What an event costs on its way into a stream."""

from pathlib import Path

from benchmarks.jobs import HttpJob, Job
from benchmarks.processes import free_port, module, serving
from benchmarks.report import Row
from benchmarks.series import Effort, Generator, Series, cpu, rate

_EVENTS = 2_000
"""Per stream."""


def measure_events(folder: Path, generator: Generator, series: Series, effort: Effort) -> list[Row]:
    """The gateway's stream beside aiohttp-sse and beside frames written by hand."""
    port = free_port()
    command = module("benchmarks.servers.events", str(port))
    with serving(command, port, folder / "events.log") as process:
        jobs: dict[str, Job] = {}
        for name in ("bare", "library", "gateway"):
            request = f"GET /{name}?count={_EVENTS} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
            jobs[f"{_EVENTS} events, {name}"] = HttpJob(
                port, [request], 1, effort.seconds, watch=[process.pid]
            )
        series.measure(generator, jobs, effort.rounds)
    return _rows(series)


def _rows(series: Series) -> list[Row]:
    section = "Event streams: events per second, in proportion to a bare StreamResponse"
    base = f"{_EVENTS} events, bare"
    rows = []
    for name, what in (("library", "aiohttp-sse"), ("gateway", "the gateway's EventStream")):
        ours = f"{_EVENTS} events, {name}"
        rows.append(Row(section, what, series.ratio(ours, base, rate)))
        rows.append(Row(section, f"{what}: CPU per event", series.ratio(ours, base, cpu)))
    return rows
