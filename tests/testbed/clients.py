"""The official clients, as processes that hold conversations; see tests/clients/client.py.

To add a client: give it a row in `CLIENTS`, and a way to connect in client.py or client.mjs.
"""

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from tests.testbed.parts import ROOT, find, node_executable
from tests.testbed.pipes import Lines

PROGRAMS: Final = ROOT / "tests" / "clients"
CONVERSATION_SECONDS: Final = 75.0
"""Longer than the programs' own limit, so that they are the ones to say what hung."""

Step = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ClientKind:
    """One way in which a real client talks to the gateway."""

    name: str
    part: str
    """The part of the testbed it is in."""
    program: str
    """What the driver program calls it."""
    mode: str
    """`legacy`, or `auto`: discover the era, which at this gateway means modern."""
    path: str = ""
    """What follows the tool's URL."""

    @property
    def modern(self) -> bool:
        """Whether it speaks 2026-07-28 here."""
        return self.mode == "auto"

    def command(self) -> list[str]:
        """The driver's command line; the part must be installed."""
        folder = _installed(self.part)
        if self.part == "node":
            return [node_executable() or "node", str(PROGRAMS / "client.mjs"), folder, self.program]
        return [f"{folder}/bin/python", str(PROGRAMS / "client.py"), self.program]


CLIENTS: Final[Mapping[str, ClientKind]] = {
    kind.name: kind
    for kind in (
        ClientKind("py1", "mcp1", "mcp1", "legacy"),
        ClientKind("py1-sse", "mcp1", "sse", "legacy", path="/sse"),
        ClientKind("py2-legacy", "mcp2", "mcp2", "legacy"),
        ClientKind("py2-modern", "mcp2", "mcp2", "auto"),
        ClientKind("fastmcp", "mcp2", "fastmcp", "auto"),
        ClientKind("ts1", "node", "v1", "legacy"),
        ClientKind("ts2-legacy", "node", "v2", "legacy"),
        ClientKind("ts2-modern", "node", "v2", "auto"),
    )
}


@dataclass(frozen=True, slots=True)
class Answer:
    """How a conversation went."""

    connected: Mapping[str, Any] | None
    outcomes: Sequence[Mapping[str, Any]]
    died: Mapping[str, Any] | None
    """What ended the client before its last step, if something did."""

    def results(self) -> list[Any]:
        """The result of every step; anything else fails the test that asks."""
        assert self.died is None, f"the client died: {self.died}; it had seen {self.outcomes}"
        for outcome in self.outcomes:
            assert "result" in outcome, f"{outcome} in {self.outcomes}"
        return [outcome["result"] for outcome in self.outcomes]


class Driver:
    """A running client program. It is kept for many conversations: most of their time is start-up.

    Leaving the context ends the program; one that does not end by itself fails the test.
    """

    def __init__(self, kind: ClientKind) -> None:
        self.kind = kind
        self._process = subprocess.Popen(
            kind.command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert self._process.stdout is not None
        self._lines = Lines(self._process.stdout)

    def talk(self, url: str, *steps: Step) -> Answer:
        """Connect to a tool's URL, take the steps, and disconnect."""
        asked = {"url": url + self.kind.path, "mode": self.kind.mode, "steps": steps}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        line = self._lines.next(CONVERSATION_SECONDS)
        assert line is not None, f"the driver of {self.kind.name} died"
        return Answer(**json.loads(line))

    def __enter__(self) -> "Driver":
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            assert self._process.wait(timeout=10) == 0
        finally:
            self._process.kill()
            self._process.wait()
            self._lines.close()


@contextmanager
def mcp_remote(url: str) -> Iterator["StdioPipe"]:
    """`mcp-remote`, which offers a gateway's tool to a client that knows only stdio."""
    folder = _installed("node")
    program = Path(folder, "node_modules", "mcp-remote", "dist", "proxy.js")
    command = [node_executable() or "node", str(program), url, "--transport", "http-only"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    pipe = StdioPipe(process)
    try:
        yield pipe
    finally:
        process.kill()
        process.wait()
        pipe.close()


class StdioPipe:
    """The stdio side of something that speaks MCP there: send a message, take the next."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdin is not None and process.stdout is not None
        self._stdin = process.stdin
        self._lines = Lines(process.stdout)

    def send(self, message: Mapping[str, Any]) -> None:
        self._stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self._stdin.flush()

    def answer(self, within: float = 20) -> Any:
        """The next message that is an answer; notifications are skipped."""
        while True:
            line = self._lines.next(within)
            assert line is not None, "stdout ended"
            message = json.loads(line)
            if "method" not in message:
                return message

    def close(self) -> None:
        self._stdin.close()
        self._lines.close()


def _installed(part: str) -> str:
    folder = find(part)
    assert folder is not None, f"the testbed part {part} is not installed"
    return str(folder)
