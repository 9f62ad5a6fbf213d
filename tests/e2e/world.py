"""The MCP servers of the matrix, and what each must do for any client.

To add a server: give it a row in `SERVERS`, and its checks.
"""

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.testbed import find, node_executable
from tests.testbed.clients import ClientKind, Step

HERE: Final = Path(__file__).parent / "servers"
MODES: Final = ("daemon", "launcher")

Outcome = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Check:
    """One step of a conversation, and whether its outcome is right for this client."""

    step: Step
    holds: Callable[[Outcome, ClientKind], bool]
    brief: bool = False
    """Whether it belongs in the short conversation too, where each step starts a process."""


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


def text(result: Mapping[str, Any]) -> str:
    """The text of a tool's result, its blocks joined."""
    return "\n".join(block.get("text", "") for block in result["content"])


def says(wanted: str) -> Callable[[Outcome, ClientKind], bool]:
    """Whether a tool answered without error, and with these words."""
    return lambda outcome, _: (
        not outcome["result"].get("isError") and wanted in text(outcome["result"])
    )


def complains(*wanted: str) -> Callable[[Outcome, ClientKind], bool]:
    """Whether a tool failed, or the server refused, with any of these words."""

    def holds(outcome: Outcome, _: ClientKind) -> bool:
        if "error" in outcome:
            return any(word in outcome["error"]["message"] for word in wanted)
        result = outcome["result"]
        return bool(result.get("isError")) and any(word in text(result) for word in wanted)

    return holds


def gives(pick: Callable[[Any], object], wanted: object) -> Callable[[Outcome, ClientKind], bool]:
    """Whether what `pick` takes from the result is what is wanted."""
    return lambda outcome, _: pick(outcome["result"]) == wanted


def lists(*names: str, pages: int = 1) -> Callable[[Outcome, ClientKind], bool]:
    """Whether a walk found these names, each once, in so many pages."""

    def holds(outcome: Outcome, client: ClientKind) -> bool:
        walked = outcome["result"]
        # The TypeScript SDK 2.x walks by itself and shows its caller one long page.
        expected = 1 if client.program == "v2" else pages
        return walked["pages"] == expected and all(walked["names"].count(n) == 1 for n in names)

    return holds


def pings(outcome: Outcome, client: ClientKind) -> bool:
    """Legacy has ping; modern has not, and says so, in the client or at the gateway."""
    return ("error" in outcome) if client.modern else ("result" in outcome)


def counted(to: int) -> Callable[[Outcome, ClientKind], bool]:
    """Whether progress came complete, in order, and with its total."""
    wanted = [[n, to] for n in range(1, to + 1)]
    return lambda outcome, _: [entry[:2] for entry in outcome["result"]["progress"]] == wanted


def slowly(steps: int) -> Callable[[Outcome, ClientKind], bool]:
    """Whether progress rose in so many steps; what it counts is the server's affair."""

    def holds(outcome: Outcome, _: ClientKind) -> bool:
        seen = [entry[0] for entry in outcome["result"]["progress"]]
        return len(seen) >= steps and seen == sorted(set(seen))

    return holds


def call(name: str, **args: object) -> Step:
    return {"do": "call", "name": name, "args": args}


def walk(what: str) -> Step:
    return {"do": "walk", "what": what}


def complete(prompt: str, name: str, value: str) -> Step:
    ref = {"type": "ref/prompt", "name": prompt}
    return {"do": "complete", "ref": ref, "argument": {"name": name, "value": value}}


PING: Final = Check({"do": "ping"}, pings)

EVERYTHING: Final = (
    Check(walk("tools"), lists("echo", "get-sum", "get-structured-content"), brief=True),
    Check(call("echo", message="olá ☕"), says("Echo: olá ☕"), brief=True),
    Check(call("get-sum", a=2, b=3), says("5")),
    Check(call("get-sum", a="two"), complains("expected number")),
    Check(call("no-such-tool"), complains("not found")),
    Check(
        {
            "do": "call",
            "name": "trigger-long-running-operation",
            "args": {"duration": 0.2, "steps": 4},
            "progress": True,
        },
        counted(4),
        brief=True,
    ),
    Check(
        call("get-structured-content", location="Chicago"),
        gives(
            lambda result: sorted(result["structuredContent"]),
            ["conditions", "humidity", "temperature"],
        ),
    ),
    Check(
        call("get-tiny-image"),
        gives(
            lambda result: [block["type"] for block in result["content"]], ["text", "image", "text"]
        ),
    ),
    Check(walk("resources"), lists("architecture.md")),
    Check(walk("templates"), lists("Dynamic Text Resource")),
    Check(
        {"do": "read", "uri": "demo://resource/dynamic/text/1"},
        gives(lambda result: result["contents"][0]["uri"], "demo://resource/dynamic/text/1"),
        brief=True,
    ),
    Check({"do": "read", "uri": "demo://no/such"}, complains("not found")),
    Check(walk("prompts"), lists("simple-prompt", "args-prompt")),
    Check(
        {"do": "prompt", "name": "args-prompt", "args": {"city": "Oslo"}},
        gives(lambda result: "Oslo" in result["messages"][0]["content"]["text"], True),
    ),
    Check(
        complete("completable-prompt", "department", "E"),
        gives(lambda result: result["completion"]["values"], ["Engineering"]),
    ),
    PING,
)

