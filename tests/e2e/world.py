"""The MCP servers of the matrix.

To add a server: give it a row in `SERVERS`, and its checks in `checks.py`.
"""

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.e2e.checks import (
    DEMO,
    EVERYTHING,
    FILESYSTEM,
    GIT,
    MEMORY,
    TIME,
    Check,
    dual,
)
from tests.testbed import find, node_executable
from tests.testbed.clients import Step

HERE: Final = Path(__file__).parent / "servers"
MODES: Final = ("daemon", "launcher")


@dataclass(frozen=True, slots=True)
class ServerKind:
    """One MCP server as the configuration names it."""

    name: str
    part: str | None
    """The part of the testbed it is in; None for what needs nothing but mcpgw."""
    command: Callable[[Path], list[str]]
    """Its command line, given a folder of its own."""
    checks: tuple[Check, ...]
    cancellable: bool = False
    """Whether its `slow` tool says on stderr that it was cancelled."""
    protocol: str = "auto"
    """What its `protocol` key says."""

    def config(self, mode: str, folder: Path) -> dict[str, Any]:
        """Its entry under `tools`."""
        cmd, *args = self.command(folder)
        env = {"MEMORY_FILE_PATH": str(folder / "memory.jsonl")}
        return {"mode": mode, "cmd": cmd, "args": args, "env": env, "protocol": self.protocol}


def _npm(package: str, *args: str) -> Callable[[Path], list[str]]:
    def command(folder: Path) -> list[str]:
        program = _part("node") / "node_modules" / "@modelcontextprotocol" / package
        filled = [arg.format(folder=folder) for arg in args]
        return [node_executable() or "node", str(program / "dist" / "index.js"), *filled]

    return command


def _python(part: str, *args: str) -> Callable[[Path], list[str]]:
    return lambda folder: [
        str(_part(part) / "bin" / "python"),
        *(arg.format(folder=folder) for arg in args),
    ]


def _dual_ts(folder: Path) -> list[str]:
    return [node_executable() or "node", f"{HERE}/dual_ts.mjs", str(_part("node"))]


def _part(name: str) -> Path:
    folder = find(name)
    assert folder is not None, f"the testbed part {name} is not installed"
    return folder


SERVERS: Final[Mapping[str, ServerKind]] = {
    kind.name: kind
    for kind in (
        ServerKind("everything", "node", _npm("server-everything", "stdio"), EVERYTHING),
        ServerKind("filesystem", "node", _npm("server-filesystem", "{folder}"), FILESYSTEM),
        ServerKind("memory", "node", _npm("server-memory"), MEMORY),
        ServerKind("time", "mcp1", _python("mcp1", "-m", "mcp_server_time"), TIME),
        ServerKind(
            "git", "mcp1", _python("mcp1", "-m", "mcp_server_git", "-r", "{folder}/repo"), GIT
        ),
        ServerKind(
            "dual-py",
            "mcp2",
            _python("mcp2", f"{HERE}/dual_py.py"),
            dual("2026-07-28", tool_pages=3),
            cancellable=True,
        ),
        ServerKind("dual-ts", "node", _dual_ts, dual("2026-07-28"), cancellable=True),
        ServerKind(
            "dual-ts-legacy", "node", _dual_ts, dual("legacy"), cancellable=True, protocol="legacy"
        ),
        ServerKind("demo", None, lambda _: ["mcpgw", "demo-server"], DEMO),
    )
}


def furnish(folder: Path) -> None:
    """Put into a server's folder what its checks look for."""
    (folder / "hello.txt").write_text("hello from a file")
    repo = folder / "repo"
    for command in (
        ["init", "--quiet", str(repo)],
        [
            "-C",
            str(repo),
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.org",
            "commit",
            "--quiet",
            "--allow-empty",
            "-m",
            "a first commit",
        ],
    ):
        subprocess.run(["git", *command], check=True, stdin=subprocess.DEVNULL)


def config_text(folder: Path, servers: Sequence[ServerKind]) -> str:
    """A configuration with every server in both modes; JSON, which is YAML."""
    tools = {
        f"{server.name}-{mode}": server.config(mode, folder) for server in servers for mode in MODES
    }
    return json.dumps({"tools": tools, "workspace_root": str(folder)})


def filled(step: Step, folder: Path) -> Step:
    """The step with the folder's path where it says `{folder}`."""
    written = json.dumps(step).replace("{folder}", str(folder))
    result: Step = json.loads(written)
    return result
