"""The one command that checks everything: `python3 -m tests [--fix] [-- PYTEST ARGS]`.

`python3 -m tests conformance` runs the official conformance suite instead.

It needs Python 3.11 with venv, and nothing else: it makes `.venv`, installs the locked
development tools there and runs itself again inside. Then it checks format, lint, types
and layers while it installs the testbed, and runs pytest. What this machine cannot do
(no node, no network) is skipped, by name; `--require-all` makes that a failure.

This file runs before anything is installed: standard library only.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from configparser import ConfigParser
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
DEV_LOCK: Final = ROOT / ".locks" / "dev.txt"
STAMP: Final = ".mcpgw-tests"
STATIC_TIMEOUT: Final = 600.0
ENTERED: Final = "MCPGW_TESTS_ENTERED"
"""Set in the second run, so that a broken venv cannot make us exec for ever."""

CORE: Final = (
    *(f"--ignore=tests/{room}" for room in ("e2e", "packaging", "deploy")),
    *("-m", "not node and not sdk and not long"),
)
"""What leaves out the tests that depend little on the Python they run under, and take long."""


@dataclass(frozen=True, slots=True)
class Step:
    """One check besides pytest; `run` gives its complaint, or None."""

    name: str
    run: Callable[[], str | None]
    optional: bool = False


def main() -> int:
    options = _parse(sys.argv[1:])
    _enter_venv(ROOT / _venv_name(core=options.core))
    if options.what == "conformance":
        from tests.conformance.run import main as conformance

        return conformance()
    failed = [] if options.core else list(_run_steps(options))
    status = _pytest(options)
    if failed:
        print(f"FAILED besides the tests: {', '.join(failed)}", flush=True)
    return status or int(bool(failed))


def _parse(argv: list[str]) -> argparse.Namespace:
    split = argv.index("--") if "--" in argv else len(argv)
    parser = argparse.ArgumentParser(prog="python3 -m tests", description="Check everything.")
    parser.add_argument("--fix", action="store_true", help="repair format and lint where possible")
    parser.add_argument("--require-all", action="store_true", help="fail if anything is skipped")
    parser.add_argument(
        "--core", action="store_true", help="only the tests that need nothing but this Python"
    )
    parser.add_argument("what", nargs="?", choices=["everything", "conformance"])
    options = parser.parse_args(argv[:split])
    options.pytest = argv[split + 1 :]
    return options


def _venv_name(*, core: bool) -> str:
    # The core run is for other Pythons; it leaves the developer's own .venv alone.
    return f".cache/venv-{sys.version_info[0]}.{sys.version_info[1]}" if core else ".venv"


def _enter_venv(venv: Path) -> None:
    python = venv / "bin" / "python"
    if Path(sys.prefix).resolve() == venv.resolve() or ENTERED in os.environ:
        return
    wanted = _digest()
    stamp = venv / STAMP
    if not stamp.exists() or stamp.read_text() != wanted:
        started = time.monotonic()
        _make_venv(venv, python)
        stamp.write_text(wanted)
        _say(str(venv.relative_to(ROOT)), "ready", started)
    os.environ[ENTERED] = "1"
    os.chdir(ROOT)
    os.execv(python, [str(python), "-m", "tests", *sys.argv[1:]])


def _digest() -> str:
    content = DEV_LOCK if DEV_LOCK.exists() else ROOT / "setup.cfg"
    return hashlib.sha256(f"{sys.version} {content.read_text()}".encode()).hexdigest()


def _make_venv(venv: Path, python: Path) -> None:
    # Our own, made by another Python or from another lock, is cleared; anyone else's is kept.
    clear = ["--clear"] if (venv / STAMP).exists() else []
    if made := _complaint([sys.executable, "-m", "venv", *clear, str(venv)]):
        sys.exit(f"cannot make {venv} (on Debian: apt install python3-venv):\n{made}")
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if said := _complaint([*pip, "--no-input", *_dev_requirements()]):
        sys.exit(f"cannot install the development tools:\n{said}")


def _dev_requirements() -> list[str]:
    if DEV_LOCK.exists():
        return ["--no-deps", "--require-hashes", "-r", str(DEV_LOCK)]
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = config["options"]["install_requires"] + config["options.extras_require"]["dev"]
    return [line.replace(" ", "") for line in lines.splitlines() if line.strip()]


def _run_steps(options: argparse.Namespace) -> Iterator[str]:
    """Run every step but pytest, saying how each went; give the names of those that failed."""
    for step in _fixers() if options.fix else ():
        yield from _settle(step, options.require_all)
    with ThreadPoolExecutor(max_workers=2) as pool:
        for failed in pool.map(lambda step: list(_settle(step, options.require_all)), _steps()):
            yield from failed


def _settle(step: Step, require_all: bool) -> Iterator[str]:
    started = time.monotonic()
    complaint = step.run()
    if complaint is None:
        _say(step.name, "ok", started)
    elif step.optional and not require_all:
        _say(step.name, f"skipped: {complaint.splitlines()[0]}", started)
    else:
        _say(step.name, f"FAILED\n{complaint}", started)
        yield step.name


def _say(name: str, outcome: str, started: float) -> None:
    print(f"{name:<12} {time.monotonic() - started:5.1f} s  {outcome}", flush=True)


def _fixers() -> list[Step]:
    return [
        _command("fix lint", "ruff", "check", "--fix", "--exit-zero"),
        _command("fix format", "ruff", "format"),
    ]


def _steps() -> list[Step]:
    from tests.testbed import PARTS

    return [
        *(
            Step(f"testbed {name}", _installer(name), optional=True)
            for name, part in PARTS.items()
            if not part.extra
        ),
        _command("format", "ruff", "format", "--check"),
        _command("lint", "ruff", "check"),
        _command("types", "mypy"),
        _command("layers", "importlinter"),
    ]


def _installer(name: str) -> Callable[[], str | None]:
    def run() -> str | None:
        from tests.testbed import install

        try:
            install(name)
        except RuntimeError as error:
            return str(error)
        return None

    return run


def _command(name: str, module: str, *args: str) -> Step:
    if module == "importlinter":  # it has no `python -m` form
        return Step(name, lambda: _complaint([str(Path(sys.executable).parent / "lint-imports")]))
    return Step(name, lambda: _complaint([sys.executable, "-m", module, *args]))


def _complaint(command: list[str]) -> str | None:
    """Run a command; give what it said if it failed."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        timeout=STATIC_TIMEOUT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return None if done.returncode == 0 else done.stdout.strip() or f"exit {done.returncode}"


def _pytest(options: argparse.Namespace) -> int:
    command = [sys.executable, "-m", "pytest", "-rs"]
    command += ["--require-all"] if options.require_all else []
    command += CORE if options.core else []
    return subprocess.run(
        [*command, *options.pytest], cwd=ROOT, stdin=subprocess.DEVNULL
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
