"""`python3 -m tests conformance`: run the suite everywhere, compare, and write the table."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.conformance.expected import DEVIATIONS
from tests.conformance.suite import LEGACY, MODERN, RELEASE, Outcome, Suite, run
from tests.testbed.gateway import running_gateway
from tests.testbed.parts import ROOT, install

SERVERS: Final = Path(__file__).parent / "servers"
TABLE: Final = ROOT / "docs" / "compatibility.md"
START_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the servers."""

    name: str
    part: str
    suites: tuple[Suite, ...]
    warm: int
    """How many instances a launcher keeps ready."""

    @property
    def command(self) -> list[str]:
        """Its command line, for stdio."""
        return [str(install(self.part) / "bin" / "python"), str(SERVERS / f"{self.name}.py")]


KINDS: Final = (Kind("legacy", "mcp1", (RELEASE, LEGACY), 2), Kind("modern", "mcp2", (MODERN,), 32))
MODES: Final = ("daemon", "launcher")

Results = dict[str, dict[str, dict[str, Outcome]]]
"""By suite, by the way the server is reached, by scenario."""


def main() -> int:
    """Run everything; 0 if the gateway fails nothing that the server alone passes."""
    results: Results = {}
    with ExitStack() as stack:
        tools = {f"{kind.name}-{mode}": tool(kind, mode) for kind in KINDS for mode in MODES}
        gateway = stack.enter_context(running_gateway(json.dumps({"tools": tools})))
        for kind in KINDS:
            direct = stack.enter_context(over_http(kind))
            urls = {"direct": direct}
            urls |= {mode: gateway.url(f"{kind.name}-{mode}") for mode in MODES}
            for suite in kind.suites:
                title = f"{kind.name} server, suite {suite.name}"
                results[title] = {way: outcome(title, way, suite, url) for way, url in urls.items()}
    worse = list(regressions(results))
    TABLE.write_text(document(results), "utf-8")
    print(f"wrote {TABLE.relative_to(ROOT)}")
    for line in worse:
        print(f"FAILED only through the gateway: {line}")
    return 1 if worse else 0


def tool(kind: Kind, mode: str) -> dict[str, object]:
    """The configuration of a server in a mode."""
    cmd, *args = kind.command
    # Clients of the suite leave sessions behind, each of which holds an instance for a while;
    # and it waits for half a second, in which a Python server does not start.
    launcher = {"launcher": {"warm": kind.warm, "max": 100}} if mode == "launcher" else {}
    return {"mode": mode, "cmd": cmd, "args": args, **launcher}


def outcome(title: str, way: str, suite: Suite, url: str) -> dict[str, Outcome]:
    """Run a suite, and say how it went."""
    began = time.monotonic()
    found = run(suite, url)
    failed = sum(len(one.failures) for one in found.values())
    passed = sum(one.passed for one in found.values())
    took = time.monotonic() - began
    print(f"{title:<42} {way:<9} {passed:>4} passed {failed:>3} failed {took:5.0f} s", flush=True)
    return found


@contextmanager
def over_http(kind: Kind) -> Iterator[str]:
    """A server behind its own SDK's HTTP transport; gives its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [*kind.command, str(port)], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _await_port(port, process)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.terminate()
        process.wait(10)


def _await_port(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)  # it says nothing when it is ready
        else:
            return
    raise RuntimeError(f"the server on port {port} did not start")


def regressions(results: Results) -> Iterator[str]:
    """What fails through the gateway but not directly, and is not meant to."""
    for title, ways in results.items():
        server = title.partition(" ")[0]
        for way in MODES:
            for scenario, found in ways[way].items():
                alone = ways["direct"].get(scenario)
                for check, said in found.failures.items():
                    if alone is not None and check in alone.failures:
                        continue
                    if (f"{server}, {way}", check) not in DEVIATIONS:
                        yield f"{title}, {way}: {scenario}: {check}: {said}"


def document(results: Results) -> str:
    """The table, as a page."""
    lines = [
        "# Compatibility",
        "",
        "What the official conformance suite (`@modelcontextprotocol/conformance`, its newest",
        "release and prerelease) finds: in two servers on the official Python SDKs over their own",
        "HTTP transports (*direct*), and in the same servers on stdio behind mcpgw. Written by",
        "`python3 -m tests conformance`; cells are checks passed, and failed if any.",
        "",
        "Scenarios for clients are not run: mcpgw is a server to those. Nothing may fail through",
        "the gateway that the server alone passes, but for what is listed at the end.",
    ]
    for title, ways in results.items():
        lines += ["", f"## {title[0].upper()}{title[1:]}", "", "| scenario | " + " | ".join(ways)]
        lines[-1] += " |"
        lines.append("|---" * (len(ways) + 1) + "|")
        scenarios = sorted({name for found in ways.values() for name in found})
        for name in scenarios:
            cells = " | ".join(_cell(found.get(name)) for found in ways.values())
            lines.append(f"| {name} | {cells} |")
    lines += ["", "## Meant to be so", "", *([] if DEVIATIONS else ["Nothing."])]
    lines += [f"- {way}: `{check}`: {why}." for (way, check), why in DEVIATIONS.items()]
    return "\n".join(lines) + "\n"


def _cell(found: Outcome | None) -> str:
    if found is None:
        return "not run"
    failed = f", **{len(found.failures)} failed**" if found.failures else ""
    return f"{found.passed}{failed}"


if __name__ == "__main__":
    sys.exit(main())
