#!/usr/bin/env python3
"""Build ``dist/mcpgw.pyz``: the program and its locked dependencies in one file.

Needs nothing but Python with venv. Every download is checked against `.locks/`; the
build tools live in a private environment under `.cache/`. How the file comes about:

1. pip installs the locked wheels of each target into a folder of its own;
2. shiv makes a runnable zip of each;
3. the zips are merged: what is the same in all is kept once, and `mcpgw.pyz` (the
   module) picks the target's entries when the file is started.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from configparser import ConfigParser
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
UV_COMPILE: Final = (
    *("pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--upgrade"),
    *("--generate-hashes", "--no-annotate"),
    *("--custom-compile-command", "python3 build_zipapp.py --lock"),
)
LOCKS_FROM: Final[Mapping[str, tuple[str, ...]]] = {
    "runtime.txt": ("setup.cfg",),
    "dev.txt": ("setup.cfg", "--extra", "dev", "--constraint", ".locks/runtime.txt"),
    "build.txt": (".locks/build.in",),
    "lock.txt": (".locks/lock.in",),
}
"""Each lock, and what uv makes it from: the project's metadata, or the names of the tools."""

INSTALL_TRACES: Final = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}
"""What pip notes about an installation: paths and times that differ from build to build."""


class BuildError(Exception):
    """The build cannot go on; the message says what to do."""


@dataclass(frozen=True)
class Target:
    """One interpreter on one platform."""

    python: str
    """Such as ``3.13``."""

    platform: str
    """One of `PLATFORMS`, or something else where only the host itself is the target."""

    @property
    def name(self) -> str:
        """Such as ``cp313-linux-x86_64``; the same as `mcpgw.pyz.host_target` gives there."""
        return f"cp{self.python.replace('.', '')}-{self.platform}"

    @property
    def is_foreign(self) -> bool:
        """Whether pip has to be told the tags, as it does for all platforms we know.

        For the host as well: what is taken then depends on the target, not on the machine.
        """
        return self.platform in PLATFORMS

    def pip_options(self) -> Iterator[str]:
        """What makes pip choose wheels for this target."""
        if self.is_foreign:
            yield from ("--implementation", "cp", "--python-version", self.python)
            for tag in platform_tags(self.platform):
                yield from ("--platform", tag)

    def lock(self) -> str:
        """What of the lock applies to this target."""
        from packaging.requirements import Requirement

        lines = []
        for requirement, hashes in read_lock(LOCKS / "runtime.txt").items():
            parsed = Requirement(requirement)
            if parsed.marker is None or parsed.marker.evaluate({**self.markers()}):
                lines.append(f"{parsed.name}{parsed.specifier} {hashes}\n")
        return "".join(lines)

    def markers(self) -> dict[str, str]:
        """The environment that markers in the lock are evaluated in."""
        if not self.is_foreign:
            return {}
        system, machine = self.platform.split("-")
        return {
            "python_version": self.python,
            "python_full_version": f"{self.python}.0",
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
            "sys_platform": system,
            "os_name": "nt" if system == "win32" else "posix",
            "platform_system": {"win32": "Windows", "darwin": "Darwin"}.get(system, "Linux"),
            "platform_machine": "AMD64" if machine == "amd64" else machine,
        }


def platform_tags(platform: str) -> Iterator[str]:
    """The wheel tags that fit `platform`, best first."""
    system, machine = platform.split("-")
    if system == "linux":
        for minor in range(OLDEST_GLIBC[1], 16, -1):
            yield f"manylinux_2_{minor}_{machine}"
        yield f"manylinux2014_{machine}"
        if machine == "x86_64":
            yield from ("manylinux2010_x86_64", "manylinux1_x86_64")
    elif system == "darwin":
        for kind in (machine, "universal2"):
            yield from (f"macosx_{major}_0_{kind}" for major in (14, 13, 12, 11))
        yield "macosx_10_9_universal2"
    else:
        yield f"win_{machine}"


