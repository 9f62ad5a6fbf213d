import os
import sys
from pathlib import Path

import pytest

from mcpgw.config.schema import ServerSpec
from mcpgw.errors import StartFailed
from mcpgw.sandbox.environment import child_environment, find_command
from mcpgw.sandbox.self_command import self_command


def spec(cmd: str = "x", cwd: Path | None = None, **env: str) -> ServerSpec:
    return ServerSpec(name="t", cmd=cmd, env=env, cwd=cwd)


def refusal(spec: ServerSpec, **own: str) -> str:
    with pytest.raises(StartFailed) as caught:
        child_environment(spec, own)
    return str(caught.value)


def test_nothing_of_our_environment_is_passed_on_but_the_minimum() -> None:
    """Security: the gateway's environment holds the secrets of every tool."""
    own = {"PATH": "/p", "HOME": "/h", "LANG": "pt_PT.UTF-8", "TMPDIR": "/t", "AWS_SECRET": "s"}
    assert child_environment(spec(), own) == {
        "PATH": "/p",
        "HOME": "/h",
        "LANG": "pt_PT.UTF-8",
        "TMPDIR": "/t",
    }


def test_what_a_program_cannot_do_without_is_there_anyway() -> None:
    assert child_environment(spec(), {}) == {"PATH": os.defpath, "LANG": "C.UTF-8"}


@pytest.mark.parametrize(
    ("value", "resolved"),
    [
        ("plain", "plain"),
        ("", ""),
        ("${TOKEN}", "secret"),
        ("Bearer ${TOKEN}!", "Bearer secret!"),
        ("${TOKEN}${TOKEN}", "secretsecret"),
        ("${EMPTY}", ""),
        ("${NOPE:-default}", "default"),
        ("${NOPE:-}", ""),
        ("${EMPTY:-default}", "default"),
        ("${TOKEN:-default}", "secret"),
        ("$$", "$"),
        ("$${TOKEN}", "${TOKEN}"),
        ("pa$$$$word", "pa$$word"),
        ("${ODD}", "${TOKEN}$$"),
        ("${NOPE:-file:/x}", "file:/x"),
    ],
)
def test_references_are_resolved_once(value: str, resolved: str) -> None:
    own = {"TOKEN": "secret", "EMPTY": "", "ODD": "${TOKEN}$$"}
    assert child_environment(spec(A=value), own)["A"] == resolved


def test_what_the_tool_names_wins() -> None:
    found = child_environment(spec(PATH="/tools:${PATH}", LANG="C"), {"PATH": "/bin"})
    assert (found["PATH"], found["LANG"]) == ("/tools:/bin", "C")


def test_a_missing_variable_is_named_with_the_tool() -> None:
    told = refusal(spec(API_KEY="key-${NOPE}-hunter2"))
    assert told == "t: env.API_KEY: the variable NOPE is not set where the gateway runs"


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"s3cret\n", "s3cret"),
        (b"s3cret\r\n", "s3cret"),
        (b"s3cret", "s3cret"),
        (b"two\nlines\n\n", "two\nlines\n"),
        (b" spaces \n", " spaces "),
        (b"${TOKEN}\n", "${TOKEN}"),
        (b"", ""),
    ],
)
def test_a_file_gives_its_content_without_one_line_end(
    tmp_path: Path, content: bytes, value: str
) -> None:
    (tmp_path / "secret").write_bytes(content)
    assert child_environment(spec(A=f"file:{tmp_path}/secret"), {})["A"] == value


