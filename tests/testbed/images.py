"""Container images without a registry: made of what this machine has, and loaded.

An image is layers of files and a little configuration, in the format of `docker save`.
Equal files make an equal image, so one that the engine has is not loaded again.
"""

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

from tests.testbed.parts import ROOT, find

PREFIX: Final = "mcpgw-test"
_EPOCH: Final = 1_700_000_000
_PATH: Final = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_APPLETS: Final = (
    *("sh", "cat", "sleep", "ls", "env", "id", "kill", "echo", "head", "wc", "grep", "ip", "mount"),
    *("ps", "touch", "dd", "yes", "nc", "true", "false", "stat", "mkdir", "rm", "tail", "od"),
    *("printf", "date", "readlink", "seq", "tr"),
)
_UNUSED: Final = re.compile(
    r"(^|/)(test|tests|idlelib|tkinter|turtledemo|ensurepip|lib2to3|pydoc_data|site-packages"
    r"|dist-packages|__pycache__|config-[^/]*)/|\.(pyc|whl|exe|a|map)$"
)


class Layer:
    """Files, with the paths they have in the image; all belong to root and anybody may read."""

    def __init__(self) -> None:
        self._file = io.BytesIO()
        self._tar = tarfile.TarFile(fileobj=self._file, mode="w", format=tarfile.GNU_FORMAT)
        self._seen = {""}

    def folder(self, path: str, mode: int = 0o755) -> "Layer":
        """Add a folder, and those above it."""
        path = path.strip("/")
        if path not in self._seen:
            self.folder(str(Path(path).parent).lstrip("."))
            self._add(path, tarfile.DIRTYPE, mode)
        return self

    def text(self, path: str, content: str, mode: int = 0o644) -> "Layer":
        """Add a file of this content."""
        return self._content(path, content.encode(), mode)

    def link(self, path: str, target: str) -> "Layer":
        """Add a symbolic link."""
        self.folder(str(Path(path).parent))
        if path.strip("/") not in self._seen:
            self._add(path.strip("/"), tarfile.SYMTYPE, 0o777, link=target)
        return self

    def file(self, source: Path | str, path: str | None = None) -> "Layer":
        """Add a file of this machine, under its own path or another."""
        source = Path(source)
        mode = 0o755 if os.access(source, os.X_OK) else 0o644
        return self._content(str(path or source), source.read_bytes(), mode)

    def tree(self, source: Path, path: str) -> "Layer":
        """Add a folder of this machine, without what no program needs."""
        for found in sorted(source.rglob("*")):
            inside = found.relative_to(source).as_posix()
            if _UNUSED.search(f"{inside}/" if found.is_dir() else inside):
                continue
            if found.is_symlink():
                self.link(f"{path}/{inside}", str(found.readlink()))
            elif found.is_file():
                self.file(found, f"{path}/{inside}")
        return self

    def program(self, source: Path | str, path: str | None = None) -> "Layer":
        """Add a program and the libraries it is linked with."""
        self.file(Path(source).resolve(), str(path or source))
        for library in _libraries(source):
            self.file(Path(library).resolve(), library)
        return self

    def read(self) -> bytes:
        """Give the layer as a tar file, and end it."""
        self._tar.close()
        return self._file.getvalue()

    def _content(self, path: str, data: bytes, mode: int) -> "Layer":
        self.folder(str(Path(path).parent))
        if path.strip("/") not in self._seen:
            self._add(path.strip("/"), tarfile.REGTYPE, mode, data=data)
        return self

    def _add(self, path: str, kind: bytes, mode: int, *, data: bytes = b"", link: str = "") -> None:
        self._seen.add(path)
        entry = tarfile.TarInfo(path)
        entry.type, entry.mode, entry.mtime, entry.linkname = kind, mode, _EPOCH, link
        entry.size = len(data)
        self._tar.addfile(entry, io.BytesIO(data))


@dataclass(frozen=True, slots=True)
class Image:
    """One image: what is in it, and how it starts."""

    name: str
    layers: tuple[Callable[[], bytes], ...]
    config: Mapping[str, Any] = field(default_factory=dict)
    obstacle: Callable[[], str | None] = lambda: None
    """Why this machine cannot make it, or None."""

    @property
    def tag(self) -> str:
        """What the engine calls it."""
        return f"{PREFIX}/{self.name}:1"

    def archive(self) -> tuple[str, bytes]:
        """Give its id, and what `docker load` takes."""
        layers = [make() for make in self.layers]
        digests = [hashlib.sha256(layer).hexdigest() for layer in layers]
        config = {
            "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine],
            "os": "linux",
            "created": "2023-11-14T22:13:20Z",
            "config": {"Env": [_PATH], **self.config},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{d}" for d in digests]},
        }
        raw = json.dumps(config, sort_keys=True).encode()
        identity = hashlib.sha256(raw).hexdigest()
        names = [f"{digest}/layer.tar" for digest in digests]
        manifest = [{"Config": f"{identity}.json", "RepoTags": [self.tag], "Layers": names}]
        files = {
            **dict(zip(names, layers, strict=True)),
            f"{identity}.json": raw,
            "manifest.json": json.dumps(manifest).encode(),
        }
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            for name, data in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
        return f"sha256:{identity}", out.getvalue()


