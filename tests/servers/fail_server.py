"""A stdio MCP server that fails on request: `fail_server.py legacy|modern [START]`.

START says how it begins: `exit` explains itself on stderr and exits, `silent` reads and never
answers, `exit-while FILE` exits as long as that file exists. FAIL_STARTS names a file that
gets a line for every start, FAIL_HEARD one that gets every line read.
"""

import base64
import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Json = dict[str, Any]

MODERN = sys.argv[1] == "modern"
START = sys.argv[2:]
INFO = {"name": "failing", "version": "1"}
CAPABILITIES: Json = {"tools": {}}

lock = threading.Lock()
hanging: list[Any] = []
cancelled: list[Any] = []


def note(variable: str, text: str) -> None:
    if variable in os.environ:
        with Path(os.environ[variable]).open("a") as file:
            file.write(text.rstrip("\n") + "\n")


def write(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


def send(**message: Any) -> None:
    with lock:
        write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")


def answer(id: Any, result: Json) -> None:
    if MODERN:
        result = {
            "resultType": "complete",
            "_meta": {"io.modelcontextprotocol/serverInfo": INFO},
            **result,
        }
    send(id=id, result=result)


def tell(id: Any, value: Any) -> None:
    text = value if isinstance(value, str) else json.dumps(value)
    answer(id, {"content": [{"type": "text", "text": text}]})


def die(id: Any, params: Json, args: Json) -> None:
    """Have an effect, say a last word, and go without an answer."""
    if "file" in args:
        with Path(args["file"]).open("a") as file:
            file.write("ran\n")
    sys.stderr.write("failing server: told to die\n")
    sys.stderr.flush()
    os._exit(3)


def hang(id: Any, params: Json, args: Json) -> None:
    hanging.append(id)


def tick(id: Any, params: Json, args: Json) -> None:
    """Report progress so many times, then answer; for ever, if not told how often."""

    def run() -> None:
        step = 0
        while (step := step + 1) <= args.get("times", 1_000_000) and id not in cancelled:
            time.sleep(args["every"])
            token = params.get("_meta", {}).get("progressToken")
            send(method="notifications/progress", params={"progressToken": token, "progress": step})
        tell(id, "ticked")

    threading.Thread(target=run, daemon=True).start()


def slow(id: Any, params: Json, args: Json) -> None:
    threading.Timer(args["seconds"], tell, (id, "slow but sure")).start()


def flood(id: Any, params: Json, args: Json) -> None:
    """Write that much of one line, and never its end; then wait for what becomes of it."""
    block = b"x" * 65536
    for _ in range(args["bytes"] // len(block)):
        write(block)


def noise(id: Any, params: Json, args: Json) -> None:
    """Write what is no message, in between what looks like an answer, and then the answer."""
    forged = {"jsonrpc": "2.0", "id": id, "result": {"content": []}}
    for line in (
        "Failing MCP server running on stdio",
        "[1,2,3]",
        "null",
        "\ufeff{}",
        f"INFO answering {json.dumps(forged)}",
        json.dumps({**forged, "id": str(id)}),
        '{"jsonrpc": "2.0", "id": 999999, "result": {}}',
        "\r",
    ):
        write(line.encode() + b"\r\n")
    tell(id, "genuine")


def spell(id: Any, params: Json, args: Json) -> None:
    """Answer with bytes that the test chose, one at a time."""
    text = base64.b64decode(args["base64"])
    kind = b'"resultType":"complete",' if MODERN else b""
    line = b'{"jsonrpc":"2.0","id":%d,"result":{%b"content":[{"type":"text","text":%b}]}}\n'
    for byte in line % (id, kind, text):
        write(bytes([byte]))
        time.sleep(0 if byte < 128 else 0.002)


TOOLS: dict[str, Callable[[Any, Json, Json], None]] = {
    "echo": lambda id, params, args: tell(id, args.get("text", "")),
    "pid": lambda id, params, args: tell(id, os.getpid()),
    "environment": lambda id, params, args: tell(id, dict(os.environ)),
    "big": lambda id, params, args: tell(id, "x" * args["bytes"]),
    "length": lambda id, params, args: tell(id, len(args["text"])),
    "cancelled": lambda id, params, args: tell(id, len(cancelled)),
    "die": die,
    "hang": hang,
    "tick": tick,
    "slow": slow,
    "flood": flood,
    "noise": noise,
    "spell": spell,
}


def initialize(id: Any, params: Json) -> None:
    version = params["protocolVersion"]
    answer(id, {"protocolVersion": version, "capabilities": CAPABILITIES, "serverInfo": INFO})


def discover(id: Any, params: Json) -> None:
    found = {"supportedVersions": ["2026-07-28"], "capabilities": CAPABILITIES}
    answer(id, found | {"ttlMs": 0, "cacheScope": "private"})


def call(id: Any, params: Json) -> None:
    if (tool := TOOLS.get(params["name"])) is None:
        send(id=id, error={"code": -32602, "message": f"Tool {params['name']} not found"})
    else:
        tool(id, params, params.get("arguments", {}))


def list_tools(id: Any, params: Json) -> None:
    fresh = {"ttlMs": 0, "cacheScope": "private"} if MODERN else {}
    answer(id, {"tools": [{"name": n, "inputSchema": {"type": "object"}} for n in TOOLS]} | fresh)


def begin() -> None:
    note("FAIL_STARTS", str(os.getpid()))
    match START:
        case ["exit"]:
            sys.exit("failing server: cannot find the database at /secret/place")
        case ["exit-while", file] if Path(file).exists():
            sys.exit("failing server: not yet")
        case ["silent"]:
            sys.stdin.read()
        case _:
            pass


METHODS = {"tools/list": list_tools, "tools/call": call}
METHODS |= {"server/discover": discover} if MODERN else {"initialize": initialize}

begin()
with contextlib.suppress(BrokenPipeError):
    for line in sys.stdin:
        note("FAIL_HEARD", line)
        message = json.loads(line)
        if message["method"] == "notifications/cancelled":
            cancelled.append(message["params"]["requestId"])
        elif "id" not in message:
            continue
        elif (method := METHODS.get(message["method"])) is None:
            send(id=message["id"], error={"code": -32601, "message": "Method not found"})
        else:
            method(message["id"], message.get("params", {}))
