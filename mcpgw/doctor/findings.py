"""What was found, and how it is told."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Final


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check came to."""

    check: str
    """Its name, in a word or two."""

    level: Level
    text: str
    """What was seen."""

    fix: str = ""
    """What to do about it."""


_WORDS: Final = {
    Level.OK: "ok  ",
    Level.WARNING: "warn",
    Level.PROBLEM: "FAIL",
    Level.SKIPPED: "skip",
}


def ok(check: str, text: str) -> Finding:
    """Give a finding that needs nothing."""
    return Finding(check, Level.OK, text)


def warning(check: str, text: str, fix: str = "") -> Finding:
    """Give a finding that may be meant so."""
    return Finding(check, Level.WARNING, text, fix)


def problem(check: str, text: str, fix: str = "") -> Finding:
    """Give a finding that keeps something from working, or from being safe."""
    return Finding(check, Level.PROBLEM, text, fix)


def skipped(check: str, text: str) -> Finding:
    """Give a check that could not be made."""
    return Finding(check, Level.SKIPPED, text)


def has_problem(findings: Sequence[Finding]) -> bool:
    """Whether something has to be done."""
    return any(finding.level is Level.PROBLEM for finding in findings)


def as_lines(findings: Sequence[Finding]) -> str:
    """Write findings for people."""
    width = max((len(finding.check) for finding in findings), default=0)
    lines = []
    for finding in findings:
        lines.append(f"{_WORDS[finding.level]}  {finding.check:<{width}}  {finding.text}")
        if finding.fix:
            lines.append(f"{'':<{width + 8}}→ {finding.fix}")
    return "\n".join(lines)


def as_json(findings: Sequence[Finding]) -> str:
    """Write findings for programs: a list of objects, with the names of `Finding`'s fields."""
    return json.dumps([asdict(finding) for finding in findings], indent=2)
