from pathlib import Path

import pytest

from mcpgw.config.load import Override, load, parse
from mcpgw.config.schema import Config, Mode, RuntimeKind
from mcpgw.errors import ConfigError

BASE = Path("/srv/mcp")

SEED = """\
workspace_root: /workspaces
tools_root: /tools
tools:
  fs:
    runtime: container
    mode: launcher
    image: mcp/filesystem
    args: ["/workspaces"]
  git:
    runtime: native
    mode: launcher
    cmd: "npx"
    args: ["-y", "@modelcontextprotocol/server-git", "/workspaces"]
  my-script:
    runtime: native
    mode: daemon
    cmd: "/tools/meu-script.sh"
"""


def read(text: str, *overrides: Override) -> Config:
    return parse(text, name="c.yaml", base_dir=BASE, overrides=overrides)


def told(text: str, *overrides: Override) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text, *overrides)
    return str(caught.value).splitlines()


def tool(body: str) -> str:
    return "tools:\n  t:\n" + "\n".join(f"    {line}" for line in body.splitlines())


def test_the_seed_example_loads_verbatim() -> None:
    config = read(SEED)
    fs, git, script = config.tools.values()
    assert (fs.name, fs.runtime, fs.image) == ("fs", RuntimeKind.CONTAINER, "mcp/filesystem")
    assert fs.args == ("/workspaces",)
    assert git.args == ("-y", "@modelcontextprotocol/server-git", "/workspaces")
    assert (script.mode, script.cmd) == (Mode.DAEMON, "/tools/meu-script.sh")
    assert config.tools_root == Path("/tools")


def test_names_and_paths_are_filled_in() -> None:
    config = read(
        "tools_root: bin\ntools: {a: {cmd: x}, b: {cmd: x, cwd: sub}, c: {cmd: x, cwd: /x}}"
    )
    assert list(config.tools) == [spec.name for spec in config.tools.values()]
    assert [spec.cwd for spec in config.tools.values()] == [BASE, BASE / "sub", Path("/x")]
    assert (config.base_dir, config.tools_root) == (BASE, BASE / "bin")


def test_a_container_keeps_the_working_directory_of_its_image() -> None:
    assert read("tools: {a: {runtime: container, image: x}}").tools["a"].cwd is None


def test_a_tilde_is_the_home_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert read("tools: {a: {cmd: x, cwd: ~/src}}").tools["a"].cwd == Path("/home/ada/src")


def test_what_was_loaded_stays_as_it_is() -> None:
    config = read("tools: {a: {cmd: x, env: {A: b}}}")
    with pytest.raises(TypeError):
        config.tools["b"] = config.tools["a"]  # type: ignore[index]
    with pytest.raises(TypeError):
        config.tools["a"].env["A"] = "c"  # type: ignore[index]