FILESYSTEM: Final = (
    Check(walk("tools"), lists("read_text_file", "write_file", "list_directory"), brief=True),
    Check(call("list_allowed_directories"), says("Allowed directories")),
    Check(call("read_text_file", path="{folder}/hello.txt"), says("hello from a file"), brief=True),
    Check(call("read_text_file", path="/etc/hostname"), complains("Access denied")),
    PING,
)

MEMORY: Final = (
    Check(walk("tools"), lists("create_entities", "read_graph"), brief=True),
    Check(
        call(
            "create_entities",
            entities=[{"name": "Ada", "entityType": "person", "observations": []}],
        ),
        gives(lambda result: bool(result.get("isError")), False),
        brief=True,
    ),
    Check(call("read_graph"), says("Ada"), brief=True),
    PING,
)

TIME: Final = (
    Check(walk("tools"), lists("get_current_time", "convert_time"), brief=True),
    Check(call("get_current_time", timezone="UTC"), says("UTC"), brief=True),
    Check(call("get_current_time", timezone="Nowhere/Land"), complains("Invalid timezone")),
    PING,
)

GIT: Final = (
    Check(walk("tools"), lists("git_status", "git_log"), brief=True),
    Check(call("git_log", repo_path="{folder}/repo"), says("a first commit"), brief=True),
    PING,
)


DEMO: Final = (
    Check(walk("tools"), lists("echo", "add", "slow", "big", "fail"), brief=True),
    Check(call("echo", text="olá ☕"), says("olá ☕"), brief=True),
    Check(call("add", a=1.5, b=2), gives(lambda r: r["structuredContent"], {"sum": 3.5})),
    Check(call("big", bytes=1_000_000), gives(lambda r: len(text(r)), 1_000_000), brief=True),
    Check(
        {
            "do": "call",
            "name": "slow",
            "args": {"seconds": 0.2, "steps": 4},
            "progress": True,
        },
        slowly(4),
        brief=True,
    ),
    Check(call("fail"), complains("always fails")),
    Check(call("no-such-tool"), complains("no-such-tool")),
    Check(walk("resources"), lists("greeting", "square/24", pages=3), brief=True),
    Check(walk("templates"), lists("echo")),
    Check(
        {"do": "read", "uri": "demo://square/7"},
        gives(lambda r: r["contents"][0]["text"], "7 squared is 49."),
        brief=True,
    ),
    Check({"do": "read", "uri": "demo://nothing"}, complains("demo://nothing")),
    Check(walk("prompts"), lists("greet")),
    Check(
        {"do": "prompt", "name": "greet", "args": {"name": "Ada"}},
        gives(lambda r: "Ada" in r["messages"][0]["content"]["text"], True),
    ),
    Check(
        complete("greet", "name", "A"),
        gives(lambda r: r["completion"]["values"], ["Ada", "Alan"]),
        brief=True,
    ),
    PING,
)


def dual(era: str, tool_pages: int = 1) -> tuple[Check, ...]:
    """The checks of the dual-era servers, which say themselves in which era they are spoken to."""
    return (
        Check(
            walk("tools"),
            lists("echo", "count", "fail", "slow", "era", pages=tool_pages),
            brief=True,
        ),
        Check(
            call("echo", a=1, b="ü\u2028"),
            gives(lambda r: json.loads(text(r)), {"a": 1, "b": "ü\u2028"}),
            brief=True,
        ),
        Check(call("era"), says(era), brief=True),
        Check(
            {"do": "call", "name": "count", "args": {"to": 20}, "progress": True},
            counted(20),
            brief=True,
        ),
        Check(call("fail"), complains("failed as asked")),
        Check(call("no-such-tool"), complains("not found")),
        Check(walk("resources"), lists("note")),
        Check(walk("templates"), lists("notes")),
        Check(
            {"do": "read", "uri": "test://note"},
            gives(lambda r: r["contents"][0]["text"], "a note"),
            brief=True,
        ),
        Check(walk("prompts"), lists("visit")),
        Check(
            {"do": "prompt", "name": "visit", "args": {"city": "Oslo"}},
            gives(lambda r: r["messages"][0]["content"]["text"], "Plan a visit to Oslo."),
        ),
        Check(
            complete("visit", "city", "Li"),
            gives(lambda r: r["completion"]["values"], ["Lisbon", "Lima"]),
            brief=True,
        ),
        PING,
    )


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
