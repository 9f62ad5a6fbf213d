"""How long a large result holds the event loop, during which nobody else is served."""

import json
from pathlib import Path

from benchmarks import gateway as gw
from benchmarks import messages
from benchmarks.calls import BUSY, MEGABYTE, SMALL
from benchmarks.gateway import Gateway, open_gateway
from benchmarks.jobs import HttpJob
from benchmarks.processes import ask
from benchmarks.report import Row, Target
from benchmarks.series import Effort, Generator, Spread

_CALLS = 4
"""In each round; the longest hold among them counts."""


def measure_holds(folder: Path, generator: Generator, effort: Effort) -> list[Row]:
    """The longest holds of the event loop."""
    section = "Event loop: longest hold (CPU time; in brackets the range over the rounds)"
    rows = []
    with open_gateway(folder, ticking=True) as gateway:
        gateway.open_sessions(1)
        for what, requests, aim in _loads(gateway):
            spread = _longest(gateway, generator, requests, effort)
            rows.append(Row(section, what, spread, "ms", aim))
    return rows


def _loads(gateway: Gateway) -> list[tuple[str, list[str], Target | None]]:
    small = messages.call_params("echo", SMALL)
    loads: list[tuple[str, list[str], Target | None]] = []
    loads.append((f"small calls, {BUSY} connections", gateway.modern(gw.MODERN, small), None))
    for kind in ("prose", "dense"):
        params = messages.call_params("big", {"kind": kind, "bytes": 20 * MEGABYTE})
        loads += [
            (f"20 MB {kind}, modern", gateway.modern(gw.MODERN, params), Target(20)),
            (f"20 MB {kind}, legacy", gateway.legacy(params), Target(20)),
            (f"20 MB {kind}, modern to legacy", gateway.modern(gw.LEGACY, params), None),
        ]
    return loads


def _longest(gateway: Gateway, generator: Generator, requests: list[str], effort: Effort) -> Spread:
    small = len(requests) and '"echo"' in requests[0]
    held = []
    generator.run(HttpJob(gateway.port, requests, count=2))
    for _ in range(effort.rounds):
        ask(gateway.process, b"start")
        if small:
            generator.run(HttpJob(gateway.port, requests, BUSY, effort.seconds))
        else:
            generator.run(HttpJob(gateway.port, requests, count=_CALLS))
        held.append(json.loads(ask(gateway.process, b"start"))["cpu"] * 1e3)
    return Spread.of(held)
