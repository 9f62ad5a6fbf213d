"""Measurements in rounds, so that whatever else the machine does falls on all of them alike."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import msgspec

from benchmarks.jobs import Job, Outcome
from benchmarks.processes import Broken, ask, module, running

Value = Callable[[Outcome], float]


@dataclass(frozen=True, slots=True)
class Effort:
    """How much time to take."""

    rounds: int
    seconds: float
    """Of each measurement in each round."""
    thorough: bool = True
    """Whether to measure what takes long and says little more."""


QUICK = Effort(rounds=3, seconds=0.25, thorough=False)
FULL = Effort(rounds=7, seconds=1.0)


class Generator:
    """The load generator's process."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def run(self, job: Job) -> Outcome:
        """Have a job done.

        Raises:
            Broken: It failed.
        """
        outcome = msgspec.json.decode(ask(self._process, msgspec.json.encode(job)), type=Outcome)
        if outcome.problem:
            raise Broken(f"the load generator gave up: {outcome.problem}")
        return outcome


@contextmanager
def open_generator(folder: Path) -> Iterator[Generator]:
    """Run the load generator for the length of the block."""
    with running(module("benchmarks.load"), folder / "load.log") as process:
        yield Generator(process)


@dataclass(frozen=True, slots=True)
class Spread:
    """The middle of some values, and how far they lie apart."""

    middle: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        """Sum up; there has to be a value."""
        return cls(median(values), min(values), max(values))


@dataclass
class Series:
    """Outcomes by the name of what was measured, one per round."""

    outcomes: dict[str, list[Outcome]] = field(default_factory=dict)

    def measure(self, generator: Generator, jobs: dict[str, Job], rounds: int) -> None:
        """Do all the jobs, round by round; odd rounds backwards.

        Raises:
            Broken: One failed.
        """
        for number in range(rounds):
            names = list(jobs) if number % 2 == 0 else list(reversed(jobs))
            for name in names:
                try:
                    outcome = generator.run(jobs[name])
                except Broken as exc:
                    raise Broken(f"{name}: {exc}") from None
                self.outcomes.setdefault(name, []).append(outcome)

    def spread(self, name: str, value: Value) -> Spread:
        """A value over the rounds."""
        return Spread.of([value(outcome) for outcome in self.outcomes[name]])

    def ratio(self, name: str, base: str, value: Value) -> Spread:
        """A value in proportion to that of another measurement in the same round."""
        pairs = zip(self.outcomes[name], self.outcomes[base], strict=True)
        return Spread.of([value(ours) / value(theirs) for ours, theirs in pairs])

    def difference(self, name: str, base: str, value: Value) -> Spread:
        """A value less that of another measurement in the same round."""
        pairs = zip(self.outcomes[name], self.outcomes[base], strict=True)
        return Spread.of([value(ours) - value(theirs) for ours, theirs in pairs])


def rate(outcome: Outcome) -> float:
    """Answers per second."""
    return outcome.rate


def p50(outcome: Outcome) -> float:
    """The median time to an answer, in seconds."""
    return outcome.p50


def cpu(outcome: Outcome) -> float:
    """CPU seconds per answer of the first process that was watched."""
    return outcome.cpu[0] / outcome.count
