"""What a tool in a container can and cannot do, asked from inside."""

import os
import stat
from pathlib import Path

import pytest

from mcpgw.config.containers import Mount
from mcpgw.units import MIB, Bytes
from tests.containers.conftest import Box
from tests.testbed.engine import Engine

pytestmark = pytest.mark.docker


async def test_it_has_no_capability_and_can_get_none(box: Box) -> None:
    said, _ = await box.run("grep -E 'Cap|NoNewPrivs' /proc/self/status")
    facts = dict(line.split(":\t") for line in said.splitlines())
    assert facts.pop("NoNewPrivs") == "1"
    assert set(facts.values()) == {"0" * 16}


async def test_it_is_nobody_in_particular(box: Box) -> None:
    said, _ = await box.run("id -u; id -g")
    ours = (65534, 65534) if os.getuid() == 0 else (os.getuid(), os.getgid())
    assert tuple(map(int, said.split())) == ours


async def test_it_can_write_to_its_workspace_and_tmp_and_nowhere_else(box: Box) -> None:
    said, _ = await box.run(
        "for d in /workspaces /tmp / /bin /etc /root /data /dev /sys /proc; do "
        "touch $d/x 2>/dev/null && echo $d; done"
    )
    assert said.split() == ["/workspaces", "/tmp"]
    assert (box.config.workspace_root / "box" / "x").exists()


async def test_tmp_is_small_and_runs_nothing(box: Box) -> None:
    said, _ = await box.run(
        "dd if=/dev/zero of=/tmp/big bs=1M count=80 2>&1; "
        "printf '#!/bin/sh\\necho ran' > /tmp/s; : > /tmp/big; chmod +x /tmp/s; /tmp/s",
    )
    assert "No space left" in said
    assert "ran" not in said


async def test_it_has_no_network(box: Box) -> None:
    said, _ = await box.run("ls /sys/class/net; nc -w 2 172.17.0.1 80 2>&1 || echo refused")
    assert said.split()[0] == "lo"
    assert len(said.split("\n")[0].split()) == 1
    assert "unreachable" in said or "refused" in said


async def test_it_sees_no_process_but_its_own(box: Box) -> None:
    said, _ = await box.run("ls /proc | grep -c '^[0-9]'")
    assert int(said) <= 5


async def test_it_sees_no_socket_of_the_engine_and_no_device(box: Box) -> None:
    said, _ = await box.run(
        "ls /var/run /run /dev 2>/dev/null; mount -t tmpfs x /tmp 2>&1 | head -1; cat /dev/sda 2>&1"
    )
    assert "docker" not in said
    assert "kvm" not in said
    assert "permission denied" in said.lower() or "must be" in said.lower()


async def test_a_fork_bomb_stays_in_its_box(box: Box) -> None:
    program = (
        "import os, time\n"
        "n = 0\n"
        "try:\n"
        "    while True:\n"
        "        if os.fork() == 0: time.sleep(30); os._exit(0)\n"
        "        n += 1\n"
        "except OSError as e: print(n, e.errno, flush=True)\n"
    )
    said, _ = await box.python(program, pids=20)
    forks, error = map(int, said.split())
    assert forks <= 19
    assert error == 11  # EAGAIN


async def test_a_memory_hog_is_killed_and_the_reason_is_told(box: Box) -> None:
    program = "b = bytearray(256 << 20)\nfor i in range(0, len(b), 4096): b[i] = 1\nprint('had it')"
    said, exit = await box.python(program, memory=Bytes(48 * MIB))
    assert "had it" not in said
    assert exit.reason == "ran out of memory (memory: 48MiB)"


async def test_it_gets_no_more_than_its_share_of_a_processor(box: Box) -> None:
    """By what the kernel was told; both versions of control groups have their own file."""
    limits = "/sys/fs/cgroup/cpu.max /sys/fs/cgroup/cpu/cpu.cfs_quota_us"
    said, _ = await box.run(f"cat {limits} 2>/dev/null", cpus=0.5)
    assert said.split()[0] == "50000"


async def test_its_environment_is_its_own(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_SECRET", "canary")
    monkeypatch.setenv("TOKEN", "t0")
    (box.config.base_dir / "password").write_text("from a file\r\n")
    said, _ = await box.run("env", env={"A": "${TOKEN}", "B": "file:password", "C": "$$x"})
    assert "canary" not in said
    lines = said.splitlines()
    assert {"A=t0", "B=from a file", "C=$x", "HOME=/tmp"} <= set(lines)
    assert {line.partition("=")[0] for line in lines} <= {
        *("A", "B", "C", "HOME", "PATH", "HOSTNAME", "PWD", "SHLVL"),
    }


async def test_its_workspace_is_all_it_sees_of_this_machine(box: Box) -> None:
    root = box.config.workspace_root
    (root / "other").mkdir()
    (root / "other" / "secret").write_text("not yours")
    said, _ = await box.run(
        "echo mine > /workspaces/note; ls -a /workspaces; cat /workspaces/../other/secret 2>&1"
    )
    assert "not yours" not in said
    assert (root / "box" / "note").read_text() == "mine\n"
    assert stat.S_IMODE((root / "box").stat().st_mode) == 0o700


async def test_a_link_made_inside_is_no_way_to_the_host(box: Box) -> None:
    await box.run("ln -s /etc /workspaces/out; ln -s / /workspaces/root")
    mounts = (Mount(path="out", target="/out"),)
    with pytest.raises(Exception, match=r"box: mounts: out: .* leads to /etc"):
        await box.run("cat /out/shadow", mounts=mounts)


async def test_mounts_show_a_folder_elsewhere_and_may_be_read_only(box: Box) -> None:
    (box.config.workspace_root / "box").mkdir()
    (box.config.workspace_root / "box" / "notes").mkdir()
    (box.config.workspace_root / "box" / "notes" / "a").write_text("text")
    said, _ = await box.run(
        "cat /n/a; touch /n/b 2>&1", mounts=(Mount(path="notes", target="/n", read_only=True),)
    )
    assert said.startswith("text")
    assert "Read-only" in said


async def test_a_volume_is_kept_between_instances(box: Box, engine: Engine) -> None:
    mounts = (Mount(volume="mcpgw-test-volume", target="/v"),)
    try:
        await box.run("echo kept > /v/x", mounts=mounts, user="0")
        said, _ = await box.run("cat /v/x", mounts=mounts)
        assert said == "kept\n"
    finally:
        engine.ask("DELETE", "/volumes/mcpgw-test-volume")


async def test_what_was_relaxed_is_relaxed(box: Box) -> None:
    said, _ = await box.run(
        "id -u; touch /etc/x && echo wrote; ls /sys/class/net; "
        "printf '#!/bin/sh\\necho ran' > /tmp/s; chmod +x /tmp/s; /tmp/s",
        **{"user": "0", "read_only": False, "network": "bridge", "tmpfs_exec": True},
    )
    assert said.startswith("0\nwrote\n")
    assert "eth0" in said
    assert said.endswith("ran\n")


async def test_arguments_that_name_the_workspace_are_what_the_container_sees(
    box: Box, tmp_path: Path
) -> None:
    root = box.config.workspace_root
    said, _ = await box.run(f"echo {root}/box/a {root}; echo $WHERE", env={"WHERE": f"{root}/box"})
    assert said == "/workspaces/a /workspaces\n/workspaces\n"
