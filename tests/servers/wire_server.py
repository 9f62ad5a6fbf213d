"""A scripted MCP server on stdio: strict about its era, and badly behaved on request.

    wire_server.py ERA [PROBE]

ERA is `legacy` or `modern`. PROBE says what a legacy server does about a request before
`initialize`: `error` (the default), `exit`, `silence`, or `listless`, which answers a
discover that names legacy revisions only. Whatever breaks the rules of the era is
appended to the file that WIRE_VIOLATIONS names, and every line read to WIRE_TRANSCRIPT.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Json = dict[str, Any]

MODERN = "2026-07-28"
PREFIX = "io.modelcontextprotocol/"
PAGES = {None: "two", "two": "three", "three": None}

era = sys.argv[1]
probe = sys.argv[2] if len(sys.argv) > 2 else "error"
heard: list[Json] = []
held: dict[str, tuple[Any, Json]] = {}
asked: dict[str, Any] = {}
waiting_for_cancel: list[tuple[Any, int]] = []
cancelled: list[str | None] = []
seen_ids: set[Any] = set()
sittings: list[Json] = []
tasks: dict[str, Json] = {}
NOW = "2026-07-28T00:00:00Z"
listens: dict[Any, Json] = {}
subscribed: list[str] = []
visited: set[str] = set()
declared: Json = {}
log_level: str | None = None
LEVELS = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"]
state = "new"
revision = None
questions = 0


def write(text: str | bytes) -> None:
    data = text if isinstance(text, bytes) else text.encode() + b"\n"
    while data:
        data = data[os.write(1, data) :]


def send(**message: Any) -> None:
    write(json.dumps({"jsonrpc": "2.0", **message}, ensure_ascii=False))


def note(variable: str, text: Any, suffix: str = "") -> None:
    if variable in os.environ:
        with Path(os.environ[variable] + suffix).open("a") as file:
            file.write(text.rstrip("\n") + "\n")


def violation(text: str) -> None:
    note("WIRE_VIOLATIONS", text)


def complete(result: Json) -> Json:
    if era == "modern":
        result = {"resultType": "complete", **result}
    return result


def text(value: Any) -> Json:
    value = value if isinstance(value, str) else json.dumps(value)
    return complete({"content": [{"type": "text", "text": value}]})


def cacheable(result: Json) -> Json:
    return complete({"ttlMs": 5, "cacheScope": "public", **result} if era == "modern" else result)


def error(id: Any, code: int, message: str = "no", data: Any = None) -> None:
    send(id=id, error={"code": code, "message": message, **({"data": data} if data else {})})


def tools_list(id: Any, params: Json) -> None:
    page = params.get("cursor")
    names = ["plain", "odd"] if page is None else [page]
    tools: list[Json] = [
        {"name": "t-" + n, "inputSchema": {"type": "object", "properties": {}}} for n in names
    ]
    if era == "modern" and page is None:
        tools[1]["outputSchema"] = {"type": "array"}
    if era == "legacy" and page is None:
        tools[1]["execution"] = {"taskSupport": "optional"}
    if page == "annotated":
        region = {"type": "string", "x-mcp-header": "Region"}
        tools.append(
            {"name": "params", "inputSchema": {"type": "object", "properties": {"region": region}}}
        )
        tools.append({"name": "t-bad", "inputSchema": {"type": "object", "items": region}})
    result: Json = {"tools": tools}
    if PAGES.get(page):
        result["nextCursor"] = PAGES[page]
    send(id=id, result=cacheable(result))


def resources_read(id: Any, params: Json) -> None:
    if params["uri"] == "wire://missing":
        error(
            id, -32002 if era == "legacy" else -32602, "no such resource", {"uri": "wire://missing"}
        )
    else:
        contents = [{"uri": params["uri"], "text": "hello\u2028there"}]
        send(id=id, result=cacheable({"contents": contents}))


def progress(params: Json, value: Any, total: int) -> None:
    token = params.get("_meta", {}).get("progressToken")
    if token is not None:
        send(
            method="notifications/progress",
            params={"progressToken": token, "progress": value, "total": total},
        )


def call(id: Any, params: Json) -> None:
    name, args = params["name"], params.get("arguments", {})
    handler = TOOLS.get(name)
    if handler is None:
        error(id, -32602, f"unknown tool {name}")
    else:
        handler(id, params, args)


def hold(id: Any, params: Json, args: Json) -> None:
    for step in range(1, args.get("steps", 0) + 1):
        progress(params, step, args["steps"])
    held[args["key"]] = (id, params)


def release(id: Any, params: Json, args: Json) -> None:
    found = held.pop(args["key"], None)
    if found is not None:
        send(id=found[0], result=text("released " + args["key"]))
    send(id=id, result=text("done"))


def push(id: Any, params: Json, args: Json) -> None:
    if args["key"] in held:
        progress(held[args["key"]][1], args["value"], 100)
    send(id=id, result=text("done"))


def ask(id: Any, params: Json, args: Json) -> None:
    global questions
    questions += 1
    asked[f"q{questions}"] = id
    send(id=f"q{questions}", method=args["method"], params=args.get("params", {}))


def quiz(id: Any, params: Json, args: Json) -> None:
    """Ask some questions at once, `rounds` times over, and say what was answered."""
    rounds = args.get("rounds", 1)
    if era == "legacy":
        sitting: Json = {
            "id": id,
            "params": params,
            "args": args,
            "left": rounds,
            "answers": {},
            "open": {},
        }
        sittings.append(sitting)
        sit(sitting)
        return
    state = json.loads(params.get("requestState", "null"))
    done = 0 if state is None else state["round"]
    if state is not None and (state["pid"] != os.getpid() or state["args"] != args):
        error(id, -32602, "not my state")
    elif done == rounds:
        send(id=id, result=text(params.get("inputResponses")))
    else:
        asked = {f"k{n}": question for n, question in enumerate(args["questions"])}
        mine = {"pid": os.getpid(), "args": args, "round": done + 1}
        result: Json = {"resultType": "input_required", "requestState": json.dumps(mine)}
        if asked:
            result["inputRequests"] = asked
        send(id=id, result=result)


def sit(sitting: Json) -> None:
    global questions
    args = sitting["args"]
    for _ in range(args.get("steps", 0)):
        sitting["step"] = sitting.get("step", 0) + 1
        progress(sitting["params"], sitting["step"], 100)
    if not sitting["left"]:
        if args.get("then_die"):
            os._exit(4)
        if args.get("then_hold"):
            return
        send(id=sitting["id"], result=text(sitting["answers"]))
        sittings.remove(sitting)
        return
    sitting["left"] -= 1
    for n, question in enumerate(sitting["args"]["questions"]):
        questions += 1
        sitting["open"][f"q{questions}"] = f"k{n}"
        send(id=f"q{questions}", **question)


def withdraw(id: Any, params: Json, args: Json) -> None:
    """Want no answers any more to what is asked, and answer the calls that ask."""
    for sitting in list(sittings):
        for question in sitting["open"]:
            send(method="notifications/cancelled", params={"requestId": question})
        send(id=sitting["id"], result=text("withdrawn"))
        sittings.remove(sitting)
    send(id=id, result=text("done"))


def tell(id: Any, params: Json, args: Json) -> None:
    """Log something at each level named."""
    wanted = log_level if era == "legacy" else params["_meta"].get(PREFIX + "logLevel")
    for level in args["levels"]:
        if (era == "legacy" and wanted is None) or (
            wanted and LEVELS.index(level) >= LEVELS.index(wanted)
        ):
            send(method="notifications/message", params={"level": level, "data": args.get("data")})
    send(id=id, result=text("told"))


def touch(id: Any, params: Json, args: Json) -> None:
    """Say that a resource was updated, to whoever subscribed to it."""
    uri = args["uri"]
    news: Json = {"method": "notifications/resources/updated", "params": {"uri": uri}}
    if era == "legacy" and any(uri.startswith(mine) for mine in subscribed):
        send(**news)
    for listen_id, wanted in listens.items():
        if any(uri.startswith(mine) for mine in wanted.get("resourceSubscriptions", [])):
            publish(listen_id, **news)
    send(id=id, result=text("touched"))


def change(id: Any, params: Json, args: Json) -> None:
    """Say that a list changed."""
    kind = args["list"]
    news: Json = {"method": f"notifications/{kind}/list_changed", "params": {}}
    if era == "legacy":
        send(method=news["method"])
    for listen_id, wanted in listens.items():
        if wanted.get(f"{kind}ListChanged"):
            publish(listen_id, **news)
    send(id=id, result=text("changed"))


def publish(listen_id: Any, method: str, params: Json) -> None:
    send(method=method, params={**params, "_meta": {PREFIX + "subscriptionId": listen_id}})


def listen(id: Any, params: Json) -> None:
    wanted = {key: value for key, value in params["notifications"].items() if value}
    uris = [uri for uri in wanted.get("resourceSubscriptions", []) if "refused" not in uri]
    if "resourceSubscriptions" in wanted:
        wanted["resourceSubscriptions"] = uris
    listens[id] = wanted
    publish(id, "notifications/subscriptions/acknowledged", {"notifications": wanted})


def hang_up(id: Any, params: Json, args: Json) -> None:
    """End every subscription as a server should."""
    for listen_id in list(listens):
        del listens[listen_id]
        send(id=listen_id, result=complete({"_meta": {PREFIX + "subscriptionId": listen_id}}))
    send(id=id, result=text("hung up"))


def subscribe(id: Any, params: Json) -> None:
    if "refused" in params["uri"]:
        error(id, -32602, "no such resource")
        return
    subscribed.append(params["uri"])
    send(id=id, result={})


def unsubscribe(id: Any, params: Json) -> None:
    subscribed.remove(params["uri"])
    send(id=id, result={})


def set_level(id: Any, params: Json) -> None:
    global log_level
    log_level = params["level"]
    send(id=id, result={})


def visit(id: Any, params: Json, args: Json) -> None:
    """Work only after a visit to a page."""
    if args["id"] in visited:
        send(id=id, result=text("welcome"))
        return
    visits = {
        "elicitations": [
            {
                "mode": "url",
                "message": "sign in",
                "url": "https://example.org/in",
                "elicitationId": args["id"],
            }
        ]
    }
    error(id, -32042, "sign in first", visits)


def visited_now(id: Any, params: Json, args: Json) -> None:
    visited.add(args["id"])
    send(method="notifications/elicitation/complete", params={"elicitationId": args["id"]})
    send(id=id, result=text("noted"))


def task_of(key: str) -> Json:
    """A task as its server tells of it."""
    ended = tasks[key]["status"] != "working"
    common = {"taskId": key, "status": tasks[key]["status"], "createdAt": NOW, "lastUpdatedAt": NOW}
    if era == "legacy":
        return {**common, "ttl": 60000}
    inlined = {"result": tasks[key]["result"]} if ended else {}
    return {**common, "ttlMs": 60000, **inlined}


def work(id: Any, params: Json, args: Json) -> None:
    """Become a task, if that is allowed."""
    extensions = (
        params.get("_meta", {}).get(PREFIX + "clientCapabilities", {}).get("extensions", {})
    )
    if "task" not in params and PREFIX + "tasks" not in extensions:
        send(id=id, result=text("done at once"))
        return
    key = f"task-{os.getpid()}-{len(tasks)}"
    tasks[key] = {"status": "working", "result": text("done later")}
    made = task_of(key)
    send(id=id, result={"task": made} if era == "legacy" else {"resultType": "task", **made})


def finish(id: Any, params: Json, args: Json) -> None:
    key = args["taskId"]
    tasks[key]["status"] = "completed"
    if era == "legacy":
        send(method="notifications/tasks/status", params=task_of(key))
    send(id=id, result=text("finished"))


def about_task(id: Any, params: Json) -> None:
    if params["taskId"] in tasks:
        send(id=id, result=complete(task_of(params["taskId"])))
    else:
        error(id, -32602, "no such task")


def cancel_task(id: Any, params: Json) -> None:
    tasks[params["taskId"]]["status"] = "cancelled"
    about_task(id, params)


def task_result(id: Any, params: Json) -> None:
    related = {PREFIX + "related-task": {"taskId": params["taskId"]}}
    send(id=id, result={**tasks[params["taskId"]]["result"], "_meta": related})


def flood(id: Any, params: Json, args: Json) -> None:
    for step in range(args["count"]):
        token = params.get("_meta", {}).get("progressToken")
        if token is not None:
            send(
                method="notifications/progress",
                params={"progressToken": token, "progress": step, "message": "x" * args["size"]},
            )
    send(id=id, result=text("flooded"))


def forge(id: Any, params: Json, args: Json) -> None:
    forged = json.dumps({"jsonrpc": "2.0", "id": id, "result": text("forged")})
    write("Listening on stdio")
    write("DEBUG about to send " + forged)
    write("[1,2,3]")
    write("null")
    write(b"\xff\xfe not text\n")
    send(id=str(id), result=text("forged by a string id"))
    send(id=id + 1000, result=text("forged for another"))
    send(method="notifications/progress", params={"progressToken": "guessed", "progress": 1})
    send(id=id, result=text("genuine"))


def twice(id: Any, params: Json, args: Json) -> None:
    send(id=id, result=text("first"))
    send(id=id, result=text("second"))
    progress(params, 99, 100)


def die(id: Any, params: Json, args: Json) -> None:
    sys.stderr.write("wire server: told to die\n")
    sys.stderr.flush()
    os._exit(args.get("code", 3))


def await_cancel(id: Any, params: Json, args: Json) -> None:
    waiting_for_cancel.append((id, args.get("count", 1)))
    settle_cancels()


def settle_cancels() -> None:
    for entry in list(waiting_for_cancel):
        if len(cancelled) >= entry[1]:
            waiting_for_cancel.remove(entry)
            send(id=entry[0], result=text(cancelled))


def news(id: Any, params: Json, args: Json) -> None:
    send(method=args["method"], params=args.get("params", {}))
    send(id=id, result=text("told"))


def raw(id: Any, params: Json, args: Json) -> None:
    send(id=id, result=args["result"])


TOOLS: dict[str, Callable[[Any, Json, Json], None]] = {
    "echo": lambda id, params, args: send(id=id, result=text(args.get("text", ""))),
    "params": lambda id, params, args: send(id=id, result=text(params)),
    "heard": lambda id, params, args: send(id=id, result=text(heard)),
    "pid": lambda id, params, args: send(id=id, result=text(os.getpid())),
    "big": lambda id, params, args: send(id=id, result=text("x" * args["bytes"])),
    "fail": lambda id, params, args: error(id, args["code"], "as told", {"why": "told"}),
    "line": lambda id, params, args: write(b"x" * args["bytes"]),
    "hold": hold,
    "release": release,
    "push": push,
    "ask": ask,
    "quiz": quiz,
    "work": work,
    "finish": finish,
    "withdraw": withdraw,
    "tell": tell,
    "touch": touch,
    "change": change,
    "hang_up": hang_up,
    "visit": visit,
    "visited": visited_now,
    "capabilities": lambda id, params, args: send(
        id=id,
        result=text(
            params["_meta"][PREFIX + "clientCapabilities"] if era == "modern" else declared
        ),
    ),
    "subscribed": lambda id, params, args: send(id=id, result=text(subscribed)),
    "listens": lambda id, params, args: send(id=id, result=text(list(listens.values()))),
    "flood": flood,
    "forge": forge,
    "twice": twice,
    "die": die,
    "await_cancel": await_cancel,
    "news": news,
    "raw": raw,
}

COMPLETION = {"completion": {"values": ["one", "two"], "hasMore": False}}
PROMPT = {"messages": [{"role": "user", "content": {"type": "text", "text": "Hi, Ada"}}]}

METHODS: dict[str, Callable[[Any, Json], None]] = {
    "tools/list": tools_list,
    "tools/call": call,
    "resources/read": resources_read,
    "resources/list": lambda id, params: send(
        id=id, result=cacheable({"resources": [{"uri": "wire://a", "name": "a"}]})
    ),
    "resources/templates/list": lambda id, params: send(
        id=id, result=cacheable({"resourceTemplates": []})
    ),
    "prompts/list": lambda id, params: send(
        id=id, result=cacheable({"prompts": [{"name": "greet"}]})
    ),
    "prompts/get": lambda id, params: send(id=id, result=complete(PROMPT)),
    "completion/complete": lambda id, params: send(id=id, result=complete(COMPLETION)),
    "com.example/extension": lambda id, params: send(id=id, result=complete({"extended": True})),
}

METHODS["tasks/get"] = about_task
METHODS["tasks/cancel"] = cancel_task
METHODS["tasks/update"] = lambda id, params: send(id=id, result=complete({}))

LEGACY_METHODS = {
    **METHODS,
    "tasks/result": task_result,
    "tasks/list": lambda id, params: send(id=id, result={"tasks": [task_of(key) for key in tasks]}),
    "resources/subscribe": subscribe,
    "resources/unsubscribe": unsubscribe,
    "logging/setLevel": set_level,
}

CAPABILITIES: Json = {
    "tools": {"listChanged": True},
    "resources": {"subscribe": True, "listChanged": True},
    "prompts": {"listChanged": True},
    "completions": {},
    "logging": {},
}
if era == "legacy":
    CAPABILITIES["tasks"] = {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}
else:
    CAPABILITIES["extensions"] = {PREFIX + "tasks": {}}
INFO = {"name": "wire", "version": "1.2.3"}


def before_initialize(id: Any, method: str) -> None:
    if probe == "exit":
        sys.stderr.write("wire server: what is that?\n")
        os._exit(9)
    if probe == "listless" and method == "server/discover":
        send(id=id, result={"supportedVersions": ["2025-11-25"], "capabilities": {}})
    elif probe != "silence":
        error(id, -32602, "not initialized")
    if method != "server/discover":
        violation(f"{method} before initialize")


def legacy_request(id: Any, method: str, params: Json) -> None:
    global state, revision, declared
    if method == "initialize":
        if state != "new":
            violation("a second initialize")
            error(id, -32600, "initialized already")
            return
        state, revision = "initializing", params["protocolVersion"]
        if params["capabilities"].keys() - {"elicitation", "sampling", "roots"}:
            violation("capabilities that were not agreed on")
        declared = params["capabilities"]
        send(
            id=id,
            result={
                "protocolVersion": revision,
                "capabilities": CAPABILITIES,
                "serverInfo": INFO,
                "instructions": "be gentle",
            },
        )
    elif state == "new":
        before_initialize(id, method)
    elif state == "initializing":
        violation(f"{method} before notifications/initialized")
    elif any(key.startswith(PREFIX) for key in params.get("_meta", {})):
        violation(f"modern metadata in {method}")
    elif method in LEGACY_METHODS:
        LEGACY_METHODS[method](id, params)
    else:
        error(id, -32601, f"unknown method {method}")


def modern_request(id: Any, method: str, params: Json) -> None:
    meta = params.get("_meta", {})
    if method == "initialize":
        violation("initialize to a modern server")
        error(id, -32022, "unsupported", {"supported": [MODERN], "requested": "?"})
    elif (
        meta.get(PREFIX + "protocolVersion") != MODERN or PREFIX + "clientCapabilities" not in meta
    ):
        violation(f"{method} without its envelope")
        error(id, -32602, "no envelope")
    elif method == "server/discover":
        result = {
            "supportedVersions": [MODERN],
            "capabilities": CAPABILITIES,
            "instructions": "be gentle",
            "_meta": {PREFIX + "serverInfo": INFO},
        }
        send(id=id, result=cacheable(result))
    elif method == "subscriptions/listen":
        listen(id, params)
    elif method in METHODS:
        METHODS[method](id, params)
    else:
        error(id, -32601, f"unknown method {method}")


def notified(method: str, params: Json) -> None:
    global state
    if method == "notifications/initialized" and era == "legacy" and state == "initializing":
        state = "ready"
    elif method == "notifications/cancelled":
        if listens.pop(params["requestId"], None) is not None:
            return
        for sitting in [s for s in sittings if s["id"] == params["requestId"]]:
            sittings.remove(sitting)
        names = [key for key, (id, _) in held.items() if id == params["requestId"]]
        if params["requestId"] not in seen_ids:
            violation("a cancellation of what was never asked")
        cancelled.append(names[0] if names else None)
        for name in names:
            del held[name]
        settle_cancels()
    else:
        violation(f"notification {method}")


def answered(message: Json) -> None:
    if era == "modern":
        violation("a response to a modern server")
    elif sat := [s for s in sittings if message["id"] in s["open"]]:
        kind = "result" if "result" in message else "error"
        sat[0]["answers"][sat[0]["open"].pop(message["id"])] = message[kind]
        if not sat[0]["open"]:
            sit(sat[0])
    elif message["id"] in asked:
        kind = "result" if "result" in message else "error"
        send(id=asked.pop(message["id"]), result=text({kind: message[kind]}))
    elif not str(message["id"]).startswith("q"):
        violation("a response to nothing")


def receive(message: Json) -> None:
    heard.append(message)
    if "method" not in message:
        answered(message)
    elif "id" not in message:
        notified(message["method"], message.get("params", {}))
    else:
        if message["id"] in seen_ids:
            violation("an id used twice")
        seen_ids.add(message["id"])
        handler = legacy_request if era == "legacy" else modern_request
        handler(message["id"], message["method"], message.get("params", {}))


for line in sys.stdin.buffer:
    note("WIRE_TRANSCRIPT", line.decode(), "." + era)
    try:
        received = json.loads(line)
        assert isinstance(received, dict) and received["jsonrpc"] == "2.0"
    except (ValueError, AssertionError, KeyError):
        violation(f"a line that is no message: {line[:200]!r}")
        continue
    receive(received)
