"""Renews the testbed's locks: `python -m tests.testbed.lock`, with `uv` and `npm` on PATH.

The locks hold names, versions and hashes, never where a file was fetched from: whoever
installs uses the registry that the machine is set up for.
"""

import subprocess
import tempfile
from pathlib import Path
from shutil import copy

from tests.testbed.parts import LOCKS


def lock_python(name: str) -> None:
    """Resolve `<name>.in` into `<name>.txt`, for every supported Python and platform."""
    options = "--universal --python-version 3.11 --generate-hashes --upgrade"
    quiet = "--quiet --no-header --no-annotate --no-emit-index-url"
    command = ["uv", "pip", "compile", *options.split(), *quiet.split()]
    subprocess.run([*command, f"{name}.in", "-o", f"{name}.txt"], cwd=LOCKS, check=True)


def lock_node(place: Path) -> None:
    """Resolve a folder's `package.json` into its `package-lock.json`."""
    with tempfile.TemporaryDirectory() as folder:
        copy(place / "package.json", folder)
        options = "--package-lock-only --omit-lockfile-registry-resolved --ignore-scripts"
        subprocess.run(["npm", "install", *options.split()], cwd=folder, check=True)
        copy(Path(folder) / "package-lock.json", place)


if __name__ == "__main__":
    lock_python("mcp1")
    lock_python("mcp2")
    for package in sorted(LOCKS.rglob("package.json")):
        lock_node(package.parent)
