"""The real runner as a process."""

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.testbed.gateway import _parsed
from tests.testbed.parts import ROOT
from tests.testbed.pipes import Lines

_WAIT: Final = 20.0


class Runner:
    """A runner that listens."""

    def __init__(self, config: Path, path: Path, *args: str) -> None:
        command = [sys.executable, "-m", "mcpgw", "runner", "--config", str(config)]
        self.path: Final = path
        self.process: Final = subprocess.Popen(
            [*command, "--socket", str(path), *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert self.process.stderr is not None
        self.log: Final[list[str]] = []
        self._lines = Lines(self.process.stderr)
        self.wait_for("runner.started")

    def wait_for(self, event: str) -> dict[str, Any]:
        """The next entry of the log of this event."""
        while (line := self._lines.next(_WAIT)) is not None:
            self.log.append(line)
            if (entry := _parsed(line)).get("event") == event:
                return entry
        raise AssertionError("\n".join(["the runner ended", *self.log]))

    def stop(self) -> None:
        """End it, and check that it ended well."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=_WAIT) == 0, self.log
        assert not self.path.exists()

    def close(self) -> None:
        """End it if it still runs."""
        self.process.kill()
        self.process.wait()
        self._lines.close()


@contextmanager
def running_runner(config: Path, *args: str, path: Path | None = None) -> Iterator[Runner]:
    """A runner with this configuration, for the length of the block."""
    # Not in pytest's folders: the path of a socket has room for 107 bytes.
    runner = Runner(config, path or socket_path(), *args)
    try:
        yield runner
        if runner.process.poll() is None:
            runner.stop()
    finally:
        runner.close()


def socket_path() -> Path:
    """A path for a runner's socket."""
    return Path("/tmp", f"mcpgw-test-{secrets.token_hex(4)}.sock")
