"""What the build makes, and that it makes the same again, elsewhere and offline."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import build_zipapp
from mcpgw.pyz import host_target
from tests.packaging.conftest import ROOT, Pyz, build, run


def test_a_build_elsewhere_offline_and_from_nothing_is_byte_identical(
    pyz: Pyz, wheelhouse: Path, tmp_path: Path
) -> None:
    """Neither paths nor times nor git nor what an earlier build left may show in the file."""
    copy = tmp_path / "elsewhere"
    for name in ("build_zipapp.py", "setup.cfg", "pyproject.toml", "README.md"):
        (copy / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    shutil.copytree(ROOT / ".locks", copy / ".locks")
    for name in build_zipapp.package_files():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    again = tmp_path / "again.pyz"
    build(copy, "--targets", "host", "--wheelhouse", wheelhouse, "--output", again)
    assert again.read_bytes() == pyz.path.read_bytes()


def test_it_holds_the_program_and_its_dependencies_and_nothing_else(pyz: Pyz) -> None:
    with zipfile.ZipFile(pyz.path) as archive:
        names = archive.namelist()
        packages = {name.split("/")[1] for name in names if name.startswith("site-packages/")}
        ours = {name for name in names if name.startswith("site-packages/mcpgw/")}
        mentions = [name for name in names if str(ROOT).encode() in archive.read(name)]
    assert {"mcpgw", "aiohttp", "pydantic", "yaml"} <= packages
    assert not {"tests", "bin", "pip", "setuptools", "shiv"} & packages
    assert ours == {f"site-packages/{name}" for name in build_zipapp.package_files()}
    assert not [name for name in names if name.endswith(".pyc")]
    assert mentions == []


def test_the_file_can_be_executed_itself(pyz: Pyz) -> None:
    assert pyz.path.read_bytes().startswith(b"#!/usr/bin/env python3\n")
    assert pyz.path.stat().st_mode & 0o111 == 0o111


def test_what_is_alike_for_all_targets_is_kept_once(tmp_path: Path) -> None:
    parts = {}
    for target, text in (("one", "1"), ("two", "2")):
        parts[target] = tmp_path / target
        with zipfile.ZipFile(parts[target], "w") as part:
            part.writestr("site-packages/same.py", "same")
            part.writestr("site-packages/differs.so", text)
    build_zipapp.merge(parts, tmp_path / "merged")
    with zipfile.ZipFile(tmp_path / "merged") as merged:
        assert sorted(merged.namelist()) == [
            "__main__.py",
            "one/site-packages/differs.so",
            "site-packages/same.py",
            "targets.json",
            "two/site-packages/differs.so",
        ]
        assert merged.read("two/site-packages/differs.so") == b"2"


def test_the_groups_of_targets() -> None:
    everything = [target.name for target in build_zipapp.choose_targets(["all"])]
    assert len(everything) == 16
    assert {"cp311-darwin-arm64", "cp314-win32-amd64"} <= set(everything)
    default = {target.name for target in build_zipapp.choose_targets(["default"])}
    assert default == {host_target(), "cp313-linux-x86_64", "cp313-linux-aarch64"}


@pytest.mark.parametrize("name", ["cp310-linux-x86_64", "cp313-linux", "linux", ""])
def test_an_unknown_target_is_refused(name: str) -> None:
    with pytest.raises(build_zipapp.BuildError, match="no such target"):
        build_zipapp.choose_targets([name])


def test_markers_are_those_of_the_target() -> None:
    windows, linux = (
        build_zipapp.parse_target(f"cp313-{platform}").lock()
        for platform in ("win32-amd64", "linux-aarch64")
    )
    assert "uvloop" in linux and "uvloop" not in windows
    assert "aiohttp==" in windows and "--hash=sha256:" in windows


def test_a_wheel_that_is_not_the_locked_one_is_refused(tmp_path: Path) -> None:
    """The build tools are checked as well: they run with our rights."""
    wheel = tmp_path / "shiv-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("shiv-1.0.dist-info/METADATA", "Name: shiv\nVersion: 1.0\n")
    lock = tmp_path / "lock.txt"
    lock.write_text(f"shiv==1.0 --hash=sha256:{'0' * 64}\n")
    options = [*build_zipapp.PIP, *build_zipapp.HASHED, "--no-index", "--find-links", str(tmp_path)]
    pip = [sys.executable, "-m", "pip", "download", "--dest", str(tmp_path / "to")]
    done = run([*pip, *options, "-r", str(lock)])
    assert done.returncode != 0
    assert "DO NOT MATCH" in done.stderr


def test_pip_install_gives_the_same_program(wheelhouse: Path, tmp_path: Path) -> None:
    copy = tmp_path / "source"
    copy.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, copy / name)
    shutil.copytree(ROOT / "mcpgw", copy / "mcpgw", ignore=shutil.ignore_patterns("__pycache__"))
    env = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", str(env)], check=True, timeout=60)
    offline = ["--no-index", "--find-links", str(wheelhouse)]
    installed = run([str(env / "bin" / "pip"), "install", "--quiet", *offline, str(copy)])
    assert installed.returncode == 0, installed.stderr
    version = run([str(env / "bin" / "mcpgw"), "--version"], env={})
    assert version.stdout.startswith("mcpgw "), version.stderr
    probe = "from mcpgw.sandbox.self_command import self_command; print(*self_command())"
    told = run([str(env / "bin" / "python"), "-c", probe], env={}, cwd=tmp_path)
    assert told.stdout.split() == [str(env / "bin" / "python"), "-I", "-m", "mcpgw"]
