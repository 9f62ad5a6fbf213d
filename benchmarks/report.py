"""What is printed: ratios with their targets first, then the numbers behind them."""

import os
import platform
from dataclasses import dataclass
from typing import Literal

import msgspec

from benchmarks.jobs import Outcome
from benchmarks.series import Series, Spread, cpu, p50, rate


@dataclass(frozen=True, slots=True)
class Target:
    """What was aimed at."""

    bound: float
    kind: Literal["at least", "at most"] = "at most"

    def reached(self, value: float) -> bool:
        """Whether a value is good enough."""
        return value >= self.bound if self.kind == "at least" else value <= self.bound


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    section: str
    what: str
    value: Spread
    unit: str = "x"
    target: Target | None = None

    @property
    def reached(self) -> bool | None:
        """Whether the target is reached; None without one."""
        return self.target.reached(self.value.middle) if self.target else None


def table(rows: list[Row]) -> str:
    """The rows as text."""
    lines = []
    section = ""
    for row in rows:
        if row.section != section:
            section = row.section
            lines += ["", section, "-" * 100]
        lines.append(_line(row))
    return "\n".join(lines)


def _line(row: Row) -> str:
    spread = ""
    if row.value.low != row.value.high:
        spread = f"({_number(row.value.low)} to {_number(row.value.high)})"
    aim = ""
    if row.target:
        sign = ">=" if row.target.kind == "at least" else "<="
        verdict = "reached" if row.reached else "MISSED"
        aim = f"{sign} {_number(row.target.bound)} {row.unit:<3} {verdict}"
    value = f"{_number(row.value.middle)} {row.unit}"
    return f"{row.what:<56}{value:>12} {spread:<18} {aim}".rstrip()


def _number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}" if abs(value) >= 1 else f"{value:.2f}"


def numbers(series: Series) -> str:
    """The measurements themselves, which say little on another machine."""
    lines = [f"{'measured':<34}{'answers/s':>10}{'p50 ms':>9}{'p99 ms':>9}{'CPU us each':>13}"]
    for name, outcomes in series.outcomes.items():
        lines.append(_measured(name, series, outcomes))
    return "\n".join(lines)


def _measured(name: str, series: Series, outcomes: list[Outcome]) -> str:
    each = f"{series.spread(name, cpu).middle * 1e6:13.0f}" if outcomes and outcomes[0].cpu else ""
    speed = series.spread(name, rate).middle
    middle = series.spread(name, p50).middle * 1e3
    slow = series.spread(name, lambda o: o.p99).middle * 1e3
    return f"{name:<34}{speed:>10.0f}{middle:>9.2f}{slow:>9.2f}{each}"


def machine() -> str:
    """What it was measured on, and what that means."""
    cores = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    return (
        f"Python {platform.python_version()}, {platform.system()} {platform.release()}, "
        f"{cores} cores, load {load:.1f} at the start.\n"
        f"The load generator, the gateway and the server share these {cores} cores, so rates are "
        "lower than\neach could reach alone; compare ratios, not rates. Each value is the median "
        "of the rounds\n(lowest to highest). CPU is the gateway's own, and of a bare server that "
        "server's."
    )


def as_json(rows: list[Row], series: Series) -> bytes:
    """Everything, for other programs."""
    data = {
        "machine": machine(),
        "rows": [{**msgspec.to_builtins(row), "reached": row.reached} for row in rows],
        "outcomes": series.outcomes,
    }
    return msgspec.json.format(msgspec.json.encode(data), indent=1)
