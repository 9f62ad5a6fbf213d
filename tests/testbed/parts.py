"""Where the parts of the testbed are, and how they are made."""

import fcntl
import hashlib
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
CACHE: Final = ROOT / ".cache" / "testbed"
LOCKS: Final = Path(__file__).parent / "locks"

_READY: Final = ".ready"
"""Written last, so that a folder without it is a broken install and is made anew."""

_INSTALL_TIMEOUT: Final = 900.0


@dataclass(frozen=True, slots=True)
class Part:
    """One environment of the testbed."""

    name: str
    locks: tuple[str, ...]
    make: Callable[[Path], None]
    obstacle: Callable[[], str | None]
    """Why this machine cannot have it, or None."""
    extra: bool = False
    """Whether only a command of its own wants it, not every run of the tests."""

    @property
    def place(self) -> Path:
        """The folder it lives in, whether or not it exists yet."""
        digest = hashlib.sha256(_platform().encode())
        for lock in self.locks:
            digest.update((LOCKS / lock).read_bytes())
        return CACHE / f"{self.name}-{digest.hexdigest()[:12]}"


def find(name: str) -> Path | None:
    """The folder of an installed part, or None.

    For `mcp1` and `mcp2` it is a virtual environment, for `node` it holds `node_modules`.
    """
    part = PARTS[name]
    return part.place if (part.place / _READY).exists() and part.obstacle() is None else None


def install(name: str) -> Path:
    """Make a part unless it is there already; give its folder.

    Raises:
        RuntimeError: This machine lacks something, or a package client failed; with its output.
    """
    part = PARTS[name]
    if (obstacle := part.obstacle()) is not None:
        raise RuntimeError(obstacle)
    with _one_at_a_time():
        if not (part.place / _READY).exists():
            shutil.rmtree(part.place, ignore_errors=True)
            part.place.mkdir(parents=True)
            part.make(part.place)
            (part.place / _READY).touch()
    return part.place


def why_not(name: str) -> str:
    """Why `find` gives None, for whoever reads a skipped test."""
    return PARTS[name].obstacle() or f"testbed part {name} is not installed: run python3 -m tests"


def node_executable() -> str | None:
    """The path of node, if there is one new enough for the packages."""
    node = shutil.which("node")
    if node is None:
        return None
    version = _run([node, "--version"], timeout=10).strip().removeprefix("v")
    return node if int(version.partition(".")[0]) >= 20 else None


def _platform() -> str:
    return f"{sysconfig.get_platform()} {sys.version_info[:2]}"


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make_python(lock: str) -> Callable[[Path], None]:
    def make(place: Path) -> None:
        _run([sys.executable, "-m", "venv", "--without-pip", str(place)])
        pip = [sys.executable, "-m", "pip", "--python", str(place / "bin" / "python"), "install"]
        quiet = ["--quiet", "--disable-pip-version-check", "--no-input"]
        # The lock is complete. Left to resolve, pip takes a newer release for `name[extra]`.
        _run([*pip, *quiet, "--no-deps", "--require-hashes", "-r", str(LOCKS / lock)])

    return make


def _make_node(locks: tuple[str, ...]) -> Callable[[Path], None]:
    def make(place: Path) -> None:
        for lock in locks:
            shutil.copy(LOCKS / lock, place)
        # No install scripts: nothing here needs one, and a registry package should not run code.
        _run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=place)

    return make


def _node_part(name: str, folder: str, *, extra: bool = False) -> Part:
    locks = (f"{folder}package.json", f"{folder}package-lock.json")
    return Part(name, locks, _make_node(locks), _node_obstacle, extra)


def _make_compose(place: Path) -> None:
    """Take Compose's second version from the Debian release after this one: it is one file."""
    apt = place / "apt"
    for folder in ("lists/partial", "cache/archives/partial"):
        (apt / folder).mkdir(parents=True)
    (apt / "status").touch()
    key = "/usr/share/keyrings/debian-archive-keyring.gpg"
    (apt / "sources.list").write_text(f"deb [signed-by={key}] {_mirror()} trixie main\n")
    options = {
        "Dir::Etc::sourcelist": apt / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": apt / "lists",
        "Dir::State::status": apt / "status",
        "Dir::Cache": apt / "cache",
        "Debug::NoLocking": "1",
        "APT::Sandbox::User": "root",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    _run(["apt-get", "-qq", *words, "update"])
    _run(["apt-get", "-qq", *words, "download", "docker-compose"], cwd=place)
    [package] = place.glob("*.deb")
    _run(["dpkg", "-x", str(package), str(place / "root")])
    [program] = (place / "root").rglob("cli-plugins/docker-compose")
    shutil.move(program, place / "docker-compose")
    shutil.rmtree(apt)


def _mirror() -> str:
    texts = [
        source.read_text()
        for source in (Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*"))
        if source.is_file()
    ]
    found = re.search(r"https?://\S*/debian/?(?=\s|$)", "\n".join(texts))
    return found[0] if found else "http://deb.debian.org/debian"


def _compose_obstacle() -> str | None:
    return None if shutil.which("apt-get") else "Compose is taken from Debian, and this is another"


def _node_obstacle() -> str | None:
    if node_executable() is None:
        return "node 20 or newer is not installed"
    return None if shutil.which("npm") else "npm is not installed"


def _run(command: list[str], *, cwd: Path = ROOT, timeout: float = _INSTALL_TIMEOUT) -> str:
    done = subprocess.run(
        command, cwd=cwd, timeout=timeout, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


PARTS: Final[Mapping[str, Part]] = {
    part.name: part
    for part in (
        Part("mcp1", ("mcp1.txt",), _make_python("mcp1.txt"), lambda: None),
        Part("mcp2", ("mcp2.txt",), _make_python("mcp2.txt"), lambda: None),
        _node_part("node", ""),
        Part("compose", (), _make_compose, _compose_obstacle),
        _node_part("conformance-release", "conformance-release/", extra=True),
        _node_part("conformance-prerelease", "conformance-prerelease/", extra=True),
    )
}
