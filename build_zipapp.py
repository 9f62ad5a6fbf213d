#!/usr/bin/env python3
"""Build ``dist/mcpgw.pyz``: the program and its locked dependencies in one file.

Needs nothing but Python with venv. Every download is checked against `.locks/`; the
build tools live in a private environment under `.cache/`. pip installs each target's
locked wheels into a folder of its own, shiv makes a runnable zip of each, and the zips are
merged: what is alike in all is kept once, and `mcpgw/pyz.py` picks the rest at the start.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from mcpgw.pyz import OLDEST_GLIBC, host_target

ROOT: Final = Path(__file__).resolve().parent
LOCKS: Final = ROOT / ".locks"
PYTHONS: Final = ("3.11", "3.12", "3.13", "3.14")
PLATFORMS: Final = ("linux-x86_64", "linux-aarch64", "darwin-arm64", "win32-amd64")
CONTAINER_TARGETS: Final = ("cp313-linux-x86_64", "cp313-linux-aarch64")
"""What the container image runs, so that the default file works there as well."""

EPOCH: Final = "315532800"
"""1980-01-01, the earliest time a zip can hold: no build has a time of its own."""

PIP: Final = ("--quiet", "--disable-pip-version-check", "--no-input", "--no-deps")
HASHED: Final = ("--require-hashes", "--only-binary", ":all:")
UV_COMPILE: Final = "pip compile -q --universal --python-version 3.11 --upgrade --no-annotate"
LOCKS_FROM: Final[Mapping[str, tuple[str, ...]]] = {
    "runtime.txt": ("setup.cfg",),
    "dev.txt": ("setup.cfg", "--extra", "dev", "--constraint", ".locks/runtime.txt"),
    "build.txt": (".locks/build.in",),
    "lock.txt": (".locks/lock.in",),
}
"""Each lock, and what uv makes it from: the project's metadata, or the names of the tools."""

Source = Sequence["str | Path"]
"""The options that tell pip where packages come from; none for the index."""

INSTALL_TRACES: Final = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}
"""What pip notes about an installation: paths and times that differ from build to build."""


class BuildError(Exception):
    """The build cannot go on; the message says what to do."""


@dataclass(frozen=True)
class Target:
    """One interpreter on one platform, such as 3.13 on ``linux-x86_64``."""

    python: str
    platform: str

    @property
    def name(self) -> str:
        """Such as ``cp313-linux-x86_64``; what `mcpgw.pyz.host_target` says there."""
        return f"cp{self.python.replace('.', '')}-{self.platform}"

    @property
    def is_known(self) -> bool:
        """Whether we tell pip the tags: then the build does not depend on the machine it is on."""
        return self.python in PYTHONS and self.platform in PLATFORMS

    def pip_options(self) -> list[str]:
        """What makes pip choose wheels for this target."""
        if not self.is_known:
            return []
        tags = [option for tag in platform_tags(self.platform) for option in ("--platform", tag)]
        return ["--implementation", "cp", "--python-version", self.python, *tags]

    def markers(self) -> dict[str, str]:
        """Where the environment that the lock's markers mean differs from this machine's."""
        if not self.is_known:
            return {}
        system, machine = self.platform.split("-")
        return {
            **{"python_version": self.python, "python_full_version": f"{self.python}.0"},
            "sys_platform": system,
            "os_name": "nt" if system == "win32" else "posix",
            "platform_system": {"win32": "Windows", "darwin": "Darwin"}.get(system, "Linux"),
            "platform_machine": machine.upper() if system == "win32" else machine,
        }

    def lock(self) -> str:
        """What of the lock applies to this target."""
        from packaging.requirements import Requirement

        lines = (LOCKS / "runtime.txt").read_text().replace("\\\n", " ").splitlines()
        chosen = []
        for line in lines:
            requirement, option, hashes = line.partition("--hash")
            if option:
                parsed = Requirement(requirement)
                if parsed.marker is None or parsed.marker.evaluate({**self.markers()}):
                    chosen.append(f"{parsed.name}{parsed.specifier} {option}{hashes}\n")
        return "".join(chosen)


