"""Every feature, between official clients and servers of both eras, in both modes.

What a cell should give is in `EXPECTED`; what it gives instead, and why, in `otherwise`.
"""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.testbed import find, why_not
from tests.testbed.clients import PROGRAMS
from tests.testbed.gateway import Gateway, running_gateway
from tests.testbed.parts import ROOT
from tests.testbed.pipes import Lines

pytestmark = pytest.mark.sdk

CLIENTS: Final = {
    "sse": "mcp1",
    "mcp1": "mcp1",
    "mcp2-legacy": "mcp2",
    "mcp2-modern": "mcp2",
}
"""The clients, and the part of the testbed each is in."""

SERVERS: Final = {"features_v1": "mcp1", "features_v2": "mcp2"}
MODES: Final = ("daemon", "launcher")
CONVERSATION_SECONDS: Final = 120.0
HERE: Final = Path(__file__).parent / "servers"

EXPECTED: Final[dict[str, Any]] = {
    "tools": ["echo", "count"],
    "call": "olá",
    "progress": [1, 2, 3],
    "cancel": "still here",
    "form": "accept Ada",
    "url": "accept",
    "sampling": "hi",
    "roots": "file:///home/ada",
    "logging": ["warning", "error"],
    "list_changed": True,
    "updated": True,
    "large": 1_000_000,
    "failure": True,
}


def otherwise(client: str, mode: str) -> dict[str, Any]:
    """What a cell gives instead, by design or by the specification."""
    differs: dict[str, Any] = {}
    if client == "mcp2-modern" and mode == "launcher":
        # Each request has an instance of its own, and so has a subscription (docs/eras.md).
        differs |= {"list_changed": False, "updated": False}
    return differs


@contextmanager
def program(client: str) -> Iterator[Callable[[str], dict[str, Any]]]:
    """A running client, which tries everything at the URLs it is given."""
    command = [str(part(CLIENTS[client]) / "bin" / "python"), str(PROGRAMS / "features.py"), client]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdin is not None and process.stdout is not None
    lines = Lines(process.stdout)
    stdin = process.stdin

    def converse(url: str) -> dict[str, Any]:
        stdin.write(url + "\n")
        stdin.flush()
        line = lines.next(CONVERSATION_SECONDS)
        assert line is not None, f"the client {client} died"
        told: dict[str, Any] = json.loads(line)
        return told

    try:
        yield converse
        stdin.close()
        assert process.wait(timeout=10) == 0
    finally:
        process.kill()
        process.wait()
        lines.close()


def part(name: str) -> Path:
    folder = find(name)
    if folder is None:
        pytest.skip(why_not(name))
    return folder


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    tools = {
        f"{server}-{mode}": {
            "mode": mode,
            "cmd": str(part(where) / "bin" / "python"),
            "args": [str(HERE / f"{server}.py")],
        }
        for server, where in SERVERS.items()
        for mode in MODES
    }
    with running_gateway(json.dumps({"tools": tools})) as running:
        yield running


@pytest.fixture(scope="module")
def clients() -> Iterator[Callable[[str], Callable[[str], dict[str, Any]]]]:
    """Gives a running client by its name."""
    running: dict[str, Callable[[str], dict[str, Any]]] = {}
    with ExitStack() as stack:

        def get(name: str) -> Callable[[str], dict[str, Any]]:
            if name not in running:
                running[name] = stack.enter_context(program(name))
            return running[name]

        yield get


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("client", CLIENTS)
def test_every_feature(
    gateway: Gateway,
    clients: Callable[[str], Callable[[str], dict[str, Any]]],
    client: str,
    server: str,
    mode: str,
) -> None:
    url = gateway.url(f"{server}-{mode}") + ("/sse" if client == "sse" else "")
    told = clients(client)(url)
    wanted = EXPECTED | otherwise(client, mode)
    assert told == wanted, {key: told.get(key) for key in wanted if told.get(key) != wanted[key]}