def test_a_file_is_found_from_the_tools_folder_and_through_variables(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    assert child_environment(spec(cwd=tmp_path, A="file:secret"), {})["A"] == "x"
    own = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert child_environment(spec(A="file:${CREDENTIALS_DIRECTORY}/secret"), own)["A"] == "x"


def test_a_file_is_read_at_each_start(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("old")
    tool = spec(A=f"file:{tmp_path}/secret")
    assert child_environment(tool, {})["A"] == "old"
    (tmp_path / "secret").write_text("new")
    assert child_environment(tool, {})["A"] == "new"


def test_a_file_that_gives_no_value_is_named_and_never_quoted(tmp_path: Path) -> None:
    (tmp_path / "nul").write_bytes(b"hunter2\0")
    (tmp_path / "long").write_bytes(b"hunter2" * 2**15)
    os.mkfifo(tmp_path / "pipe")
    told = {name: refusal(spec(A=f"file:{tmp_path}/{name}")) for name in ("nul", "long", "pipe")}
    assert told["pipe"] == f"t: env.A: {tmp_path}/pipe is a pipe, not a file"
    assert "no value for a variable" in told["nul"]
    assert "no value for a variable" in told["long"]
    assert "hunter2" not in "".join(told.values())


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    told = refusal(spec(A=f"file:{tmp_path}/nope"))
    assert told == f"t: env.A: {tmp_path}/nope cannot be read: No such file or directory"
    assert "Is a directory" in refusal(spec(A=f"file:{tmp_path}"))


class Machine:
    """A PATH, a tools_root and a folder for the configuration, all empty at first."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("bin", "tools", "conf"):
            (root / name).mkdir()

    def install(self, name: str, content: bytes = b"#!/bin/sh\n", mode: int = 0o755) -> str:
        path = self.root / name
        path.write_bytes(content)
        path.chmod(mode)
        return str(path)

    def find(self, cmd: str, path: str | None = None) -> tuple[str, ...]:
        return find_command(
            spec(cmd, PATH=path) if path else spec(cmd),
            tools_root=self.root / "tools",
            base_dir=self.root / "conf",
            own={"PATH": f"{self.root}/bin"},
        )

    def refusal(self, cmd: str, path: str | None = None) -> str:
        with pytest.raises(StartFailed) as caught:
            self.find(cmd, path)
        return str(caught.value)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_mcpgw_is_this_very_program(machine: Machine) -> None:
    machine.install("bin/mcpgw")
    assert machine.find("mcpgw") == self_command()


def test_a_name_is_looked_up_on_path_then_in_tools_root(machine: Machine) -> None:
    in_tools = machine.install("tools/server")
    assert machine.find("server") == (in_tools,)
    in_bin = machine.install("bin/server")
    assert machine.find("server") == (in_bin,)


def test_a_path_of_the_tools_own_wins(machine: Machine) -> None:
    machine.install("bin/server")
    own = machine.install("conf/server")
    assert machine.find("server", f"{machine.root}/conf:${{PATH}}") == (own,)


def test_a_program_that_runs_wins_over_one_that_does_not(machine: Machine) -> None:
    machine.install("bin/server", mode=0o644)
    in_tools = machine.install("tools/server")
    assert machine.find("server") == (in_tools,)


def test_folders_of_path_seen_from_here_do_not_count(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Security: where the gateway happens to run is nobody's PATH."""
    machine.install("conf/server")
    monkeypatch.chdir(machine.root / "conf")
    assert "was found neither" in machine.refusal("server", ":.")


def test_a_path_is_seen_from_the_folder_of_the_configuration(machine: Machine) -> None:
    script = machine.install("conf/run.sh")
    assert Path(machine.find("./run.sh")[0]) == Path(script)
    assert machine.find(script) == (script,)


def test_a_tilde_is_the_home_directory(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(machine.root))
    script = machine.install("conf/server")
    assert machine.find("~/conf/server") == (script,)


def test_a_binary_is_taken_as_it_is(machine: Machine) -> None:
    assert machine.find(sys.executable) == (sys.executable,)


def test_where_we_looked_is_told(machine: Machine) -> None:
    told = machine.refusal("serber")
    assert told.startswith("t: the program 'serber' was found neither on PATH")
    assert f"{machine.root}/tools" in told


@pytest.mark.parametrize(
    ("cmd", "hint"), [("npx", "Node.js"), ("uvx", "uv"), ("docker", "container"), ("node", "Node")]
)
def test_how_to_get_what_is_missing_is_told(machine: Machine, cmd: str, hint: str) -> None:
    assert hint in machine.refusal(cmd).partition("; ")[2]


@pytest.mark.parametrize(
    ("content", "mode", "told"),
    [
        (b"#!/bin/sh\n", 0o644, "is not executable; run: chmod +x"),
        (b"echo hello\n", 0o755, 'a script without a first line such as "#!/bin/sh"'),
        (b"", 0o755, "a script without a first line"),
        (b"#!/bin/sh\r\necho\r\n", 0o755, "has Windows line ends"),
        (b"#!/no/such/python3 -u\n", 0o755, "asks for '/no/such/python3' in its first line"),
        (b"#!\n", 0o755, "asks for '' in its first line"),
    ],
)
def test_why_a_script_cannot_run_is_told(
    machine: Machine, content: bytes, mode: int, told: str
) -> None:
    for place, cmd in (("conf/run.sh", "./run.sh"), ("bin/run.sh", "run.sh")):
        path = machine.install(place, content, mode)
        assert f"t: {path} " in machine.refusal(cmd)
        assert told in machine.refusal(cmd)


def test_a_path_to_nothing_or_to_a_folder_is_told(machine: Machine) -> None:
    assert machine.refusal("./nope") == f"t: there is no program {machine.root}/conf/nope"
    assert "is a directory; name the program in it" in machine.refusal("../bin")
