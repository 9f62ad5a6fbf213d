"""The gateway under load: its configuration, its process, its legacy sessions."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks import messages
from benchmarks.processes import children, free_port, module, post, serving
from benchmarks.servers import echo

ROOT = Path(__file__).resolve().parent.parent

MODERN = "/mcp/modern"
LEGACY = "/mcp/legacy"
COLD = "/mcp/cold"
WARM = "/mcp/warm"


def echo_command(era: str) -> list[str]:
    """The command of the echo server: nothing is imported that it does not need."""
    return [sys.executable, "-I", "-S", str(Path(echo.__file__)), era]


def _tool(era: str, **settings: Any) -> dict[str, Any]:
    command, *args = echo_command(era)
    return {"cmd": command, "args": args, "protocol": era, **settings}


TOOLS: Final = {
    "modern": _tool("modern", mode="daemon", daemon={"max": 1}),
    "legacy": _tool("legacy", mode="daemon", daemon={"max": 1}),
    "cold": _tool("modern", mode="launcher"),
    "warm": _tool("modern", mode="launcher", launcher={"warm": 4}),
}
"""Defaults wherever there are some."""


def write_config(folder: Path, port: int, *tools: str) -> Path:
    """Write a configuration with some of the tools, or with all."""
    config = {
        "listen": {"port": port},
        "workspace_root": str(folder),
        "tools": {name: TOOLS[name] for name in tools or TOOLS},
    }
    path = folder / f"config-{port}.yaml"
    path.write_text(json.dumps(config))
    return path


@dataclass
class Gateway:
    """A gateway that runs."""

    process: subprocess.Popen[bytes]
    port: int
    sessions: list[str] = field(default_factory=list)

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid

    def servers(self) -> list[int]:
        """The processes of its instances."""
        return children(self.pid)

    def open_sessions(self, count: int) -> None:
        """Open legacy sessions, as a client does."""
        for _ in range(count):
            body = messages.initialize_line().encode()
            answer = post(self.port, LEGACY, messages.legacy_headers(None), body)
            session = answer["mcp-session-id"]
            told = messages.initialized_line().encode()
            post(self.port, LEGACY, messages.legacy_headers(session), told)
            self.sessions.append(session)

    def modern(self, path: str, params: dict[str, Any]) -> list[str]:
        """A modern tool call, to send on any connection."""
        return [messages.modern_call(path, params)]

    def legacy(self, params: dict[str, Any]) -> list[str]:
        """A legacy tool call for each session."""
        return [messages.legacy_call(LEGACY, session, params) for session in self.sessions]


@contextmanager
def open_gateway(folder: Path, *, ticking: bool = False) -> Iterator[Gateway]:
    """Run the gateway for the length of the block."""
    port = free_port()
    config = str(write_config(folder, port))
    started = module("benchmarks.servers.ticking", config)
    command = started if ticking else module("mcpgw", "--config", config)
    with serving(command, port, folder / "gateway.log") as process:
        gateway = Gateway(process, port)
        params = messages.call_params("echo", {"text": "first"})
        for path in (MODERN, LEGACY):
            body = messages.modern_line("tools/call", params).encode()
            post(port, path, messages.modern_headers(params), body)
        yield gateway