def platform_tags(platform: str) -> list[str]:
    """The wheel tags that fit `platform`, best first."""
    system, machine = platform.split("-")
    if system == "linux":
        tags = [f"manylinux_2_{minor}_{machine}" for minor in range(OLDEST_GLIBC[1], 16, -1)]
        return [*tags, *(f"manylinux{year}_{machine}" for year in (2014, 2010, 1))]
    if system == "darwin":
        kinds = (machine, "universal2")
        tags = [f"macosx_{major}_0_{kind}" for kind in kinds for major in (14, 13, 12, 11)]
        return [*tags, "macosx_10_9_universal2"]
    return [f"win_{machine}"]


def parse_target(name: str) -> Target:
    """The target called `name`, which has to be one we know or this machine."""
    tag, _, platform = name.partition("-")
    target = Target(f"3.{tag.removeprefix('cp3')}", platform)
    if not target.is_known and name != host_target():
        known = f"host, default, all, and cp311 to cp314 with {', '.join(PLATFORMS)}"
        raise BuildError(f"no such target: {name}; there are {known}")
    return target


def choose_targets(words: Iterable[str]) -> list[Target]:
    """The targets that the words on the command line stand for, sorted, each once."""
    groups = {
        "host": [host_target()],
        "default": [host_target(), *CONTAINER_TARGETS],
        "all": [Target(python, platform).name for python in PYTHONS for platform in PLATFORMS],
    }
    names = {name for word in words for name in groups.get(word, [word])}
    return [parse_target(name) for name in sorted(names)]


class Toolbox:
    """A private environment with the tools of one lock."""

    def __init__(self, cache: Path, lock: str, source: Source) -> None:
        self.cache = cache
        self._lock = LOCKS / lock
        key = digest(self._lock.read_bytes(), sys.version.encode(), sys.base_prefix.encode())
        self._folder = cache / f"{self._lock.stem}-{key}"
        if not self._folder.exists():
            say(f"making {self._folder}")
            with self.scratch() as scratch:
                self._make(scratch / "env", source)
                settle(scratch / "env", self._folder)

    def _make(self, folder: Path, source: Source) -> None:
        try:
            import venv  # some systems package it apart

            venv.create(folder, with_pip=True, symlinks=os.name != "nt")
        except (subprocess.CalledProcessError, ImportError) as exc:
            hint = "on Debian and Ubuntu: apt install python3-venv"
            raise BuildError(f"this Python cannot make virtual environments ({hint})") from exc
        self._run(folder, "pip", "install", *PIP, *HASHED, *source, "-r", self._lock)

    @property
    def is_active(self) -> bool:
        """Whether this very program runs in the environment."""
        return Path(sys.prefix).resolve() == self._folder.resolve()

    def rerun(self) -> int:
        """The exit status of this program, run again inside."""
        return subprocess.run([interpreter(self._folder), *sys.argv], check=False).returncode

    def run(self, module: str, *args: str | Path) -> None:
        """Run a module of the environment; a failure is a `BuildError`."""
        self._run(self._folder, module, *args)

    def _run(self, folder: Path, module: str, *args: str | Path) -> None:
        environ = {**os.environ, "SOURCE_DATE_EPOCH": EPOCH, "PYTHONDONTWRITEBYTECODE": "1"}
        command = [interpreter(folder), "-I", "-m", module, *args]
        if subprocess.run(command, env=environ, cwd=ROOT, check=False).returncode:
            raise BuildError(f"{module} {args[0]} failed; what it said is above")

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder on the cache's own file system, so that results can be moved out of it."""
        self.cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.cache, prefix="tmp-") as name:
            yield Path(name)