@pytest.mark.parametrize("prefix", ["\ufeff", ""])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_files_written_on_windows_load(tmp_path: Path, prefix: str, newline: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes((prefix + SEED.replace("\n", newline)).encode())
    assert list(load(path).tools) == ["fs", "git", "my-script"]


EVERYTHING_WRONG = """\
listen: {port: "8080"}
session_idle: 0
tymeouts: {}
tools:
  search:
    comand: foo
    daemon:
      idle_timeout: 30x
      min: -1
    tymeouts: {}
  mcp: {cmd: x}
  box: {runtime: container}
"""


def test_all_problems_are_told_at_once_in_the_order_of_their_lines() -> None:
    assert [line.partition(", such")[0] for line in told(EVERYTHING_WRONG)] == [
        'c.yaml:1: listen.port: expected a whole number, got "8080"',
        "c.yaml:2: session_idle: expected a duration longer than zero",
        told(EVERYTHING_WRONG)[2],
        'c.yaml:6: tools.search.comand: unknown key "comand"; did you mean "cmd"?',
        'c.yaml:8: tools.search.daemon.idle_timeout: expected a duration such as "30s", got "30x"',
        'c.yaml:9: tools.search.daemon.min: expected at least 0, got "-1"',
        'c.yaml:10: tools.search.tymeouts: unknown key "tymeouts"; did you mean "timeouts"?',
        'c.yaml:11: tools.mcp: the name "mcp" is reserved; call the tool something else',
        'c.yaml:12: tools.box: "runtime: container" needs "image", the image to run',
    ]
    assert told(EVERYTHING_WRONG)[2].startswith(
        'c.yaml:3: tymeouts: unknown key "tymeouts"; the keys'
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "c.yaml:1: is empty"),
        ("# nothing yet\n", "c.yaml:1: is empty"),
        ("just text", "c.yaml:1: expected settings by name"),
        ("- a", "c.yaml:1: expected settings by name"),
        ("listen: {}", 'c.yaml:1: has no "tools"'),
        ("\ntools:\n", "c.yaml:2: tools: expected tools by name"),
        ("tools:\n  - name: x\n", "c.yaml:1: tools: expected tools by name"),
        ("tools:\n  a:\n", "c.yaml:2: tools.a: expected the settings of a tool"),
        ("tools:\n  a: npx foo\n", "c.yaml:2: tools.a: expected the settings of a tool"),
        ("tools:\n  a: [npx]\n", "c.yaml:2: tools.a: expected the settings of a tool"),
        ("listen: 8080\ntools: {}", 'c.yaml:1: listen: expected settings by name, such as "host'),
        ("listen: {port: 8080,}\nlog:\ntools: {}", "c.yaml:2: log: expected settings by name"),
        ("listen:\n  port: 8080,\ntools: {}", 'got "8080,"; remove the comma'),
        ("listen:\n  port: 70000\ntools: {}", "c.yaml:2: listen.port: expected at most 65535"),
        ("listen: {host: 'local host'}\ntools: {}\nallow_anonymous: true", "expected an address"),
        ("log: {level: warn}\ntools: {}", 'got "warn"; did you mean "warning"?'),
        ("log: {acess: no}\ntools: {}", 'unknown key "acess"; did you mean "access"?'),
        ("log: {access: nope}\ntools: {}", 'expected true or false, got "nope"'),
        ("limits: {body: lots}\ntools: {}", 'expected a size such as "4MiB", got "lots"'),
        ("limits: {sessions: 1.5}\ntools: {}", 'expected a whole number, got "1.5"'),
        ("tools_root: [a]\ntools: {}", "tools_root: expected text, got a list"),
        ("public_url: mcp.example.com\ntools: {}", "expected a URL such as"),
        ("public_url: 'https://a/b?c'\ntools: {}", "expected a URL such as"),
        ("allowed_hosts: [https://a]\ntools: {}", "allowed_hosts[0]: expected a host"),
        ("allowed_hosts: a.example\ntools: {}", "expected a list with one item per value"),
        ("allowed_origins: [a.example]\ntools: {}", "allowed_origins[0]: expected an origin"),
        ("mcpServers: {}", 'unknown key "mcpServers"; did you mean "tools"?'),
        ("git: {cmd: x}\ntools: {}", 'unknown key "git"; a tool belongs under "tools"'),
        ("cmd: x\ntools: {}", 'unknown key "cmd"; it belongs under a tool'),
        ("port: 80\ntools: {}", 'unknown key "port"; it belongs under "listen"'),
        ("base_dir: /x\ntools: {}", 'c.yaml:1: base_dir: unknown key "base_dir"'),
        ("tools: {}\ntools: {}", "c.yaml:2: tools: is given twice, first on line 1"),
        ("tools:\n\ta: {cmd: x}", "c.yaml:2: indentation must be spaces"),
    ],
)
def test_what_is_wrong_around_tools_is_told(text: str, expected: str) -> None:
    assert expected in "\n".join(told(text))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("mode: daemon", 'c.yaml:2: tools.t: "runtime: native" needs "cmd", the program to run'),
        ("{}", 'tools.t: "runtime: native" needs "cmd"'),
        ("cmd: ''", 'tools.t: "runtime: native" needs "cmd"'),
        ("image: x", 'did you mean "runtime: container"?'),
        ("runtime: container\ncmd: x", 'needs "image", the image to run; or did you mean'),
        ("cmd: x\nimage: y", 'c.yaml:4: tools.t.image: has no meaning with "runtime: native"'),
        ("cmd: x\nmode: deamon", 'got "deamon"; did you mean "daemon"?'),
        ("cmd: x\nruntime: docker", 'expected "native" or "container", got "docker"'),
        ("cmd: 5", 'tools.t.cmd: expected text, got a number; quote it: "5"'),
        ("cmd: [npx, -y]", "tools.t.cmd: expected text, got a list"),
        ('cmd: x\nargs: "-y foo"', "tools.t.args: expected a list with one item per value"),
        ("cmd: x\nargs: [--port, 8080]", 'args[1]: expected text, got a number; quote it: "8080"'),
        ("cmd: x\nargs: [no]", 'args[0]: expected text, got a yes or no; quote it: "no"'),
        ("cmd: x\nargs:\n  - a\n  -\n", "c.yaml:6: tools.t.args[1]: expected text, got nothing"),
        ("cmd: x\nenv: {DEBUG: on}", 'env.DEBUG: expected text, got a yes or no; quote it: "on"'),
        ("cmd: x\nenv: {PORT: 80}", "env.PORT: expected text, got a number; put it in quotes"),
        ("cmd: x\nenv:\n  TOKEN:\n", 'write "${TOKEN}" to pass on the variable of the gateway'),
        ("cmd: x\nenv: [A=B]", "tools.t.env: expected variables by name"),
        ("cmd: x\nenv: {'A=B': x}", 'the name of a variable cannot be empty or have a "="'),
        ("cmd: x\nenv: {A: pa$word}", 'env.A: write "${NAME}" for a variable, or "$$"'),
        ("cmd: x\nenv: {A: '${A'}", 'env.A: write "${NAME}" for a variable, or "$$"'),
        ("cmd: x\nwarm: 2", 'unknown key "warm"; it belongs under "launcher"'),
        ("cmd: x\nmax: 2", 'unknown key "max"; it belongs under "launcher" or under "daemon"'),
        ("cmd: x\ndaemon: {timeouts: {}}", 'unknown key "timeouts"; it belongs to "t" itself'),
        ("cmd: x\nlisten: {}", 'unknown key "listen"; it belongs at the top of the file'),
        ("command: x", 'unknown key "command"; did you mean "cmd"?'),
        ("cmd: x\nname: t", 'unknown key "name"; the keys here are'),
        ("cmd: x\ndaemon: {min: 5, max: 2}", 'tools.t.daemon: "min" (5) is more than "max" (2)'),
        ("cmd: x\ndaemon: {min: 5}", '"min" (5) is more than "max" (4)'),
        ("cmd: x\nlauncher: {warm: 20}", '"warm" (20) is more than "max" (16)'),
        ("cmd: x\ntimeouts: {call: 2h}", '"call" (2h) is longer than "call_max" (1h)'),
        ("cmd: x\ndaemon: {backoff: {initial: 2m}}", '"initial" (2m) is longer than "max" (1m)'),
        ("cmd: x\nqueue: {size: 0}", 'queue.size: expected at least 1, got "0"'),
        ("cmd: x\ntimeouts: {start: 0}", "expected a duration longer than zero"),
        ("cmd: x\ndaemon: {max_age: never}", 'expected a duration such as "30s", got "never"'),
    ],
)
def test_what_is_wrong_in_a_tool_is_told(body: str, expected: str) -> None:
    lines = told(tool(body))
    assert len(lines) == 1
    assert expected in lines[0]


