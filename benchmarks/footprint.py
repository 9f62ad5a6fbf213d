"""Memory, idle sessions, and the time to a first answer."""

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import gateway as gw
from benchmarks import messages
from benchmarks.calls import BUSY, MEGABYTE, SMALL
from benchmarks.gateway import ROOT, Gateway, open_gateway, write_config
from benchmarks.jobs import HttpJob
from benchmarks.processes import cpu_seconds, free_port, module, post, resident, serving
from benchmarks.report import Row, Target
from benchmarks.series import Effort, Generator, Spread

SESSIONS = 10_000
PYZ = ROOT / "dist" / "mcpgw.pyz"

_MIB = 2**20


def measure_memory(folder: Path, generator: Generator, effort: Effort) -> list[Row]:
    """Resident memory before and after what makes it grow."""
    section = "Memory of the gateway (resident)"
    rows = []
    with open_gateway(folder) as gateway:

        def note(what: str, target: Target | None = None) -> None:
            rows.append(Row(section, what, _mib(gateway), "MiB", target))

        note("after the first calls")
        small = gateway.modern(gw.MODERN, messages.call_params("echo", SMALL))
        generator.run(HttpJob(gateway.port, small, BUSY, max(1.0, effort.seconds)))
        note(f"after small calls on {BUSY} connections")
        params = messages.call_params("big", {"kind": "prose", "bytes": 20 * MEGABYTE})
        large = gateway.modern(gw.MODERN, params)
        generator.run(HttpJob(gateway.port, large, 4, count=12))
        note("after 20 MB results, four at a time")
    return rows


def measure_sessions(folder: Path, generator: Generator) -> list[Row]:
    """Many legacy sessions that do nothing."""
    section = f"{SESSIONS:,} idle legacy sessions"
    first = messages.http(gw.LEGACY, messages.legacy_headers(None), messages.initialize_line())
    with open_gateway(folder) as gateway:
        before = resident(gateway.pid)
        opened = generator.run(HttpJob(gateway.port, [first], BUSY, count=SESSIONS))
        grown = (resident(gateway.pid) - before) / SESSIONS
        whole = _mib(gateway)
    each = Spread.of([grown / 1024])
    return [
        Row(section, "memory of the gateway", whole, "MiB", Target(200 * 1e6 / _MIB)),
        Row(section, "memory of each session", each, "KiB"),
        Row(section, "time to open them", Spread.of([opened.seconds]), "s"),
    ]


def measure_starts(folder: Path, effort: Effort) -> list[Row]:
    """From the command to the first answer of a tool."""
    section = "Start to the first answer of a tool (a small Python server starts as well)"
    source = [_start(folder, module("mcpgw")) for _ in range(effort.rounds)]
    rows = _start_rows(section, "from source", source, None)
    if not PYZ.is_file():
        return rows
    cold, warm = [], []
    for _ in range(effort.rounds):
        with tempfile.TemporaryDirectory() as cache:
            cold.append(_start(folder, [sys.executable, str(PYZ)], cache))
            warm.append(_start(folder, [sys.executable, str(PYZ)], cache))
    rows += _start_rows(section, "mcpgw.pyz, for the first time", cold, Target(2.5))
    rows += _start_rows(section, "mcpgw.pyz, again", warm, Target(0.6))
    ratio = Spread.of([w.cpu / s.cpu for w, s in zip(warm, source, strict=True)])
    return [*rows, Row(section, "mcpgw.pyz, again / from source: CPU time", ratio)]


@dataclass(frozen=True, slots=True)
class _Started:
    """What a start took, in seconds."""

    wall: float
    cpu: float


def _start_rows(
    section: str, what: str, starts: list[_Started], target: Target | None
) -> list[Row]:
    wall = Spread.of([start.wall for start in starts])
    cpu = Spread.of([start.cpu for start in starts])
    return [Row(section, what, wall, "s", target), Row(section, f"{what}: CPU time", cpu, "s")]


def _start(folder: Path, command: list[str], cache: str = "") -> _Started:
    port = free_port()
    config = write_config(folder, port, "modern")
    params = messages.call_params("echo", SMALL)
    body = messages.modern_line("tools/call", params).encode()
    # A development machine may forbid what makes every start after the first one quick.
    env = {"PYTHONDONTWRITEBYTECODE": ""} | ({"MCPGW_CACHE": cache} if cache else {})
    command = [*command, "--config", str(config)]
    started = time.perf_counter()
    with serving(command, port, folder / "gateway.log", env) as process:
        post(port, gw.MODERN, messages.modern_headers(params), body)
        return _Started(time.perf_counter() - started, cpu_seconds(process.pid))


def _mib(gateway: Gateway) -> Spread:
    return Spread.of([resident(gateway.pid) / _MIB])
