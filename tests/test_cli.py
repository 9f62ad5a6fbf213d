"""The command line as a person meets it: a real process, its output and its exit status."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from mcpgw import __version__

DEMO = "tools:\n  demo: {cmd: mcpgw, args: [demo-server]}\n"


def mcpgw(
    *arguments: str | Path, stdin: str = "", env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mcpgw", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONWARNINGS": "error", **(env or {})},
        cwd=Path(__file__).parents[1],
        check=False,
    )


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(DEMO)
    return path


def test_the_version_is_told() -> None:
    done = mcpgw("--version")
    assert (done.returncode, done.stdout) == (0, f"mcpgw {__version__}\n")


def test_help_names_every_command_and_flag() -> None:
    done = mcpgw("--help")
    assert done.returncode == 0
    for word in ("check", "schema", "demo-server", "--config", "--host", "--port"):
        assert word in done.stdout


def test_no_arguments_get_the_usage_and_misuse() -> None:
    done = mcpgw()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: mcpgw --config FILE")
    assert len(done.stderr.splitlines()) < 8


@pytest.mark.parametrize(
    "arguments", [["check"], ["--port", "0"], ["--log-level", "debug"], ["--host", "localhost"]]
)
def test_a_missing_config_is_told(arguments: list[str]) -> None:
    done = mcpgw(*arguments)
    assert done.returncode == 2
    assert "--config FILE is missing" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["--nope"], ["nope"], ["--port", "http"], ["--log-level", "loud"], ["--conf", "x"]],
)
def test_wrong_arguments_are_misuse(arguments: list[str]) -> None:
    done = mcpgw(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")


def test_check_says_what_each_tool_would_run(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        DEMO + "  sh: {cmd: sh, mode: daemon}\n"
        "  lost: {cmd: no-such-program, env: {A: '${MCPGW_TEST_NOPE}'}, cwd: nope}\n"
        "  box: {runtime: container, image: mcp/time}\n"
        "  literal: {cmd: sh, args: ['${HOME}']}\n"
    )
    done = mcpgw("check", "--config", tmp_path / "config.yaml")
    assert (done.returncode, done.stderr) == (0, "")
    first, *lines = [line.split() for line in done.stdout.splitlines()]
    assert first == ["ok"]
    tools = {line[0]: line[1:] for line in lines if line[0] != "warning:"}
    assert tools["demo"] == ["native", "launcher", "this", "program"]
    assert tools["sh"][:2] == ["native", "daemon"]
    assert Path(tools["sh"][2]).name == "sh"
    assert tools["lost"][:2] == ["native", "launcher"]
    assert tools["box"] == ["container", "launcher", "mcp/time"]
    warnings = "\n".join(" ".join(line) for line in lines if line[0] == "warning:")
    assert "lost: the program 'no-such-program' was found neither" in warnings
    assert "lost: env.A: the variable MCPGW_TEST_NOPE is not set" in warnings
    assert "lost: cwd:" in warnings
    assert 'literal: args: "${" is passed on as it is' in warnings
    assert warnings.count("warning:") == 4


@pytest.mark.parametrize("arguments", [["check", "--config"], ["--config"]])
def test_problems_come_one_a_line_and_nothing_else(tmp_path: Path, arguments: list[str]) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("tools:\n  a: {cmd: x, tymeouts: {}}\n  b: {}\n")
    done = mcpgw(*arguments, path)
    assert (done.returncode, done.stdout) == (2, "")
    first, second = done.stderr.splitlines()
    assert first == f'{path}:2: tools.a.tymeouts: unknown key "tymeouts"; did you mean "timeouts"?'
    assert second.startswith(f'{path}:3: tools.b: "runtime: native" needs "cmd"')


@pytest.mark.parametrize("arguments", [["check", "--config", "-"], ["--config", "-", "check"]])
def test_a_configuration_comes_on_stdin_too(arguments: list[str]) -> None:
    assert mcpgw(*arguments, stdin=DEMO).stdout.startswith("ok\n  demo")
    assert mcpgw(*arguments, stdin="tools: 5").stderr.startswith("<stdin>:1: tools: expected")


def test_files_that_cannot_be_read_get_one_line(tmp_path: Path) -> None:
    for path, told in ((tmp_path / "nope", "no such file"), (tmp_path, "is a directory")):
        done = mcpgw("--config", path)
        assert done.returncode == 2
        assert told in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_host_for_everybody_needs_permission_on_the_command_line_too(demo: Path) -> None:
    """Security: see `mcpgw.config.rules`."""
    done = mcpgw("--config", demo, "--host", "0.0.0.0")
    assert done.returncode == 2
    assert done.stderr.startswith('--host: "0.0.0.0" can be reached')


def test_a_port_out_of_range_is_told(demo: Path) -> None:
    done = mcpgw("--config", demo, "--port", "70000")
    assert (done.returncode, done.stderr) == (2, '--port: expected at most 65535, got "70000"\n')


def test_a_port_in_use_is_told_in_one_line(demo: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = mcpgw("--config", demo, "--port", str(port))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"mcpgw: cannot listen on 127.0.0.1 port {port}: another program does; "
        "stop it, or choose another with --port"
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("host", "told"),
    [
        ("203.0.113.4", "this machine does not have that address"),
        ("no-such-host.invalid", "there is no host of that name"),
    ],
)
def test_a_host_that_is_not_here_is_told(host: str, told: str) -> None:
    done = mcpgw("--config", "-", "--host", host, stdin="allow_anonymous: true\ntools: {}")
    assert done.returncode == 1
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_the_schema_is_json() -> None:
    done = mcpgw("schema")
    assert done.returncode == 0
    assert json.loads(done.stdout)["title"] == "mcpgw configuration"


def test_a_reader_that_leaves_early_is_no_error() -> None:
    """As in ``mcpgw schema | head -1``."""
    with subprocess.Popen(
        [sys.executable, "-m", "mcpgw", "schema"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=30) == 1


def imported(*arguments: str) -> set[str]:
    """Give the modules that a command imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "mcpgw", *arguments],
        input=DEMO,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return set(re.findall(r"^import time:.*\| +(\S+)$", done.stderr, re.MULTILINE))