def parse_target(name: str) -> Target:
    """The target called `name`.

    Raises:
        BuildError: It is neither one we know nor this machine.
    """
    tag, _, platform = name.partition("-")
    target = Target(python=f"3.{tag.removeprefix('cp3')}", platform=platform)
    known = target.python in PYTHONS and platform in PLATFORMS
    if not known and name != host_target():
        raise BuildError(
            f"no such target: {name}. Use host, default, all, or names made of "
            f"cp311…cp314 and {', '.join(PLATFORMS)}, such as cp313-linux-x86_64."
        )
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

    def __init__(self, cache: Path, lock: str, source: Sequence[str | Path]) -> None:
        self.cache = cache
        self._lock = LOCKS / lock
        self._source = source
        key = digest(self._lock.read_bytes(), sys.version.encode(), sys.base_prefix.encode())
        self._folder = cache / f"{self._lock.stem}-{key}"

    def __enter__(self) -> "Toolbox":
        """Make the environment unless it is there.

        Raises:
            BuildError: This Python has no venv, or the tools could not be had.
        """
        if not self._folder.exists():
            say(f"making {self._folder}")
            with self.scratch() as scratch:
                self._make(scratch / "env")
                settle(scratch / "env", self._folder)
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Leave the environment for the next build."""

    def _make(self, folder: Path) -> None:
        try:
            venv.create(folder, with_pip=True)
        except (subprocess.CalledProcessError, ImportError) as exc:
            raise BuildError(
                "this Python cannot make virtual environments (on Debian and Ubuntu: "
                "apt install python3-venv)"
            ) from exc
        self._run(
            interpreter(folder), "pip", "install", *PIP, *HASHED, *self._source, "-r", self._lock
        )

    @property
    def is_active(self) -> bool:
        """Whether this very program runs in the environment."""
        return Path(sys.prefix) == self._folder

    def rerun(self) -> int:
        """Run this program again, inside; its exit status."""
        return subprocess.run([interpreter(self._folder), *sys.argv], check=False).returncode

    def run(self, module: str, *args: str | Path) -> None:
        """Run a module of the environment.

        Raises:
            BuildError: It failed; what it said is on stderr.
        """
        self._run(interpreter(self._folder), module, *args)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder on the cache's own file system, so that results can be moved out of it."""
        self.cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.cache, prefix="tmp-") as name:
            yield Path(name)

    def _run(self, python: Path, module: str, *args: str | Path) -> None:
        environ = {**os.environ, "SOURCE_DATE_EPOCH": EPOCH, "PYTHONDONTWRITEBYTECODE": "1"}
        command = [python, "-I", "-m", module, *args]
        if subprocess.run(command, env=environ, check=False).returncode:
            raise BuildError(f"{module} {args[0]} failed; what it said is above")


def installed(tools: Toolbox, source: Sequence[str | Path], target: Target) -> Path:
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
        say(f"downloading the dependencies for {target.name}")
        pip_locked(tools, "download", target, "--dest", house)


def pip_locked(tools: Toolbox, verb: str, target: Target, *args: str | Path) -> None:
    """Run pip over what is locked for `target`."""
    with tools.scratch() as scratch:
        (scratch / "lock.txt").write_text(target.lock())
        lock = ("-r", scratch / "lock.txt")
        tools.run("pip", verb, *PIP, *HASHED, *target.pip_options(), *args, *lock)


def install_program(tools: Toolbox, site: Path) -> None:
    """Install mcpgw itself into `site`, from the tracked files of the working tree.

    Built from a copy: setuptools leaves folders behind that a later build would pick up.
    """
    with tools.scratch() as stage:
        for name in ("setup.cfg", "pyproject.toml", *tracked_files()):
            (stage / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, stage / name)
        options = ("--no-index", "--no-build-isolation", "--no-compile", "--target", site)
        tools.run("pip", "install", *PIP, *options, stage)
    strip_traces(site)


def tracked_files() -> list[str]:
    """The package's files as git knows them; without git, all that are not caches."""
    git = ["git", "-C", str(ROOT), "ls-files", "-z"]
    listed = subprocess.run([*git, "mcpgw", "README.md"], capture_output=True, text=True, check=False)
    if listed.returncode:
        package = (ROOT / "mcpgw").rglob("*")
        found = [path for path in package if path.is_file() and "__pycache__" not in path.parts]
        return sorted(str(path.relative_to(ROOT)) for path in found)
    stray = subprocess.run(
        [*git, "--others", "--exclude-standard", "mcpgw"],
        capture_output=True,
        text=True,
        check=True,
    )
    if stray.stdout:
        say(f"left out, git does not track them: {' '.join(stray.stdout.split(chr(0)))}")
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()]


def strip_traces(site: Path) -> None:
    """Remove what differs between two installations of the same packages."""
    shutil.rmtree(site / "bin", ignore_errors=True)
    shutil.rmtree(site / "Scripts", ignore_errors=True)
    for path in site.glob("*.dist-info/*"):
        if path.name in INSTALL_TRACES:
            path.unlink()


