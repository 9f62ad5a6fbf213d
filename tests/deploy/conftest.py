"""The built file, for the stack."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`mcpgw.pyz` for this Python, as the build command makes it."""
    path = tmp_path_factory.mktemp("dist") / "mcpgw.pyz"
    env = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    command = [sys.executable, str(ROOT / "build_zipapp.py"), "--targets", "host"]
    done = subprocess.run(
        [*command, "--output", str(path)], env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    path.chmod(0o644)
    return path
