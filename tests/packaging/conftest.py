"""The file under test, built once for this Python, and how it is run."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0


class Pyz:
    """A built `mcpgw.pyz`, run as a user would: by another Python process."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def command(self, *args: str) -> list[str]:
        return [sys.executable, str(self.path), *args]

    def run(
        self, *args: str, env: Mapping[str, str], cwd: Path | None = None
    ) -> "subprocess.CompletedProcess[str]":
        return run(self.command(*args), env=env, cwd=cwd)

    def python(self, code: str, cache: Path) -> str:
        """What a program prints that runs inside the file's environment."""
        env = {"MCPGW_CACHE": str(cache), "SHIV_INTERPRETER": "1"}
        done = run(self.command("-c", code), env=env)
        assert done.returncode == 0, done.stderr
        return done.stdout


def run(
    command: list[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """A finished process; with no environment given, it has this one's."""
    return subprocess.run(
        command,
        env=env,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def build(root: Path, *options: str | Path) -> None:
    """Build as a user would."""
    env = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    command = [sys.executable, str(root / "build_zipapp.py"), *map(str, options)]
    done = run(command, env=env)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Pyz:
    """The file, built for this Python with what earlier builds left in `.cache`."""
    path = tmp_path_factory.mktemp("dist") / "mcpgw.pyz"
    build(ROOT, "--targets", "host", "--output", path)
    return Pyz(path)


@pytest.fixture(scope="session")
def warm_cache(pyz: Pyz, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache in which the file is unpacked."""
    cache = tmp_path_factory.mktemp("cache")
    done = pyz.run("--version", env={"MCPGW_CACHE": str(cache)})
    assert done.returncode == 0, done.stderr
    return cache


@pytest.fixture(scope="session")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that a build for this Python needs."""
    house = tmp_path_factory.mktemp("wheelhouse")
    build(ROOT, "--targets", "host", "--fill-wheelhouse", house)
    return house