@pytest.mark.parametrize("name", ["a", "my-tool", "a_b", "x1", "0", "a" * 63])
def test_names_that_work(name: str) -> None:
    assert read(f"tools: {{'{name}': {{cmd: x}}}}").tools[name].name == name


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("My Tool", 'try "my-tool"'),
        (".well-known", 'try "well-known"'),
        ("a/b", 'try "a-b"'),
        ("-a", 'try "a"'),
        ("a" * 64, f'try "{"a" * 60}'[:20]),
        ("", "a name is 1 to 63"),
        ("sse", "reserved"),
        ("messages", "reserved"),
        ("mcp", "reserved"),
    ],
)
def test_names_that_do_not(name: str, hint: str) -> None:
    [line] = told(f"tools: {{'{name}': {{cmd: x}}}}")
    assert hint in line


def test_values_that_may_be_secrets_are_never_quoted() -> None:
    """Security: configuration errors end up in logs."""
    text = tool(
        "cmd: x\nargs: '--token hunter2'\nenv:\n  PIN: 98765\n  A: $hunter2\n  B: [hunter2]\n"
    )
    lines = told(text)
    assert len(lines) == 4
    assert "hunter2" not in "".join(lines)
    assert "98765" not in "".join(lines)


def test_a_tool_shown_for_debugging_keeps_its_secrets() -> None:
    """Security: a value ends up in a traceback sooner or later."""
    assert "hunter2" not in repr(read(tool("cmd: x\nenv: {TOKEN: hunter2}")))


