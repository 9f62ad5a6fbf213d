"""Runs the suite against one URL, and reads what came of it."""

import json
import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.testbed import node_executable
from tests.testbed.parts import install

HERE: Final = Path(__file__).parent
SECONDS: Final = 300.0
_TIME: Final = re.compile(r"-\d{4}-\d\d-\d\dT[\d-]+Z$")


@dataclass(frozen=True, slots=True)
class Suite:
    """One version of the suite, and what of it is run."""

    name: str
    part: str
    options: tuple[str, ...] = ()


RELEASE: Final = Suite("0.1.16", "conformance-release", ("--suite", "all"))
LEGACY: Final = Suite(
    "0.2.0-alpha.12",
    "conformance-prerelease",
    ("--suite", "all", "--spec-version", "2025-11-25"),
)
MODERN: Final = Suite(
    "0.2.0-alpha.12",
    "conformance-prerelease",
    ("--suite", "all", "--spec-version", "2026-07-28"),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one scenario."""

    passed: int
    failures: Mapping[str, str]
    """What each failed check says, by its id."""


def run(suite: Suite, url: str) -> dict[str, Outcome]:
    """Run every scenario against a server; give what came of each, by its name.

    Raises:
        RuntimeError: The suite could not be run.
    """
    program = install(suite.part) / "node_modules" / "@modelcontextprotocol" / "conformance"
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(node_executable() or "node", "--import", str(HERE / "node20.mjs")),
            *(str(program / "dist" / "index.js"), "server", "--url", url),
            *(*suite.options, "--output-dir", folder),
        ]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL
        )
        found = {_name(file): _read(file) for file in Path(folder).glob("*/checks.json")}
    if not found:
        raise RuntimeError(f"the suite {suite.name} gave no results:\n{done.stdout}{done.stderr}")
    return dict(sorted(found.items()))


def _name(file: Path) -> str:
    return _TIME.sub("", file.parent.name).removeprefix("server-")


def _read(file: Path) -> Outcome:
    checks = json.loads(file.read_text("utf-8"))
    failures = {c["id"]: c.get("errorMessage") or "" for c in checks if c["status"] == "FAILURE"}
    return Outcome(sum(c["status"] == "SUCCESS" for c in checks), failures)