def _base() -> Layer:
    layer = Layer()
    layer.text("etc/passwd", "root:x:0:0::/root:/bin/sh\nmcp:x:10001:10001::/tmp:/bin/sh\n")
    layer.text("etc/group", "root:x:0:\nmcp:x:10001:\n")
    return layer.folder("tmp", 0o1777).folder("workspaces").folder("data", 0o777)


@cache
def _busybox() -> bytes:
    layer = _base().file("/bin/busybox", "bin/busybox")
    for applet in _APPLETS:
        layer.link(f"bin/{applet}", "busybox")
    return layer.read()


@cache
def _python() -> bytes:
    layer = Layer()
    interpreter = Path(sys.executable).resolve()
    library = Path(sysconfig.get_path("stdlib"))
    layer.program(interpreter).link("usr/local/bin/python3", str(interpreter))
    layer.tree(library, str(library))
    # What our own packages are linked with as well, so that mcpgw can run in it.
    packages = Path(sysconfig.get_path("platlib"))
    for module in (*(library / "lib-dynload").glob("*.so"), *packages.rglob("*.so")):
        for needed in _libraries(module):
            layer.file(Path(needed).resolve(), needed)
    return layer.read()


@cache
def _servers() -> bytes:
    return Layer().tree(ROOT / "tests" / "servers", "app/servers").read()


@cache
def _node_filesystem() -> bytes:
    node, part = shutil.which("node"), find("node")
    assert node is not None and part is not None
    layer = Layer().program(Path(node).resolve(), "/usr/local/bin/node")
    return layer.tree(part / "node_modules", "app/node_modules").read()


@cache
def _caddy() -> bytes:
    program = shutil.which("caddy")
    assert program is not None
    return Layer().program(program, "/usr/bin/caddy").folder("data").folder("config").read()


@cache
def _sdk() -> bytes:
    part = find("mcp2")
    assert part is not None
    [packages] = part.glob("lib/python*/site-packages")
    layer = Layer()
    for found in sorted(packages.iterdir()):
        layer.tree(found, f"app/packages/{found.name}") if found.is_dir() else layer.file(
            found, f"app/packages/{found.name}"
        )
    for module in packages.rglob("*.so"):
        for needed in _libraries(module):
            layer.file(Path(needed).resolve(), needed)
    return layer.tree(ROOT / "tests" / "e2e" / "servers", "app/e2e").read()


@cache
def _libraries(program: Path | str) -> tuple[str, ...]:
    listed = subprocess.run(["ldd", str(program)], capture_output=True, text=True).stdout
    # "name => path (address)", or "path (address)"; a loader of its own comes as "path => path".
    found = re.findall(r"^\s*(/\S+)(?: => .*)? \(0x|=> (/\S+) \(0x", listed, re.MULTILINE)
    return tuple(own or needed for own, needed in found)


def _no_busybox() -> str | None:
    return None if Path("/bin/busybox").exists() else "busybox-static is not installed"


def _no_python() -> str | None:
    loaders = [path for path in _libraries(sys.executable) if "/ld-" in path]
    if not all(path.startswith(("/lib", "/usr/lib")) for path in loaders):
        return "this Python has a C library of its own, whose parts cannot be told"
    if Path(sys.executable).resolve().is_relative_to("/tmp"):
        return "this Python is below /tmp, where a container has a folder of its own"
    return _no_busybox()


def _no_part(name: str) -> Callable[[], str | None]:
    return lambda: None if find(name) is not None else f"testbed part {name} is not installed"


BUSYBOX: Final = Image("busybox", (_busybox,), {"Cmd": ["/bin/cat"]}, _no_busybox)
PYTHON: Final = Image(
    "python",
    (_busybox, _python, _servers),
    {"Entrypoint": ["/usr/local/bin/python3", "-I", "-S", "-u"], "WorkingDir": "/data"},
    _no_python,
)
SDK: Final = Image(
    "sdk",
    (_busybox, _python, _sdk),
    {
        "Entrypoint": ["/usr/local/bin/python3", "-s", "-u"],
        "Env": [_PATH, "PYTHONPATH=/app/packages", "PYTHONDONTWRITEBYTECODE=1"],
    },
    _no_part("mcp2"),
)
CADDY: Final = Image(
    "caddy",
    (_busybox, _caddy),
    {"Env": [_PATH]},
    lambda: None if shutil.which("caddy") else "caddy is not installed",
)
FILESYSTEM: Final = Image(
    "filesystem",
    (_busybox, _node_filesystem),
    {
        "Entrypoint": [
            "/usr/local/bin/node",
            "/app/node_modules/@modelcontextprotocol/server-filesystem/dist/index.js",
        ]
    },
    _no_part("node"),
)
