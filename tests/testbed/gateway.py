"""The real gateway as a process, watched from outside."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.testbed.parts import ROOT
from tests.testbed.pipes import Lines

START_SECONDS: Final = 15.0
STOP_SECONDS: Final = 45.0
LOG_SECONDS: Final = 10.0


class Gateway:
    """A running gateway: where it is, what it says, and what it left behind."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stderr is not None
        self.process: Final = process
        self.log: Final[list[str]] = []
        self._lines = Lines(process.stderr)
        self.base: Final[str] = str(self.wait_for(_started, within=START_SECONDS)["url"])

    def url(self, tool: str) -> str:
        """Where a client finds a tool."""
        return f"{self.base.rstrip('/').removesuffix('/mcp')}/mcp/{tool}"

    def wait_for(
        self, wanted: Callable[[dict[str, Any]], object], *, within: float = LOG_SECONDS
    ) -> dict[str, Any]:
        """The first entry of the log that is wanted, past or to come.

        Raises:
            AssertionError: There was none in time, or the gateway ended; with the log's end.
        """
        for past in self.log:
            if wanted(entry := _parsed(past)):
                return entry
        deadline = time.monotonic() + within
        while True:
            try:
                line = self._lines.next(max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                raise AssertionError(self._complaint(f"not logged within {within} s")) from None
            if line is None:
                raise AssertionError(self._complaint("the gateway ended"))
            self.log.append(line)
            if wanted(entry := _parsed(line)):
                return entry

    def stop(self) -> None:
        """End it with SIGTERM, and check that it ended well and left nothing behind."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=STOP_SECONDS)
        self._drain()
        assert code == 0, self._complaint(f"exit code {code}")
        assert not any("Traceback" in line for line in self.log), self._complaint("a traceback")
        leaked = wait_until_gone(self.process.pid)
        assert not leaked, f"left behind: {leaked}"

    def close(self) -> None:
        """End it if it still runs, whatever state it is in."""
        self.process.kill()
        self.process.wait()
        self._lines.close()

    def _drain(self) -> None:
        while (line := self._lines.next(5)) is not None:
            self.log.append(line)

    def _complaint(self, what: str) -> str:
        return "\n".join([what, "the log ends with:", *self.log[-40:]])


@contextmanager
def running_gateway(
    config: str, *args: str, env: dict[str, str] | None = None, cwd: Path = ROOT
) -> Iterator[Gateway]:
    """A gateway with this configuration, on a free port; stopped and checked at the end."""
    command = [sys.executable, "-m", "mcpgw", "--config", "-", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--log-format", "json", *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
    )
    assert process.stdin is not None
    process.stdin.write(config)
    process.stdin.close()
    gateway = Gateway(process)
    try:
        yield gateway
        gateway.stop()
    finally:
        gateway.close()


def wait_until_gone(gateway_pid: int, *, within: float = 5.0) -> list[str]:
    """The processes a gateway started that are still there after a while; best none."""
    deadline = time.monotonic() + within
    while (found := started_by(gateway_pid)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def wait_for_process(gateway_pid: int, command: str, *, within: float = 5.0) -> None:
    """Wait until a process that a gateway started runs this command; its start tells nobody."""
    deadline = time.monotonic() + within
    while not any(command in entry for entry in started_by(gateway_pid)):
        assert time.monotonic() < deadline, f"{command} never ran"
        time.sleep(0.02)


def started_by(gateway_pid: int) -> list[str]:
    """The processes that carry the mark of this gateway, as `pid: command line`."""
    mark = f"MCPGW_OWNER={gateway_pid}:".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and _carries(folder, mark):
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            found.append(f"{folder.name}: {command}")
    return found


def _carries(folder: Path, mark: bytes) -> bool:
    try:
        entries = (folder / "environ").read_bytes().split(b"\0")
    except OSError:  # it ended, or is not ours
        return False
    return any(entry.startswith(mark) for entry in entries)


def _started(entry: dict[str, Any]) -> bool:
    return entry.get("event") == "gateway.started"


def _parsed(line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError:
        return {"event": line}
    return entry if isinstance(entry, dict) else {"event": line}
