"""What an instance is started with: its environment and its program.

Both are looked up at each start, so that a rotated secret or an installed program
needs no reload. The files involved are small and local; nothing here waits for a network.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from mcpgw.config.schema import ServerSpec
from mcpgw.errors import StartFailed
from mcpgw.sandbox.secrets import read_reference
from mcpgw.sandbox.self_command import self_command

SELF: Final = "mcpgw"
"""The command that stands for this very program."""

INHERITED: Final = ("PATH", "HOME", "LANG", "TMPDIR")
"""What every instance gets from the gateway's environment, where it is there."""

_LANG: Final = "C.UTF-8"
"""MCP is UTF-8, and many programs speak ASCII where nobody says so."""

_HEAD: Final = 256

_INSTALL: Final[Mapping[str, str]] = {
    "npx": "it comes with Node.js, https://nodejs.org",
    "node": "install Node.js, https://nodejs.org",
    "uvx": "it comes with uv, https://docs.astral.sh/uv",
    "uv": "install uv, https://docs.astral.sh/uv",
    "docker": 'install Docker, or use "runtime: container"',
    "python": 'write "python3"',
}


def child_environment(spec: ServerSpec, own: Mapping[str, str]) -> dict[str, str]:
    """Give the environment of an instance: a minimum of `own`, and what `env` names.

    Raises:
        StartFailed: A variable is not set or a file cannot be read; never says a value.
    """
    environment = {name: own[name] for name in INHERITED if name in own}
    environment.setdefault("PATH", os.defpath)
    environment.setdefault("LANG", _LANG)
    for name in spec.env:
        environment[name] = _variable(spec, name, own)
    return environment


def container_environment(
    spec: ServerSpec, own: Mapping[str, str], *, base_dir: Path
) -> dict[str, str]:
    """Give what a container's environment has besides its image's: a home, and what `env` names.

    Raises:
        StartFailed: See `child_environment`.
    """
    # Its user is known to no image, so its home would be "/", which it cannot write to.
    environment = {"HOME": "/tmp"}  # noqa: S108 - the container's own
    local = spec.model_copy(update={"cwd": base_dir})  # files of secrets are on this side
    for name in spec.env:
        environment[name] = _variable(local, name, own)
    return environment


def find_command(
    spec: ServerSpec, *, tools_root: Path, base_dir: Path, own: Mapping[str, str]
) -> tuple[str, ...]:
    """Give the program of a native tool, as the words its arguments follow.

    `own` is the gateway's environment; a PATH in the tool's `env` wins over the one there.

    Raises:
        StartFailed: There is no such program, or it is not one that can be run.
    """
    cmd = spec.cmd or ""
    if cmd == SELF:
        return self_command()
    if "/" in cmd:
        return (_runnable(spec, base_dir / Path(cmd).expanduser()),)
    found = list(_candidates(spec, cmd, tools_root, own))
    for candidate in found:
        if os.access(candidate, os.X_OK):
            return (_runnable(spec, candidate),)
    if found:
        return (_runnable(spec, found[0]),)  # raises, and says why
    hint = f"; {_INSTALL[cmd]}" if cmd in _INSTALL else _split_hint(cmd)
    raise _failed(
        spec,
        f"the program {cmd!r} was found neither on PATH nor in tools_root ({tools_root}){hint}",
    )


def _candidates(
    spec: ServerSpec, cmd: str, tools_root: Path, own: Mapping[str, str]
) -> Iterator[Path]:
    """Give the files of that name, in the order in which they count."""
    for folder in (*map(Path, _search_path(spec, own).split(os.pathsep)), tools_root):
        # Not in folders seen from wherever the gateway happens to run.
        if folder.is_absolute() and (folder / cmd).is_file():
            yield folder / cmd


def _search_path(spec: ServerSpec, own: Mapping[str, str]) -> str:
    if "PATH" in spec.env:
        return _variable(spec, "PATH", own)
    return own.get("PATH", os.defpath)


def _runnable(spec: ServerSpec, path: Path) -> str:
    """Give the path of a program, or say what keeps it from being run."""
    if path.is_dir():
        raise _failed(spec, f"{path} is a directory; name the program in it")
    if not path.exists():
        raise _failed(spec, f"there is no program {path}{_split_hint(spec.cmd or '')}")
    if not os.access(path, os.X_OK):
        raise _failed(spec, f"{path} is not executable; run: chmod +x {path}")
    if fault := _script_fault(_head(path)):
        raise _failed(spec, f"{path} {fault}")
    return str(path)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD)
    except OSError:
        return b"\0"  # may be run but not read: the kernel will tell


def _split_hint(cmd: str) -> str:
    """Say what to do about a whole command line where a program belongs; else nothing."""
    return f'; is {cmd!r} a program and its arguments? they go into "args"' if " " in cmd else ""


def _script_fault(head: bytes) -> str:
    """Say what keeps a script from being run, from how it begins; nothing for a binary."""
    line = head.partition(b"\n")[0]
    if b"\0" in head:
        return ""
    if not line.startswith(b"#!"):
        return 'is a script without a first line such as "#!/bin/sh"'
    if line.endswith(b"\r"):
        return 'has Windows line ends, so its "#!" line names no program; save it with Unix ones'
    interpreter = os.fsdecode((line[2:].split() or [b""])[0])
    if not Path(interpreter).exists() or not interpreter:
        return f"asks for {interpreter!r} in its first line, which does not exist"
    return ""


def _variable(spec: ServerSpec, name: str, own: Mapping[str, str]) -> str:
    try:
        return read_reference(spec.env[name], own, base_dir=spec.cwd or Path())
    except ValueError as exc:
        raise _failed(spec, f"env.{name}: {exc}") from None


def _failed(spec: ServerSpec, text: str) -> StartFailed:
    return StartFailed(f"{spec.name}: {text}")
