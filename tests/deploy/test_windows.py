"""What files and servers from Windows look like."""

from collections.abc import Callable
from pathlib import Path

from mcpgw.config.load import load
from tests.testbed.gateway import Gateway
from tests.testbed.wire import call_echo, call_tool

SERVER = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message["method"] == "server/discover":
        result = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}},
                  "serverInfo": {"name": "crlf", "version": "1"}, "resultType": "complete",
                  "ttlMs": 0, "cacheScope": "private"}
    else:
        text = message["params"]["arguments"]["text"]
        result = {"content": [{"type": "text", "text": text}], "resultType": "complete"}
    answer = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result})
    sys.stdout.buffer.write(answer.encode() + b"\\r\\n")
    sys.stdout.buffer.flush()
"""


def windows(path: Path, text: str, *, mark: bool = False) -> Path:
    """Write a file as Windows programs do."""
    data = text.replace("\n", "\r\n").encode()
    path.write_bytes(b"\xef\xbb\xbf" + data if mark else data)
    return path


def test_a_configuration_may_have_windows_line_ends_and_a_mark(tmp_path: Path) -> None:
    text = (
        "# comment\ntools:\n  a:\n    cmd: sh\n    args:\n      - |\n        one\n        two\n"
        "    env:\n      X: 'value'\nhost_workspaces: 'C:\\Users\\me\\ws'\n"
    )
    for mark in (False, True):
        config = load(windows(tmp_path / "config.yaml", text, mark=mark))
        assert config.tools["a"].args == ("one\ntwo\n",)
        assert config.tools["a"].env == {"X": "value"}
        assert config.host_workspaces == "C:\\Users\\me\\ws"


def test_a_server_may_end_its_messages_with_both(
    gateway: Callable[..., Gateway], tmp_path: Path
) -> None:
    script = windows(tmp_path / "server.py", SERVER)
    running = gateway(f"tools: {{crlf: {{cmd: python3, args: ['{script}'], mode: daemon}}}}")
    assert call_echo(running.url("crlf"), "hello") == "hello"


def test_a_script_with_windows_line_ends_says_what_is_wrong(
    gateway: Callable[..., Gateway], tmp_path: Path
) -> None:
    script = windows(tmp_path / "tool.sh", "#!/bin/sh\nexec cat\n")
    script.chmod(0o777)  # as everything below /mnt/c
    running = gateway(f"tools: {{bad: {{cmd: '{script}'}}}}")
    error = call_tool(running.url("bad"), "echo", text="x")["error"]
    assert "has Windows line ends" in error["message"]


def test_a_secret_may_have_a_windows_line_end(
    gateway: Callable[..., Gateway], tmp_path: Path
) -> None:
    windows(tmp_path / "secret", "hidden\n")
    text = "import os, json, sys\n" + SERVER.replace(
        'message["params"]["arguments"]["text"]', 'os.environ["SECRET"]'
    )
    (tmp_path / "server.py").write_text(text)
    env = f"env: {{SECRET: 'file:{tmp_path}/secret'}}"
    running = gateway(
        f"tools: {{s: {{cmd: python3, args: ['{tmp_path}/server.py'], {env}, mode: daemon}}}}"
    )
    assert call_echo(running.url("s"), "x") == "hidden"