def installed(tools: Toolbox, source: Source, target: Target) -> Path:
    """The folder with the target's dependencies, made unless an earlier build made it."""
    key = digest(target.lock().encode(), repr([*target.pip_options()]).encode())
    folder = tools.cache / f"{target.name}-{key}"
    if not folder.exists():
        say(f"installing the dependencies for {target.name}")
        with tools.scratch() as scratch:
            where = ("--no-compile", "--target", scratch / "site")
            pip_locked(tools, "install", target, *source, *where)
            strip_traces(scratch / "site")
            settle(scratch / "site", folder)
    return folder


def fill_wheelhouse(tools: Toolbox, targets: Sequence[Target], house: Path) -> None:
    """Download what `--wheelhouse` needs to build for `targets`."""
    tools.run("pip", "download", *PIP, *HASHED, "--dest", house, "-r", LOCKS / "build.txt")
    for target in targets:
        pip_locked(tools, "download", target, "--dest", house)


def pip_locked(tools: Toolbox, verb: str, target: Target, *args: str | Path) -> None:
    """Run pip over what is locked for `target`."""
    with tools.scratch() as scratch:
        (scratch / "lock.txt").write_text(target.lock())
        lock = ("-r", scratch / "lock.txt")
        tools.run("pip", verb, *PIP, *HASHED, *target.pip_options(), *args, *lock)


def install_program(tools: Toolbox, site: Path) -> None:
    """Install mcpgw itself, from a copy: setuptools leaves folders behind that it reads again."""
    with tools.scratch() as stage:
        for name in ("setup.cfg", "pyproject.toml", "README.md", *package_files()):
            (stage / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, stage / name)
        options = ("--no-index", "--no-build-isolation", "--no-compile", "--target", site)
        tools.run("pip", "install", *PIP, *options, stage)
    strip_traces(site)


def package_files() -> list[str]:
    """The package's files: what git tracks, or where git is no help, all but caches."""
    if tracked := git_files():
        if stray := git_files("--others", "--exclude-standard"):
            say(f"left out, as git does not track them: {' '.join(stray)}")
        return tracked
    found = (path for path in (ROOT / "mcpgw").rglob("*") if path.is_file())
    return [str(path.relative_to(ROOT)) for path in found if "__pycache__" not in path.parts]


def git_files(*options: str) -> list[str]:
    """The files of the package that `git ls-files` names; none if this is no git repository."""
    if not shutil.which("git"):
        return []
    command = ["git", "-C", str(ROOT), "ls-files", "-z", *options, "mcpgw"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).exists()]


def strip_traces(site: Path) -> None:
    """Remove what differs between two installations of the same packages."""
    for scripts in ("bin", "Scripts"):
        shutil.rmtree(site / scripts, ignore_errors=True)
    for path in site.glob("*.dist-info/*"):
        if path.name in INSTALL_TRACES:
            path.unlink()


def build(tools: Toolbox, source: Source, targets: Sequence[Target], output: Path) -> None:
    """Write the file for all `targets`."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        sites = list(pool.map(partial(installed, tools, source), targets))
    with tools.scratch() as scratch:
        install_program(tools, scratch / "own")
        for target, site in zip(targets, sites, strict=True):
            folders = ("--site-packages", site, "--site-packages", scratch / "own")
            entry = ("--reproducible", "--uncompressed", "-e", "mcpgw.cli:main")
            tools.run("shiv", *folders, *entry, "-o", scratch / target.name)
        merge({target.name: scratch / target.name for target in targets}, scratch / "merged")
        output.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(scratch / "merged", output)


def merge(files: Mapping[str, Path], output: Path) -> None:
    """Make one runnable zip of several, in which nothing depends on when and where."""
    with output.open("wb") as stream, ExitStack() as stack:
        parts = {name: stack.enter_context(zipfile.ZipFile(path)) for name, path in files.items()}
        stream.write(b"#!/usr/bin/env python3\n")
        archive = stack.enter_context(zipfile.ZipFile(stream, "w"))
        add(archive, "__main__.py", (ROOT / "mcpgw" / "pyz.py").read_bytes())
        add(archive, "targets.json", json.dumps(sorted(files)).encode())
        names = {name for part in parts.values() for name in part.namelist()}
        for entry in sorted(names - {"__main__.py"}):
            add_entry(archive, entry, parts)
    output.chmod(0o755)


def add_entry(archive: zipfile.ZipFile, entry: str, parts: Mapping[str, zipfile.ZipFile]) -> None:
    """Copy one entry of the parts: once if it is the same in all, else under each one's name."""
    versions = {
        name: part.read(entry) for name, part in sorted(parts.items()) if entry in part.NameToInfo
    }
    if len(versions) == len(parts) and len(set(versions.values())) == 1:
        versions = {"": next(iter(versions.values()))}
    for name, content in versions.items():
        add(archive, f"{name}/{entry}".lstrip("/"), content)


