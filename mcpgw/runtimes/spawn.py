"""Starting a process, and saying in plain words why one could not be started."""

import errno
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mcpgw.errors import StartFailed
from mcpgw.runtimes import orphans
from mcpgw.units import Seconds


@dataclass(frozen=True, slots=True)
class Spawned:
    """A process and our ends of its pipes; whoever has it must reap one and close the others."""

    process: "subprocess.Popen[bytes]"
    stdin: int
    stdout: int
    stderr: int


@dataclass(frozen=True, slots=True)
class Program:
    """What to run for a tool."""

    tool: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    cwd: Path


def spawn(program: Program) -> Spawned:
    """Start a process that leads its own session, so that Ctrl-C and group signals miss us.

    Raises:
        StartFailed: It could not be started; nothing is left open.
    """
    fds: list[int] = []
    try:
        for _ in range(3):
            fds += os.pipe()
        stdin, to_stdin, from_stdout, stdout, from_stderr, stderr = fds
        process = _run(program, stdin, stdout, stderr)
    except OSError as exc:
        _close(fds)
        raise _explained(program, exc) from None
    except ValueError as exc:  # a null character, which no system call can take
        _close(fds)
        raise StartFailed(f"{program.tool}: cmd, args or env: {exc}") from None
    orphans.claim(process.pid)
    _close([stdin, stdout, stderr])
    return Spawned(process, to_stdin, from_stdout, from_stderr)


def _run(program: Program, stdin: int, stdout: int, stderr: int) -> "subprocess.Popen[bytes]":
    # No preexec_fn, not even for PR_SET_PDEATHSIG: with it a start costs 3 ms and more with
    # our memory (0.2 ms without, whatever our size), and may deadlock beside other threads.
    return subprocess.Popen(  # noqa: S603 - the operator's own configuration
        program.command,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        cwd=program.cwd,
        env=program.environment,
        start_new_session=True,
        close_fds=True,
    )


_REMEDIES: Final = {
    errno.EACCES: "it must not be run: give the file its run bit (chmod +x) and check that "
    "its folders may be entered",
    errno.ENOEXEC: "it is no program for this machine; a script needs a first line such as "
    "#!/bin/sh",
    errno.E2BIG: "its arguments and environment are too long together",
}
"""What an error means and asks for, where that is all there is to say."""

_EXHAUSTED: Final = {
    errno.EAGAIN: "as many processes run as the system allows (ulimit -u, pids.max)",
    errno.ENOMEM: "the system is out of memory",
    errno.EMFILE: "the gateway has as many files open as it may (ulimit -n)",
    errno.ENFILE: "the system has as many files open as it can",
}
"""What may be different the next time."""

_TRY_AGAIN: Final = Seconds(5)


def _explained(program: Program, exc: OSError) -> StartFailed:
    start = f"{program.tool}: {program.command[0]} could not be started"
    if exc.errno in _EXHAUSTED:
        return StartFailed(f"{start}: {_EXHAUSTED[exc.errno]}", retry_after=_TRY_AGAIN)
    if not program.cwd.is_dir():
        return StartFailed(f"{start}: its working directory {program.cwd} is no directory; see cwd")
    if exc.errno == errno.ENOENT:
        return StartFailed(f"{start}: {_missing(program.command[0])}")
    return StartFailed(f"{start}: {_REMEDIES.get(exc.errno or 0, exc.strerror)}")


def _missing(path: str) -> str:
    if Path(path).exists():
        return "the interpreter that its first line names does not exist"
    return "there is no such file; see cmd"


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
