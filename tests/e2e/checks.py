"""What each server of the matrix must do for any client.

A check is one step of a conversation, and whether its outcome is right for the client.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.testbed.clients import ClientKind, Step

Outcome = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Check:
    """One step of a conversation, and whether its outcome is right for this client."""

    step: Step
    holds: Callable[[Outcome, ClientKind], bool]
    brief: bool = False
    """Whether it belongs in the short conversation too, where each step starts a process."""


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
    Check(walk("tools"), lists("echo", "add", "slow", "big", "fail", "cancelled"), brief=True),
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
            lists("echo", "count", "fail", "slow", "confirm", "era", pages=tool_pages),
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
        ),
        PING,
    )
