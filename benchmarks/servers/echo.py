"""A stdio MCP server that costs as little as one can in Python; run as a script, stdlib only.

It speaks one era, named by its argument. Its tools: `echo` returns its text, `big` returns
`bytes` bytes of one `kind`, `steps` reports progress `count` times first.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

PROSE: Final = 'She said: "naïve" façades\nfall; the rest holds.\tTwo words follow, and an end. '
"""What tools really return: mostly plain letters, some escapes, some that are not ASCII."""


def main(era: str) -> None:
    """Answer one line after the other, until stdin ends."""
    rest = b""
    modern = era == "modern"
    while data := os.read(0, 65536):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            for answer in answers(json.loads(line), modern):
                send(answer)


def send(line: bytes) -> None:
    """Write a whole line, however little the pipe takes at a time."""
    view = memoryview(line)
    while view:
        view = view[os.write(1, view) :]


def answers(message: dict[str, Any], modern: bool) -> Iterator[bytes]:
    """What to write in answer to a message."""
    if "id" not in message:
        return
    params = message.get("params", {})
    if message["method"] == "tools/call":
        yield from progress(params)
        outcome = b'"result":' + result(params["name"], params.get("arguments", {}), modern)
    elif (introduce := INTRODUCTIONS.get(message["method"])) is not None:
        outcome = b'"result":' + introduce(modern)
    else:
        outcome = b'"error":{"code":-32601,"message":"unknown method"}'
    yield b'{"jsonrpc":"2.0","id":%b,%b}\n' % (dump(message["id"]), outcome)


def progress(params: dict[str, Any]) -> Iterator[bytes]:
    """The notifications before the answer of `steps`."""
    token = params.get("_meta", {}).get("progressToken")
    if params["name"] != "steps" or token is None:
        return
    for step in range(params["arguments"]["count"]):
        told = {"progressToken": token, "progress": step + 1, "message": "working"}
        yield b'{"jsonrpc":"2.0","method":"notifications/progress","params":%b}\n' % dump(told)


def result(tool: str, arguments: dict[str, Any], modern: bool) -> bytes:
    """The result of a tool call."""
    if tool == "big":
        return big(arguments["kind"], arguments["bytes"], modern)
    return text_result(arguments.get("text", "done"), modern)


def text_result(text: str, modern: bool) -> bytes:
    """A result of one text."""
    fields: dict[str, Any] = {"content": [{"type": "text", "text": text}]}
    return dump(fields | ({"resultType": "complete"} if modern else {}))


_made: dict[tuple[str, int, bool], bytes] = {}


def big(kind: str, size: int, modern: bool) -> bytes:
    """About `size` bytes of prose, or of small values; made once."""
    if (made := _made.get((kind, size, modern))) is None:
        if kind == "prose":
            made = text_result(PROSE * (size // len(dump(PROSE))), modern)
        else:
            made = dense_result(size, modern)
        _made[kind, size, modern] = made
    return made


def dense_result(size: int, modern: bool) -> bytes:
    """Rows of small values: the most work per byte for whoever parses it."""
    row = {"id": 123456, "ok": True, "at": [1.5, -2, None], "tags": {"a": "x", "b": []}}
    rows = b",".join([dump(row)] * (size // (len(dump(row)) + 1)))
    tail = b',"resultType":"complete"' if modern else b""
    return b'{"content":[],"structuredContent":{"rows":[%b]}%b}' % (rows, tail)


def discover(modern: bool) -> bytes:
    """The answer to `server/discover`."""
    return dump(
        {
            "resultType": "complete",
            "supportedVersions": ["2026-07-28"],
            "capabilities": {"tools": {}},
            "ttlMs": 0,
            "cacheScope": "private",
        }
    )


def initialize(modern: bool) -> bytes:
    """The answer to `initialize`."""
    info = {"name": "echo", "version": "1"}
    return dump(
        {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": info}
    )


def dump(value: Any) -> bytes:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


INTRODUCTIONS: Final[dict[str, Callable[[bool], bytes]]] = {
    "server/discover": discover,
    "initialize": initialize,
    "ping": lambda modern: b"{}",
    "tools/list": lambda modern: b'{"tools":[]}',
}

if __name__ == "__main__":
    main(sys.argv[1])