def test_commands_import_only_what_they_need() -> None:
    server = {"aiohttp", "structlog", "mcpgw.app"}
    config = {"pydantic", "yaml"}
    assert not (server | config) & imported("--help")
    assert not (server | config) & imported("demo-server")
    assert not server & imported("check", "--config", "-")
    assert config <= imported("check", "--config", "-")  # or this would prove nothing


@contextmanager
def serving(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "mcpgw", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=30)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_with_the_flags_in_place_of_the_file_and_stops_when_told(
    demo: Path, number: signal.Signals
) -> None:
    demo.write_text(DEMO + "listen: {host: 0.0.0.0, port: 1}\nlog: {level: error, format: console}")
    flags = ["--host", "127.0.0.1", "--port", "0", "--log-level", "info", "--log-format", "json"]
    with serving("--config", demo, *flags) as process:
        assert process.stderr is not None
        events = (json.loads(line) for line in process.stderr)
        started = next(event for event in events if event["event"] == "gateway.started")
        with socket.create_connection(("127.0.0.1", started["port"]), timeout=10):
            process.send_signal(number)
            assert process.wait(timeout=30) == 0
        assert [event["event"] for event in events][-1] == "gateway.stopped"


def test_a_configuration_without_its_flag_is_told_how() -> None:
    done = mcpgw("config.yaml")
    assert done.returncode == 2
    assert "--config config.yaml" in done.stderr


def test_check_doubts_what_cannot_work_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "tools:\n"
        "  line: {cmd: 'python3 server.py'}\n"
        "  path: {cmd: './run me.sh --fast'}\n"
        "  kept: {cmd: sh, daemon: {min: 1}}\n"
        "  fresh: {cmd: sh, mode: daemon, launcher: {warm: 1}}\n"
    )
    done = mcpgw("check", "--config", tmp_path / "config.yaml")
    assert done.returncode == 0
    assert "is 'python3 server.py' a program and its arguments?" in done.stdout
    assert """is './run me.sh --fast' a program and its arguments? they go into "args\"""" in (
        done.stdout
    )
    assert 'kept: daemon: has no effect with "mode: launcher"' in done.stdout
    assert 'fresh: launcher: has no effect with "mode: daemon"' in done.stdout


def test_check_shows_what_a_container_was_allowed(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        "tools:\n  a: {runtime: container, image: i, network: bridge, user: 0}\n"
        "  b: {runtime: container, image: i}\n"
    )
    done = mcpgw("check", "--config", str(config))
    assert done.returncode == 0
    assert "relaxed: it may use the network (bridge)" in done.stdout
    assert "relaxed: it runs as root inside its container (user: 0)" in done.stdout
    assert done.stdout.count("relaxed") == 2


def test_a_new_key_is_printed_once_with_what_to_configure(tmp_path: Path) -> None:
    done = mcpgw("key", "new", "alice", "--expires", "2099-12-31")
    assert done.returncode == 0
    key = done.stdout.strip()
    assert key.startswith("mcpgw_")
    assert key not in done.stderr
    config = tmp_path / "config.yaml"
    entry = done.stderr.splitlines()[-1]
    config.write_text(f"tools: {{a: {{cmd: sh}}}}\nauth:\n  keys:\n  {entry}\n")
    assert mcpgw("check", "--config", str(config)).returncode == 0


def test_a_wrong_name_or_date_is_refused() -> None:
    for words in (("a b",), ("alice", "--expires", "soon")):
        done = mcpgw("key", "new", *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert "expected a" in done.stderr


def test_a_key_that_cannot_be_read_is_one_clear_line(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        "tools: {a: {cmd: sh}}\nauth: {keys: [{name: alice, key: 'file:none'}]}\n"
        "listen: {port: 0}\n"
    )
    checked = mcpgw("check", "--config", str(config))
    assert "warning: auth.keys[0].key (alice)" in checked.stdout
    done = mcpgw("--config", str(config))
    assert done.returncode == 2
    assert "auth.keys[0].key (alice)" in done.stderr
    assert "Traceback" not in done.stderr
