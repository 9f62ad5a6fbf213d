"""What runs first in ``mcpgw.pyz``: finds this machine's packages and a place for them.

`build_zipapp.py` puts this module into the file as ``__main__``; shiv's bootstrap, beside
it, does the unpacking (locked, atomic) and starts the program. It has to parse on any
Python 3, so that a wrong one gets a sentence and not a syntax error.
"""

from __future__ import annotations

import importlib
import json
import os
import stat
import sys
import zipfile
from pathlib import Path
from typing import Any

OLDEST_GLIBC = (2, 28)
"""What the wheels in the file are chosen for: Debian 10, RHEL 8, Ubuntu 20.04 and later."""


def host_target() -> str:
    """The name of this interpreter and platform, such as ``cp313-linux-x86_64``."""
    free_threaded = "t" if "t" in getattr(sys, "abiflags", "") else ""
    major, minor = sys.version_info[:2]
    return f"cp{major}{minor}{free_threaded}-{_system()}-{_machine()}"


def _system() -> str:
    if sys.platform != "linux":
        return sys.platform
    try:
        version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()[1]
    except (ValueError, IndexError):
        return "linux_musl"
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_GLIBC:
        return f"linux_glibc{version}"
    return "linux"


def _machine() -> str:
    if sys.maxsize < 2**32:
        return "32bit"
    if sys.platform == "win32":
        return os.environ.get("PROCESSOR_ARCHITECTURE", "unknown").lower()
    return os.uname().machine


def cache_candidates() -> list[Path]:
    """Where packages may be unpacked to, best first; `MCPGW_CACHE` leaves no choice."""
    explicit = os.environ.get("MCPGW_CACHE")
    if explicit:
        return [Path(explicit).resolve() / "mcpgw"]
    import tempfile  # not needed by most starts

    user = str(os.getuid()) if hasattr(os, "getuid") else "user"
    return [_home_cache() / "mcpgw", Path(tempfile.gettempdir(), f"mcpgw-{user}")]


def _home_cache() -> Path:
    usual = {"darwin": "~/Library/Caches", "win32": os.environ.get("LOCALAPPDATA", "~")}
    chosen = os.environ.get("XDG_CACHE_HOME") or usual.get(sys.platform, "~/.cache")
    return Path(os.path.expanduser(chosen))  # noqa: PTH111 - Path's own raises without a home


def fault(root: Path, build: str) -> str:
    """Why packages cannot be kept in `root`, or nothing if they can.

    A folder that others may write to is refused: what is loaded from it runs as us.
    """
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = root.lstat()
    except OSError as exc:
        return f"cannot be made ({exc.strerror})"
    if not stat.S_ISDIR(facts.st_mode):
        return "is not a folder"
    if sys.platform != "win32":
        if facts.st_uid not in (0, os.getuid()):
            return "belongs to another user"
        if facts.st_mode & 0o022:
            return "may be written to by other users"
        if os.statvfs(root).f_flag & getattr(os, "ST_NOEXEC", 0):
            return "is mounted noexec"
    if not (root / build).exists() and not os.access(root, os.W_OK | os.X_OK):
        return "is not writable"
    return ""


def find_cache(build: str) -> Path:
    """The first folder fit for unpacked packages; exits with a sentence if there is none."""
    faults = []
    for root in cache_candidates():
        why = fault(root, build)
        if not why:
            return root
        faults.append(f"{root} {why}")
    sys.exit(
        f"mcpgw: nowhere to unpack to: {'; '.join(faults)}. Set MCPGW_CACHE to a folder "
        "that belongs to you and allows writing and executing."
    )


def main() -> None:
    """Unpack what this machine needs, once, and run the program."""
    archive = zipfile.ZipFile(sys.argv[0])
    _select(archive, host_target())
    shiv: Any = importlib.import_module("_bootstrap")
    build = json.loads(archive.read("environment.json"))["build_id"]
    folder = shiv.cache_path(archive, "/", build).name
    root = find_cache(folder)
    if not (root / folder / "site-packages").exists():
        _unpack(shiv, archive, root / folder)
    # Nothing installed beside the interpreter may stand in for what the lock chose.
    sys.path[:] = [p for p in sys.path if not p.endswith(("site-packages", "dist-packages"))]
    os.environ["SHIV_ROOT"] = str(root)
    shiv.current_zipfile = lambda: archive
    shiv.bootstrap()


def _unpack(shiv: Any, archive: zipfile.ZipFile, folder: Path) -> None:
    try:
        shiv.extract_site_packages(archive, folder)
    except OSError as exc:
        sys.exit(f"mcpgw: cannot unpack to {folder}: {exc.strerror or exc}")


def _select(archive: zipfile.ZipFile, target: str) -> None:
    """Make the target's own entries look as if they were at the top, where shiv looks."""
    targets = json.loads(archive.read("targets.json"))
    if target not in targets:
        sys.exit(
            f"mcpgw: this file was not built for {target}, only for {', '.join(targets)}. "
            "Run it with a Python it was built for, or build it here: python3 build_zipapp.py"
        )
    for info in archive.filelist:
        if info.filename.startswith(f"{target}/"):
            info.filename = info.filename[len(target) + 1 :]
            archive.NameToInfo[info.filename] = info


if __name__ == "__main__":
    main()
