"""A client that checks every message of the demo server against the official schema."""

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.schema import check_message

Json = dict[str, Any]

PATIENCE = 10.0
MODERN = "2026-07-28"
ROOT = Path(__file__).parents[2]
COMMAND = (
    sys.executable,
    *("-I", "-c"),
    f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
    "from mcpgw.demo.server import main; sys.exit(main())",
)


class Client:
    """Speaks to one server over its pipes."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self._lines: queue.Queue[bytes] = queue.Queue()
        self._methods: dict[str, str] = {}
        self._ids = 0
        self._early: list[Json] = []
        self.revision = "2025-11-25"
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(b"")

    def write(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(text.encode() + b"\n")
        self._process.stdin.flush()

    def send(
        self, method: str, params: Json | None = None, *, id: int | str | None = None
    ) -> int | str:
        """Send a request without waiting for its answer; its id."""
        self._ids += 1
        id = self._ids if id is None else id
        self._methods[json.dumps(id)] = method
        message = {"jsonrpc": "2.0", "id": id, "method": method, "params": self._envelope(params)}
        self.write(json.dumps(message))
        return id

    def _envelope(self, params: Json | None) -> Json:
        params = params or {}
        if self.revision != MODERN:
            return params
        return {**params, "_meta": {**META, **params.get("_meta", {})}}

    def notify(self, method: str, params: Json) -> None:
        self.write(json.dumps({"jsonrpc": "2.0", "method": method, "params": params}))

    def receive(self) -> Json | None:
        """The next message, checked; None at the end."""
        line = self._lines.get(timeout=PATIENCE)
        if not line:
            return None
        message: Json = json.loads(line)
        check_message(self.revision, message, self._methods.get(json.dumps(message.get("id")), ""))
        return message

    def answer(self, id: int | str) -> Json:
        """The answer to a request; what else comes meanwhile goes to `others`."""
        for message in iter(self.receive, None):
            if json.dumps(message.get("id")) == json.dumps(id):
                return message
            self._early.append(message)
        raise AssertionError(f"the server closed its stdout without an answer to {id}")

    @property
    def others(self) -> list[Json]:
        """What came while an answer was waited for."""
        return self._early

    def ask(self, method: str, params: Json | None = None) -> Json:
        """The result of a request."""
        message = self.answer(self.send(method, params))
        result: Json = message["result"]
        return result

    def refused(self, method: str, params: Json | None = None) -> Json:
        """The error a request is answered with."""
        message = self.answer(self.send(method, params))
        error: Json = message["error"]
        return error

    def call(self, name: str, **arguments: object) -> Json:
        """A tool's result."""
        return self.ask("tools/call", {"name": name, "arguments": arguments})

    def initialize(self, revision: str) -> Json:
        """The legacy handshake's answer."""
        self.revision = revision
        info = {"name": "test", "version": "1"}
        params = {"protocolVersion": revision, "capabilities": {}, "clientInfo": info}
        result = self.ask("initialize", params)
        self.notify("notifications/initialized", {})
        return result

    def close(self) -> int:
        """End the server's stdin; its exit status."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._process.wait(PATIENCE)


META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
}


@contextmanager
def running(
    command: Sequence[str] = COMMAND, *, env: Mapping[str, str] | None = None
) -> Iterator[Client]:
    """A client of a server that was just started, and is killed at the end."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=env) as process:
        try:
            yield Client(process)
        finally:
            process.kill()


@contextmanager
def speaking(
    revision: str, command: Sequence[str] = COMMAND, *, env: Mapping[str, str] | None = None
) -> Iterator[Client]:
    """A client that has settled on `revision` with its server."""
    with running(command, env=env) as client:
        client.revision = revision
        if revision != MODERN:
            client.initialize(revision)
        yield client
