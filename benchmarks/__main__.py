"""Measure everything in one run and print the ratios: ``python3 -m benchmarks``."""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import report
from benchmarks.calls import measure_large, measure_small, open_bench
from benchmarks.containers import measure_containers
from benchmarks.events import measure_events
from benchmarks.footprint import measure_memory, measure_sessions, measure_starts
from benchmarks.holds import measure_holds
from benchmarks.processes import Broken
from benchmarks.report import Row
from benchmarks.series import FULL, QUICK, Effort, Generator, Series, open_generator

Part = Callable[[Path, Generator, Series, Effort], list[Row]]


def small(folder: Path, generator: Generator, series: Series, effort: Effort) -> list[Row]:
    """See `measure_small`."""
    with open_bench(folder) as bench:
        return measure_small(bench, generator, series, effort)


def large(folder: Path, generator: Generator, series: Series, effort: Effort) -> list[Row]:
    """See `measure_large`."""
    with open_bench(folder) as bench:
        return measure_large(bench, generator, series, effort)


PARTS: dict[str, Part] = {
    "small": small,
    "large": large,
    "holds": lambda folder, generator, series, effort: measure_holds(folder, generator, effort),
    "memory": lambda folder, generator, series, effort: measure_memory(folder, generator, effort),
    "sessions": lambda folder, generator, series, effort: measure_sessions(folder, generator),
    "starts": lambda folder, generator, series, effort: measure_starts(folder, effort),
    "events": measure_events,
    "containers": measure_containers,
}


def main() -> int:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(prog="python3 -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about a minute, coarser")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every number as well")
    options = parser.parse_args()
    print(report.machine(), flush=True)
    rows: list[Row] = []
    series = Series()
    with tempfile.TemporaryDirectory() as name, open_generator(Path(name)) as generator:
        for part in options.only:
            rows += _run(part, Path(name), generator, series, QUICK if options.quick else FULL)
    print(report.table(rows))
    print()
    print(report.numbers(series))
    if options.json is not None:
        options.json.write_bytes(report.as_json(rows, series))
    return 0


def _run(
    part: str, folder: Path, generator: Generator, series: Series, effort: Effort
) -> list[Row]:
    started = time.monotonic()
    print(f"measuring {part} ...", end=" ", flush=True)
    try:
        rows = PARTS[part](folder, generator, series, effort)
    except Broken as exc:
        print(f"broken: {exc}")
        return []
    print(f"{time.monotonic() - started:.0f} s", flush=True)
    return rows


if __name__ == "__main__":
    sys.exit(main())