def build(
    tools: Toolbox, source: Sequence[str | Path], targets: Sequence[Target], output: Path
) -> None:
    """Write the file for all `targets`."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        sites = dict(
            zip(targets, pool.map(partial(installed, tools, source), targets), strict=True)
        )
    with tools.scratch() as scratch:
        install_program(tools, scratch / "own")
        for target, site in sites.items():
            folders = ("--site-packages", site, "--site-packages", scratch / "own")
            entry = ("--reproducible", "--uncompressed", "-e", "mcpgw.cli:main")
            tools.run("shiv", *folders, *entry, "-o", scratch / target.name)
        merge({target.name: scratch / target.name for target in targets}, scratch / "merged")
        output.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(scratch / "merged", output)


def merge(files: Mapping[str, Path], output: Path) -> None:
    """Make one runnable zip of several: an entry alike in all is kept once, at its own name.

    Names, order, times and modes depend on nothing but the contents.
    """
    with output.open("wb") as stream, ExitStack() as stack:
        parts = {name: stack.enter_context(zipfile.ZipFile(path)) for name, path in files.items()}
        stream.write(b"#!/usr/bin/env python3\n")
        archive = stack.enter_context(zipfile.ZipFile(stream, "w"))
        add(archive, "__main__.py", (ROOT / "mcpgw" / "pyz.py").read_bytes())
        add(archive, "targets.json", json.dumps(sorted(files)).encode())
        for entry in sorted({name for part in parts.values() for name in part.namelist()}):
            if entry != "__main__.py":
                add_entry(archive, entry, parts)
    output.chmod(0o755)


def add_entry(archive: zipfile.ZipFile, entry: str, parts: Mapping[str, zipfile.ZipFile]) -> None:
    """Copy one entry of the parts: once if it is the same in all, else under each one's name."""
    versions = {
        name: part.read(entry) for name, part in sorted(parts.items()) if entry in part.NameToInfo
    }
    if len(versions) == len(parts) and len(set(versions.values())) == 1:
        add(archive, entry, next(iter(versions.values())))
        return
    for name, content in versions.items():
        add(archive, f"{name}/{entry}", content)


def add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Add an entry that shows no trace of this machine."""
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.external_attr = 0o100644 << 16
    entry.create_system = 3  # Unix, also when built on Windows
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, content)


def read_lock(path: Path) -> dict[str, str]:
    """The lock's requirements, markers included, each with its hash options."""
    lines = path.read_text().replace("\\\n", " ").splitlines()
    pairs = (line.partition("--hash") for line in lines if line and not line.startswith("#"))
    return {head.strip(): sep + hashes for head, sep, hashes in pairs}


def write_locks(tools: Toolbox) -> None:
    """Resolve everything anew, for all Pythons and platforms at once."""
    for name, inputs in LOCKS_FROM.items():
        say(f"locking .locks/{name}")
        tools.run("uv", *UV_COMPILE, *inputs, "--output-file", f".locks/{name}")


def check_lock() -> None:
    """See that the lock holds what `setup.cfg` asks for.

    Raises:
        BuildError: It is out of date.
    """
    from packaging.requirements import Requirement

    metadata = ConfigParser()
    metadata.read(ROOT / "setup.cfg")
    locked = [Requirement(line) for line in read_lock(LOCKS / "runtime.txt")]
    versions = {item.name.lower(): str(item.specifier).removeprefix("==") for item in locked}
    for line in metadata["options"]["install_requires"].strip().splitlines():
        asked = Requirement(line)
        if not asked.specifier.contains(versions.get(asked.name.lower(), "0"), prereleases=True):
            raise BuildError(
                f"setup.cfg asks for {line.strip()}, the lock has another version or none: "
                "run python3 build_zipapp.py --lock"
            )


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


def report(output: Path, targets: Sequence[Target], seconds: float) -> None:
    """Tell what was built."""
    content = output.read_bytes()
    say(
        f"built {output} in {seconds:.1f} s: {len(content) / 2**20:.1f} MiB, "
        f"sha256 {hashlib.sha256(content).hexdigest()}\n"
        f"for {', '.join(target.name for target in targets)}"
    )


def parse_options(argv: Sequence[str]) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description="Build dist/mcpgw.pyz.")
    parser.add_argument(
        "--targets",
        nargs="+",
        default=["default"],
        metavar="TARGET",
        help="host, default (host and container image), all, or names such as cp313-linux-x86_64",
    )
    parser.add_argument(
        "--wheelhouse", type=Path, help="take packages from this folder, not from the index"
    )
    parser.add_argument(
        "--fill-wheelhouse", type=Path, help="only download what a build needs into this folder"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "dist" / "mcpgw.pyz")
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache" / "build")
    parser.add_argument("--lock", action="store_true", help="only update the locks")
    return parser.parse_args(argv)


def run(options: argparse.Namespace) -> int:
    """Do what was asked for; the exit status."""
    started = time.monotonic()
    targets = choose_targets(options.targets)
    house = options.wheelhouse and options.wheelhouse.resolve()
    source = ("--no-index", "--find-links", house) if house else ()
    lock = "lock.txt" if options.lock else "build.txt"
    with Toolbox(options.cache.resolve(), lock, source) as tools:
        if options.lock:
            write_locks(tools)
        elif not tools.is_active:
            return tools.rerun()
        elif options.fill_wheelhouse:
            fill_wheelhouse(tools, targets, options.fill_wheelhouse.resolve())
        else:
            check_lock()
            build(tools, source, targets, options.output)
            report(options.output, targets, time.monotonic() - started)
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
