"""The locks hold what the project asks for, and nothing that ties them to a place."""

import re
from configparser import ConfigParser

import pytest
from packaging.requirements import Requirement

from tests.packaging.conftest import ROOT

NAMES = ("runtime.txt", "dev.txt", "build.txt", "lock.txt")


def entries(name: str) -> dict[str, str]:
    """What a lock pins: normalised names and versions."""
    lines = (ROOT / ".locks" / name).read_text().splitlines()
    pinned = (line.split(";")[0].rstrip("\\ ").split("==") for line in lines if "==" in line)
    return {normal(project): version for project, version in pinned}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def asked_for(section: str, option: str) -> list[Requirement]:
    metadata = ConfigParser()
    metadata.read(ROOT / "setup.cfg")
    return [Requirement(line) for line in metadata[section][option].strip().splitlines()]


@pytest.mark.parametrize(
    ("name", "section", "option"),
    [
        ("runtime.txt", "options", "install_requires"),
        ("dev.txt", "options", "install_requires"),
        ("dev.txt", "options.extras_require", "dev"),
    ],
)
def test_a_lock_holds_what_setup_cfg_asks_for(name: str, section: str, option: str) -> None:
    """Where it fails, `python3 build_zipapp.py --lock` is due."""
    pinned = entries(name)
    for requirement in asked_for(section, option):
        assert normal(requirement.name) in pinned, f"{requirement.name} is not in {name}"
        assert requirement.specifier.contains(pinned[normal(requirement.name)])


def test_tests_run_with_the_versions_that_are_shipped() -> None:
    assert entries("runtime.txt").items() <= entries("dev.txt").items()


@pytest.mark.parametrize("name", NAMES)
def test_everything_locked_has_hashes(name: str) -> None:
    text = (ROOT / ".locks" / name).read_text().replace("\\\n", "")
    pinned = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert pinned
    assert all("==" in line and "--hash=sha256:" in line for line in pinned)


@pytest.mark.parametrize("name", NAMES)
def test_no_lock_names_a_registry(name: str) -> None:
    text = (ROOT / ".locks" / name).read_text()
    assert not re.search(r"https?:|--(extra-)?index|--find-links|\.(org|io|com)\b", text)