def add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Add an entry that shows no trace of this machine."""
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.external_attr = 0o100644 << 16
    entry.create_system = 3  # Unix, also when built on Windows
    archive.writestr(entry, content, zipfile.ZIP_DEFLATED)


def write_locks(tools: Toolbox) -> None:
    """Resolve everything anew, for all Pythons and platforms at once."""
    for name, inputs in LOCKS_FROM.items():
        say(f"locking .locks/{name}")
        hashed = ("--generate-hashes", "--custom-compile-command", "python3 build_zipapp.py --lock")
        tools.run("uv", *UV_COMPILE.split(), *hashed, *inputs, "--output-file", f".locks/{name}")


def interpreter(env: Path) -> Path:
    """The Python of a virtual environment."""
    return env / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def settle(made: Path, folder: Path) -> None:
    """Move what was made to its place, unless another build was quicker."""
    try:
        made.rename(folder)
    except OSError:
        if not folder.exists():
            raise


def digest(*parts: bytes) -> str:
    """A short name for contents."""
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def say(what: str) -> None:
    """Tell the person at the terminal."""
    print(what, file=sys.stderr, flush=True)


def parse_options(argv: Sequence[str]) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description="Build dist/mcpgw.pyz.")
    option = parser.add_argument
    names = "host, default (host and container image), all, or names like cp313-linux-x86_64"
    option("--targets", nargs="+", default=["default"], metavar="TARGET", help=names)
    option("--wheelhouse", type=Path, help="take packages from this folder, not from the index")
    option("--fill-wheelhouse", type=Path, help="only download what a build needs to this folder")
    option("--output", type=Path, default=ROOT / "dist" / "mcpgw.pyz")
    option("--cache", type=Path, default=ROOT / ".cache" / "build")
    option("--lock", action="store_true", help="only update the locks")
    return parser.parse_args(argv)


def run(options: argparse.Namespace) -> int:
    """Do what was asked for; the exit status."""
    if sys.version_info < (3, 11):  # noqa: UP036 - whoever has an older one learns it here
        raise BuildError("Python 3.11 or later is needed")
    started = time.monotonic()
    targets = choose_targets(options.targets)
    house = options.wheelhouse and options.wheelhouse.resolve()
    source = ("--no-index", "--find-links", house) if house else ()
    lock = "lock.txt" if options.lock else "build.txt"
    tools = Toolbox(options.cache.resolve(), lock, source)
    if options.lock:
        write_locks(tools)
    elif not tools.is_active:
        return tools.rerun()
    elif options.fill_wheelhouse:
        fill_wheelhouse(tools, targets, options.fill_wheelhouse.resolve())
    else:
        build(tools, source, targets, options.output)
        content = options.output.read_bytes()
        say(
            f"built {options.output} for {', '.join(target.name for target in targets)}: "
            f"{len(content) / 2**20:.1f} MiB in {time.monotonic() - started:.1f} s, "
            f"sha256 {hashlib.sha256(content).hexdigest()}"
        )
    return 0


def main() -> int:
    """Run the command line."""
    try:
        return run(parse_options(sys.argv[1:]))
    except BuildError as exc:
        say(f"build_zipapp.py: {exc}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