def test_a_file_cannot_steer_the_terminal_that_shows_its_problems() -> None:
    """Security: keys and values are quoted back."""
    lines = told('"\\e[2J\\n": 1\nlog: {level: "\\e]0;x\\a"}\ntools: {"\\e[1m": {cmd: x}}')
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)


def test_a_flood_of_problems_is_cut_short() -> None:
    lines = told("tools: {}\n" + "\n".join(f"k{i}: 1" for i in range(1000)))
    assert len(lines) == 101
    assert lines[-1] == "c.yaml: and 900 problems more"


HOST = ("listen", "host")


@pytest.mark.parametrize("host", ["0.0.0.0", "'::'", "192.0.2.1", "gateway.example"])
def test_others_may_reach_the_gateway_only_on_purpose(host: str) -> None:
    """Security: there is no authentication yet."""
    [line] = told(f"listen:\n  host: {host}\ntools: {{}}")
    assert line.startswith("c.yaml:2: listen.host: ")
    assert '"allow_anonymous: true"' in line
    allowed = read(f"listen: {{host: {host}}}\nallow_anonymous: true\ntools: {{}}")
    assert not allowed.is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "'::1'", "'[::1]'", "localhost"])
def test_loopback_needs_no_permission(host: str) -> None:
    assert read(f"listen: {{host: {host}}}\ntools: {{}}").is_loopback


def test_the_command_line_is_held_to_the_same_rule() -> None:
    [line] = told("tools: {}", Override("--host", HOST, "0.0.0.0"))
    assert line.startswith('--host: "0.0.0.0" can be reached from other machines')


def test_the_command_line_wins() -> None:
    text = "listen: {host: 0.0.0.0, port: 1}\ntools: {}"
    config = read(
        text, Override("--host", HOST, "127.0.0.1"), Override("--port", ("listen", "port"), 2)
    )
    assert (config.listen.host, config.listen.port) == ("127.0.0.1", 2)
    assert told("tools: {}", Override("--port", ("listen", "port"), 70000)) == [
        '--port: expected at most 65535, got "70000"'
    ]


def test_a_wrong_section_is_told_though_the_command_line_wants_in() -> None:
    [line] = told("listen: []\ntools: {}", Override("--host", HOST, "127.0.0.1"))
    assert line.startswith("c.yaml:1: listen: expected settings by name")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"tools: {}\n# caf\xe9\n", "config.yaml:2: is not UTF-8 text"),
        ("tools: {}".encode("utf-16"), "config.yaml:1: is not UTF-8 text"),
        (b"#" * (2**20 + 1), "config.yaml: the file is longer than 1024 KiB"),
    ],
)
def test_a_file_that_is_no_text_is_told(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "config.yaml").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "config.yaml")
    assert str(caught.value).startswith(f"{tmp_path}/{expected}")


def test_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.yaml: no such file"):
        load(tmp_path / "no.yaml")
    with pytest.raises(ConfigError, match="is a directory; name the file in it"):
        load(tmp_path)


def test_what_keeps_a_file_from_being_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be read: Not a directory"):
        load(tmp_path / "file" / "c.yaml")


def test_a_relative_file_gives_an_absolute_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "c.yaml").write_text("tools: {}")
    monkeypatch.chdir(tmp_path)
    assert load("c.yaml").base_dir == tmp_path
