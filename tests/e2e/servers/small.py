"""A stdio MCP server without any package: `small.py legacy|modern`. It starts in a blink.

Tools: `echo` gives its arguments back, `mix` does so after whatever else it has been asked
meanwhile, with progress that names the caller, `family` starts a child and a grandchild that
ignore their end, `pid` names the process.
"""

import json
import os
import subprocess
import sys
import threading
from typing import Any

MODERN = sys.argv[1] == "modern"
INFO = {"name": "small", "version": "1"}
CAPABILITIES: dict[str, Any] = {"tools": {}}
MIX_SECONDS = 0.05
STUBBORN = "trap '' TERM INT HUP; (trap '' TERM INT HUP; sleep 300) & wait; wait"

lock = threading.Lock()
held: list[tuple[Any, dict[str, Any]]] = []


def send(**message: Any) -> None:
    with lock:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()


def answer(id: Any, result: dict[str, Any]) -> None:
    if MODERN:
        meta = {"io.modelcontextprotocol/serverInfo": INFO}
        result = {"resultType": "complete", "_meta": meta, **result}
    send(id=id, result=result)


def tell(id: Any, text: str) -> None:
    answer(id, {"content": [{"type": "text", "text": text}]})


def initialize(id: Any, params: dict[str, Any]) -> None:
    version = params["protocolVersion"]
    answer(id, {"protocolVersion": version, "capabilities": CAPABILITIES, "serverInfo": INFO})


def discover(id: Any, params: dict[str, Any]) -> None:
    answer(id, {"supportedVersions": ["2026-07-28"], "capabilities": CAPABILITIES} | fresh())


def fresh() -> dict[str, Any]:
    return {"ttlMs": 0, "cacheScope": "private"} if MODERN else {}


def list_tools(id: Any, params: dict[str, Any]) -> None:
    names = ("echo", "mix", "family", "pid")
    tools = [{"name": name, "inputSchema": {"type": "object"}} for name in names]
    answer(id, {"tools": tools} | fresh())


def call(id: Any, params: dict[str, Any]) -> None:
    arguments = params.get("arguments", {})
    match params["name"]:
        case "echo":
            tell(id, json.dumps(arguments))
        case "mix":
            mix(id, params)
        case "pid":
            tell(id, str(os.getpid()))
        case "family":
            family = subprocess.Popen(["sh", "-c", STUBBORN], stdin=subprocess.DEVNULL)
            tell(id, str(family.pid))
        case unknown:
            send(id=id, error={"code": -32602, "message": f"Tool {unknown} not found"})


def mix(id: Any, params: dict[str, Any]) -> None:
    """Hold the call back; all that are held are answered together, the last one first."""
    held.append((id, params))
    if len(held) == 1:
        threading.Timer(MIX_SECONDS, release).start()


def release() -> None:
    waiting, held[:] = held[::-1], []
    for _, params in waiting:
        token = params.get("_meta", {}).get("progressToken")
        if token is not None:
            progress = {"progressToken": token, "progress": 1, "message": params["arguments"]["me"]}
            send(method="notifications/progress", params=progress)
    for id, params in waiting:
        tell(id, json.dumps(params["arguments"]))


METHODS = {"tools/list": list_tools, "tools/call": call}
METHODS |= {"server/discover": discover} if MODERN else {"initialize": initialize}

for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    if (method := METHODS.get(message["method"])) is None:
        send(id=message["id"], error={"code": -32601, "message": "Method not found"})
    else:
        method(message["id"], message.get("params", {}))
