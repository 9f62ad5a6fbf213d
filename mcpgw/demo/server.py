"""The demo server's conversation over stdin and stdout: `mcpgw demo-server`.

A process speaks one era, chosen by its first request as the official SDKs' servers do:
`initialize` makes it legacy, a request with the modern metadata makes it modern.
Requests are answered as they are read; only `slow` gets a thread, so that it can be
cancelled and keeps nobody waiting.
"""

import json
import os
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import IO, Any, Final

from mcpgw import __version__
from mcpgw.demo import content, wire
from mcpgw.demo.wire import Json, Refusal

STDOUT: Final = 1


class Call:
    """A `slow` call on its way."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()


class Server:
    """One conversation."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._lock = threading.Lock()
        self._revision: str | None = None
        self._calls: dict[tuple[str, object], Call] = {}
        self._cancellations = 0
        self._methods: Mapping[str, Callable[[Json], Json]] = {
            "tools/list": lambda params: _whole_list(params, tools=content.TOOLS),
            "tools/call": self._call_tool,
            "resources/list": lambda params: content.list_resources(params.get("cursor")),
            "resources/templates/list": lambda params: _whole_list(
                params, resourceTemplates=content.TEMPLATES
            ),
            "resources/read": lambda params: content.read_resource(params.get("uri")),
            "prompts/list": lambda params: _whole_list(params, prompts=content.PROMPTS),
            "prompts/get": lambda params: content.get_prompt(
                params.get("name"), wire.as_object(params.get("arguments"))
            ),
            "completion/complete": lambda params: content.complete(
                wire.as_object(params.get("ref")), wire.as_object(params.get("argument"))
            ),
        }

    def serve(self, lines: IO[bytes]) -> None:
        """Answer what is read until there is nothing more to read."""
        for line in lines:
            try:
                received = json.loads(line)
            except ValueError:
                _log("skipped a line that is not JSON")
                continue
            # Only this one revision has batches.
            is_batch = isinstance(received, list) and self._revision == "2025-03-26"
            for message in received if is_batch else [received]:
                self._receive(message)
        for call in [*self._calls.values()]:
            call.cancelled.set()

    def _receive(self, message: Any) -> None:
        match message:
            case {"method": str(method), "id": str() | int() as id_} if id_ is not True:
                self._answer(id_, method, wire.as_object(message.get("params")))
            case {"method": "notifications/cancelled", "params": {"requestId": id_}}:
                self._cancel(id_)
            case {"method": str()} if "id" not in message:
                pass
            case _:
                _log("skipped a message that is neither a request nor a notification")

    def _answer(self, id_: str | int, method: str, params: Json) -> None:
        try:
            if (type(id_).__name__, id_) in self._calls:
                raise Refusal(wire.INVALID_REQUEST, "a request with this id is in flight")
            result = self._result(method, params)
            if result is SLOW:
                self._start_slow(id_, params)
            else:
                self._send({"id": id_, "result": self._shape(method, result)})
        except Refusal as refusal:
            self._send({"id": id_, "error": refusal.error})

    def _result(self, method: str, params: Json) -> Json:
        if method == "initialize" and not wire.is_enveloped(params):
            return self._initialize(params)
        if method == "ping" and self._revision != wire.MODERN:
            return {}
        self._check_era(params)
        if method == "server/discover" and self._revision == wire.MODERN:
            return wire.discover_result()
        if method not in self._methods:
            raise Refusal(wire.METHOD_NOT_FOUND, f"there is no method {method}")
        try:
            return self._methods[method](params)
        except content.NotFound as exc:
            modern = self._revision == wire.MODERN
            code = wire.INVALID_PARAMS if modern else wire.RESOURCE_NOT_FOUND
            raise Refusal(code, str(exc), {"uri": str(params.get("uri"))}) from None
        except content.BadParams as exc:
            raise Refusal(wire.INVALID_PARAMS, str(exc)) from None

    def _initialize(self, params: Json) -> Json:
        if self._revision == wire.MODERN:
            raise wire.unsupported(params.get("protocolVersion"))
        if self._revision is not None:
            raise Refusal(wire.INVALID_REQUEST, "this connection is initialized already")
        self._revision, result = wire.initialize_result(params)
        return result

    def _check_era(self, params: Json) -> None:
        if self._revision in wire.LEGACY:
            if wire.is_enveloped(params):
                raise Refusal(
                    wire.INVALID_REQUEST, f"this connection speaks {self._revision} already"
                )
            return
        # Before the first request only the modern metadata can make this legal.
        wire.check_envelope(params)
        self._revision = wire.MODERN

    def _call_tool(self, params: Json) -> Json:
        name, arguments = params.get("name"), wire.as_object(params.get("arguments"))
        if name == "slow":
            return SLOW
        if name == "cancelled":
            return content.text_result(str(self._cancellations))
        tool = content.QUICK_TOOLS.get(name) if isinstance(name, str) else None
        if tool is None:
            raise content.BadParams(f"there is no tool {name}")
        try:
            return tool(arguments)
        except content.BadArgument as exc:
            return content.error_result(f"{name}: {exc}")

    def _start_slow(self, id_: str | int, params: Json) -> None:
        call = self._calls[type(id_).__name__, id_] = Call()
        threading.Thread(target=self._slow, args=(id_, params, call), daemon=True).start()

    def _slow(self, id_: str | int, params: Json, call: Call) -> None:
        arguments = wire.as_object(params.get("arguments"))
        try:
            seconds = content.number(arguments, "seconds", 2)
            steps = content.whole(arguments, "steps", 4, 1, 1000)
            result = self._take_time(min(max(seconds, 0), 3600), steps, params, call)
        except content.BadArgument as exc:
            result = content.error_result(f"slow: {exc}")
        self._send({"id": id_, "result": self._shape("tools/call", result)}, call)
        with self._lock:
            self._calls.pop((type(id_).__name__, id_), None)

    def _take_time(self, seconds: float, steps: int, params: Json, call: Call) -> Json:
        token = wire.meta_of(params).get("progressToken")
        for step in range(1, steps + 1):
            if call.cancelled.wait(seconds / steps):
                break
            if token is not None:
                progress = {"progressToken": token, "progress": step, "total": steps}
                told = wire.trim(
                    {**progress, "message": f"step {step} of {steps}"}, self._revision or ""
                )
                self._send({"method": "notifications/progress", "params": told}, call)
        return content.text_result(f"Took {seconds:g} s in {steps} steps.")

    def _cancel(self, id_: object) -> None:
        with self._lock:
            call = self._calls.get((type(id_).__name__, id_))
            if call is not None:
                call.cancelled.set()
                self._cancellations += 1

    def _shape(self, method: str, result: Json) -> Json:
        if method in ("initialize", "ping"):
            return result
        return wire.as_result(method, result, self._revision or "")

    def _send(self, message: Json, call: Call | None = None) -> None:
        """Write a message, unless it belongs to a call that was cancelled meanwhile.

        "The server MUST NOT send any further messages for the cancelled request": so
        the look and the write are one step that a cancellation cannot come between.
        """
        text = json.dumps({"jsonrpc": "2.0", **message}, ensure_ascii=False)
        # What UTF-8 cannot hold, half a surrogate pair, becomes a JSON escape again.
        line = text.encode("utf-8", "backslashreplace") + b"\n"
        with self._lock:
            if call is None or not call.cancelled.is_set():
                self._write(line)


SLOW: Final[Json] = {}
"""Stands for the result that a thread will give."""


def main() -> int:
    """Serve stdin and stdout until stdin ends; the exit status."""
    _log(f"{__version__} is waiting for a client on stdin")
    try:
        Server(_write_all).serve(sys.stdin.buffer)
    except KeyboardInterrupt:
        return 1
    return 0


def _write_all(line: bytes) -> None:
    # Not through sys.stdout: a thread that still writes at exit would hold its lock.
    rest = memoryview(line)
    with suppress(BrokenPipeError):  # nobody reads any more; stdin will end as well
        while rest:
            rest = rest[os.write(STDOUT, rest) :]


def _whole_list(params: Json, **items: tuple[Json, ...]) -> Json:
    if params.get("cursor") is not None:
        raise content.BadParams("the cursor is not one this server gave out")
    return {key: list(value) for key, value in items.items()}


def _log(what: str) -> None:
    sys.stderr.write(f"mcpgw demo-server: {what}\n")
    sys.stderr.flush()
