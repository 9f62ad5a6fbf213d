"""How the file starts: first and later, crowded, with little, and where it cannot."""

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from mcpgw import __version__
from mcpgw.pyz import cache_candidates, fault
from tests.demo.client import MODERN, speaking
from tests.packaging.conftest import PATIENCE, ROOT, Pyz, run

VERSION = f"mcpgw {__version__}\n"


class Nobody:
    """A user who owns nothing, and a place with a copy of the file that it may only read."""

    USER = 65534

    def __init__(self, place: Path, python: str, file: Path) -> None:
        self.place = place
        self._command = [python, str(file), "--version"]

    def run(self, **env: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self._command,
            env=env,
            cwd=self.place,
            user=self.USER if os.geteuid() == 0 else None,
            group=self.USER if os.geteuid() == 0 else None,
            extra_groups=[] if os.geteuid() == 0 else None,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    @staticmethod
    def open_to_all(place: Path) -> None:
        """Let everybody read, and nobody write."""
        for path in [*place.rglob("*"), place]:
            if not path.stat().st_mode & stat.S_ISVTX:
                path.chmod(0o555 if path.is_dir() else 0o444)


@pytest.fixture
def nobody(pyz: Pyz) -> Iterator[Nobody]:
    candidates = (sys.executable, f"/usr/bin/python3.{sys.version_info[1]}")
    # Not under pytest's folder, which is closed to other users.
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        file = Path(shutil.copy(pyz.path, place))
        place.chmod(0o555)
        for python in candidates:
            user = Nobody(place, python, file)
            with suppress(OSError):
                user.run()
                yield user
                break
        else:
            pytest.skip("no Python here that another user may run")
        for path in [place, *place.rglob("*")]:
            if path.is_dir():
                path.chmod(0o755)


def test_it_runs_without_any_environment(pyz: Pyz, tmp_path: Path) -> None:
    # HOME alone is given, so that the test does not leave anything in the developer's.
    done = pyz.run("--version", env={"HOME": str(tmp_path)})
    assert done.stdout == VERSION, done.stderr
    [unpacked] = (tmp_path / ".cache" / "mcpgw").glob("mcpgw.pyz_*")
    assert (unpacked / "site-packages" / "mcpgw").is_dir()


def test_nothing_is_written_beside_the_file(pyz: Pyz, tmp_path: Path) -> None:
    before = sorted(pyz.path.parent.iterdir())
    done = pyz.run("--version", env={"MCPGW_CACHE": str(tmp_path)}, cwd=pyz.path.parent)
    assert done.stdout == VERSION, done.stderr
    assert sorted(pyz.path.parent.iterdir()) == before


def test_a_user_who_may_write_nothing_runs_what_is_unpacked_already(
    nobody: Nobody, pyz: Pyz
) -> None:
    """A container image may hold the cache, on a root that is read-only."""
    owner = run(pyz.command("--version"), env={"MCPGW_CACHE": str(nobody.place)})
    assert owner.stdout == VERSION, owner.stderr
    nobody.open_to_all(nobody.place)
    assert nobody.run(MCPGW_CACHE=str(nobody.place)).stdout == VERSION


def test_a_user_who_may_write_nothing_is_told_so(nobody: Nobody) -> None:
    refused = nobody.run(MCPGW_CACHE=str(nobody.place))
    assert refused.returncode == 1
    assert f"{nobody.place}/mcpgw cannot be made (Permission denied)" in refused.stderr


def test_a_user_without_a_home_unpacks_among_the_temporary_files(nobody: Nobody) -> None:
    (nobody.place / "tmp").mkdir()
    (nobody.place / "tmp").chmod(0o1777)
    nobody.open_to_all(nobody.place)
    assert nobody.run(HOME="/nonexistent", TMPDIR=f"{nobody.place}/tmp").stdout == VERSION


def test_first_starts_at_the_same_time_do_not_disturb_each_other(pyz: Pyz, tmp_path: Path) -> None:
    env = {"MCPGW_CACHE": str(tmp_path)}
    starts = [
        subprocess.Popen(
            pyz.command("--version"), env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(6)
    ]
    results = [start.communicate(timeout=PATIENCE) for start in starts]
    assert results == [(VERSION.encode(), b"")] * 6
    [unpacked] = (tmp_path / "mcpgw").glob("mcpgw.pyz_*")
    assert not unpacked.name.endswith(".tmp")


def test_a_first_start_that_was_killed_leaves_nothing_broken(
    pyz: Pyz, warm_cache: Path, tmp_path: Path
) -> None:
    """What it had unpacked stands beside the place until it is complete."""
    [whole] = (warm_cache / "mcpgw").glob("mcpgw.pyz_*")
    half = tmp_path / "mcpgw" / f"{whole.name}.tmp" / "site-packages" / "mcpgw"
    half.mkdir(parents=True)
    half.parents[2].chmod(0o700)
    (half / "__init__.py").write_text("half a")
    done = pyz.run("--version", env={"MCPGW_CACHE": str(tmp_path)})
    assert done.stdout == VERSION, done.stderr


def test_the_demo_server_in_it_speaks_mcp(pyz: Pyz, warm_cache: Path) -> None:
    env = {"MCPGW_CACHE": str(warm_cache)}
    with speaking(MODERN, pyz.command("demo-server"), env=env) as client:
        assert client.call("add", a=1, b=2)["structuredContent"] == {"sum": 3}


def test_what_it_imports_is_what_the_lock_chose(pyz: Pyz, warm_cache: Path) -> None:
    code = (
        "import json, sys, aiohttp._http_parser, pydantic_core, yaml._yaml, mcpgw;"
        "print(json.dumps([sys.path, [m.__file__ for m in (aiohttp._http_parser, mcpgw)]]))"
    )
    path, files = json.loads(pyz.python(code, warm_cache))
    assert all(Path(file).is_relative_to(warm_cache) for file in files)
    sites = [entry for entry in path if entry.endswith("site-packages")]
    assert [Path(site).is_relative_to(warm_cache) for site in sites] == [True]


def test_a_cache_that_cannot_be_made_is_told(pyz: Pyz, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = pyz.run("--version", env={"MCPGW_CACHE": str(tmp_path / "file" / "cache")})
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("mcpgw: nowhere to unpack to: ")
    assert "Set MCPGW_CACHE to a folder" in line


def test_a_disk_that_takes_no_more_is_told_and_tried_again(pyz: Pyz, tmp_path: Path) -> None:
    env = {"MCPGW_CACHE": str(tmp_path)}
    limited = ["sh", "-c", 'ulimit -f 100; exec "$@"', "sh", *pyz.command("--version")]
    full = run(limited, env=env)
    assert full.returncode == 1
    assert full.stderr.startswith("mcpgw: cannot unpack to ")
    assert "File too large" in full.stderr and "Traceback" not in full.stderr
    assert pyz.run("--version", env=env).stdout == VERSION


def test_a_cache_others_may_write_to_is_refused(pyz: Pyz, warm_cache: Path, tmp_path: Path) -> None:
    """Security: whoever may write there decides what runs as us."""
    (tmp_path / "mcpgw").mkdir()
    (tmp_path / "mcpgw").chmod(0o777)
    done = pyz.run("--version", env={"MCPGW_CACHE": str(tmp_path)})
    assert done.returncode == 1
    assert "may be written to by other users" in done.stderr


def test_a_link_in_the_place_of_the_cache_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir(mode=0o700)
    (tmp_path / "mcpgw").symlink_to(tmp_path / "mine")
    assert fault(tmp_path / "mcpgw", "build") == "is not a folder"


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file system nobody can write to")
def test_a_folder_that_takes_no_files_is_told() -> None:
    assert fault(Path("/proc/mcpgw"), "build").startswith("cannot be made")


def test_without_a_home_a_private_folder_among_temporary_files_is_next(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("MCPGW_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first, second = cache_candidates()
    assert first == tmp_path / "mcpgw"
    assert str(os.getuid()) in second.name


def test_a_machine_it_was_not_built_for_is_told_what_it_was_built_for(tmp_path: Path) -> None:
    other = tmp_path / "other.pyz"
    with zipfile.ZipFile(other, "w") as archive:
        archive.write(ROOT / "mcpgw" / "pyz.py", "__main__.py")
        archive.writestr("targets.json", '["cp399-plan9-vax"]')
    done = run([sys.executable, str(other)], env={})
    assert done.returncode == 1
    assert "only for cp399-plan9-vax" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A working directory with modules in it that a server could have left there for us."""
    for module in ("mcpgw/__init__", "argparse", "json", "runpy"):
        path = tmp_path / f"{module}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text("raise SystemExit('trapped')")
    return tmp_path


def test_a_child_of_the_file_starts_without_unpacking_again(
    pyz: Pyz, warm_cache: Path, trap: Path
) -> None:
    code = (
        "import json; from mcpgw.sandbox.self_command import self_command;"
        "print(json.dumps(self_command()))"
    )
    command = json.loads(pyz.python(code, warm_cache))
    assert str(pyz.path) not in command
    done = run([*command, "--version"], env={}, cwd=trap)
    assert done.stdout == VERSION, done.stderr


def test_a_child_of_the_source_tree_starts_from_anywhere(trap: Path) -> None:
    code = "from mcpgw.sandbox.self_command import self_command; print(*self_command(), sep='\\0')"
    told = run([sys.executable, "-c", code], cwd=ROOT, env={})
    done = run([*told.stdout.rstrip("\n").split("\0"), "--version"], env={}, cwd=trap)
    assert done.stdout == VERSION, done.stderr
