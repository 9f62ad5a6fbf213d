"""What the tests of failures share: tools that fail, and what can be seen of a process."""

import json
import re
import sys
from pathlib import Path
from typing import Any, Final

from tests.testbed.gateway import started_by

SERVER: Final = Path(__file__).parent.parent / "servers" / "fail_server.py"
QUICK_STOP: Final = {"stop": "200ms", "term": "200ms"}


def tool(mode: str = "daemon", *start: str, era: str = "legacy", **settings: Any) -> dict[str, Any]:
    """A tool that fails on request; `era` is the server's, and pinned, which saves a probe."""
    # -I -S: without site-packages it starts in a fraction of the time.
    args = ["-I", "-S", str(SERVER), era, *start]
    timeouts = {**QUICK_STOP, **settings.pop("timeouts", {})}
    command = {"cmd": sys.executable, "args": args, "protocol": era}
    return {"mode": mode, "timeouts": timeouts, **command, **settings}


def config(tools: dict[str, Any], **settings: Any) -> str:
    """A configuration; JSON, which is YAML."""
    return json.dumps({"tools": tools, **settings})


def text(messages: list[dict[str, Any]]) -> str:
    """What the answer of a tool says."""
    assert "result" in messages[-1], messages[-1]
    return str(messages[-1]["result"]["content"][0]["text"])


def error(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """The error a request was answered with."""
    assert "error" in messages[-1], messages[-1]
    found: dict[str, Any] = messages[-1]["error"]
    return found


def descriptors(pid: int) -> int:
    """How many files a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def memory(pid: int, which: str = "VmRSS") -> int:
    """How many bytes of memory a process has; `VmHWM`: has had at most."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"^{which}:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def servers_of(pid: int) -> list[str]:
    """The processes of failing servers that a gateway has."""
    return [entry for entry in started_by(pid) if SERVER.name in entry]
