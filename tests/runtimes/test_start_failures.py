import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mcpgw.errors import StartFailed
from mcpgw.runtimes.native import NativeRuntime
from mcpgw.runtimes.spawn import Program, spawn
from tests.runtimes.conftest import Recorder, Scene, open_descriptors


def program(path: Path | str, cwd: Path = Path("/"), *args: str) -> Program:
    return Program("srv", (str(path), *args), {}, cwd)


def executable(path: Path, content: str) -> Path:
    path.write_text(content)
    path.chmod(0o755)
    return path


def test_a_missing_program_is_named() -> None:
    with pytest.raises(StartFailed, match=r"^srv: /nowhere/x could not .*no such file; see cmd"):
        spawn(program("/nowhere/x"))


def test_a_missing_working_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match=r"working directory .*/gone is no directory; see cwd"):
        spawn(program("/bin/true", tmp_path / "gone"))


def test_a_file_without_run_bit_asks_for_one(tmp_path: Path) -> None:
    (tmp_path / "x.sh").write_text("#!/bin/sh\n")
    with pytest.raises(StartFailed, match=r"chmod \+x"):
        spawn(program(tmp_path / "x.sh"))


def test_a_script_without_first_line_asks_for_one(tmp_path: Path) -> None:
    script = executable(tmp_path / "x.sh", "echo hello\n")
    with pytest.raises(StartFailed, match=r"first line such as #!/bin/sh"):
        spawn(program(script))


def test_a_script_whose_interpreter_is_missing_says_so(tmp_path: Path) -> None:
    script = executable(tmp_path / "x.sh", "#!/nowhere/sh\n")
    with pytest.raises(StartFailed, match="the interpreter that its first line names"):
        spawn(program(script))


def test_arguments_beyond_the_limit_of_the_system_are_refused() -> None:
    with pytest.raises(StartFailed, match="too long together"):
        spawn(program("/bin/true", Path("/"), "x" * 2**18))


def test_a_null_character_is_refused() -> None:
    with pytest.raises(StartFailed, match="srv: cmd, args or env: "):
        spawn(program("/bin/true", Path("/"), "a\0b"))


@pytest.mark.parametrize(
    ("limit", "advice"), [("RLIMIT_NOFILE", "ulimit -n"), ("RLIMIT_NPROC", "ulimit -u")]
)
def test_an_exhausted_system_says_what_is_exhausted(limit: str, advice: str) -> None:
    """In a process of its own, which gives itself no room and, for NPROC, an own user."""
    script = f"""
import os, resource
from pathlib import Path
from mcpgw.errors import StartFailed
from mcpgw.runtimes.spawn import Program, spawn
if os.getuid() == 0:
    os.setuid(54321)
low = len(os.listdir("/proc/self/fd")) + 1 if "{limit}" == "RLIMIT_NOFILE" else 1
resource.setrlimit(resource.{limit}, (low, low))
try:
    spawn(Program("srv", ("/bin/true",), {{}}, Path("/")))
except StartFailed as exc:
    print(exc, exc.retry_after)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30
    )
    assert advice in done.stdout, done
    assert done.stdout.endswith("5\n")


def test_a_program_that_does_not_run_leaves_no_descriptor(tmp_path: Path) -> None:
    before = open_descriptors()
    with pytest.raises(StartFailed):
        spawn(program(executable(tmp_path / "x.sh", "echo hello\n")))
    assert open_descriptors() == before


async def test_a_start_that_fails_leaves_no_descriptor_and_tells_the_receiver_nothing(
    runtime: NativeRuntime, receiver: Recorder, scene: Scene, tmp_path: Path
) -> None:
    script = executable(tmp_path / "x.sh", "echo hello\n")
    before = open_descriptors()
    with pytest.raises(StartFailed):
        async with runtime.start(scene.spec(str(script)), receiver):
            pass
    assert open_descriptors() == before
    assert not receiver.exits


def test_an_unknown_error_keeps_the_words_of_the_system(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(StartFailed, match=os.strerror(errno.ELOOP)):
        spawn(program(loop))
