from pathlib import Path

import pytest

from mcpgw.errors import StartFailed
from mcpgw.runtimes.containers.paths import (
    IDENTITY,
    Bind,
    Volume,
    explicit,
    inspected,
    own_ids,
)

ID = "3f" * 32
OWN = {
    "Name": "/mcp-gateway-1",
    "Mounts": [
        {"Type": "bind", "Source": "/srv/all", "Destination": "/data"},
        {"Type": "bind", "Source": "/srv/ws", "Destination": "/data/workspaces"},
        {
            "Type": "volume",
            "Name": "mcp_ws",
            "Source": "/var/lib/docker/volumes/mcp_ws/_data",
            "Destination": "/volumes/ws",
        },
        {"Type": "tmpfs", "Destination": "/tmp"},
    ],
}


def test_on_the_host_paths_are_the_same() -> None:
    assert IDENTITY.source(Path("/workspaces/fs")) == Bind("/workspaces/fs")


def test_the_longest_mount_of_our_own_container_decides() -> None:
    translation = inspected(OWN)
    assert translation.source(Path("/data/workspaces/fs")) == Bind("/srv/ws/fs")
    assert translation.source(Path("/data/workspacesx")) == Bind("/srv/all/workspacesx")
    assert translation.source(Path("/data/workspaces")) == Bind("/srv/ws")
    assert "mcp-gateway-1" in translation.how


def test_a_volume_is_known_by_its_name_and_where_it_is_kept() -> None:
    kept = "/var/lib/docker/volumes/mcp_ws/_data/fs/a"
    assert inspected(OWN).source(Path("/volumes/ws/fs/a")) == Volume("mcp_ws", "fs/a", kept)


@pytest.mark.parametrize("path", ["/workspaces/fs", "/tmp/x", "/volumes"])
def test_what_is_on_no_mount_cannot_be_known(path: str) -> None:
    with pytest.raises(StartFailed, match=r"none of its mounts.*host_workspaces"):
        inspected(OWN).source(Path(path))


@pytest.mark.parametrize(
    ("setting", "source"),
    [
        ("/mnt/ws", Bind("/mnt/ws/fs/a")),
        ("C:\\Users\\me\\ws", Bind("C:\\Users\\me\\ws\\fs\\a")),
        ("C:/Users/me/ws", Bind("C:/Users/me/ws/fs/a")),
        ("//c/ws", Bind("//c/ws/fs/a")),
        ("volume:ws", Volume("ws", "fs/a")),
        ("volume:ws/deep", Volume("ws", "deep/fs/a")),
    ],
)
def test_what_the_configuration_says_is_believed(setting: str, source: Bind | Volume) -> None:
    assert explicit(Path("/workspaces"), setting).source(Path("/workspaces/fs/a")) == source


def test_our_own_container_is_found_by_the_files_the_engine_puts_in_it() -> None:
    docker = f"1 2 254:1 /var/lib/docker/containers/{ID}/hostname /etc/hostname rw - ext4 /dev/x rw"
    podman = (
        f"1 2 0:9 /containers/overlay-containers/{ID}/userdata/hosts /etc/hosts rw - tmpfs x rw"
    )
    assert own_ids(f"{docker}\n{docker}\n", "renamed") == [ID]
    assert own_ids(podman, "x") == [ID]
    assert own_ids("", "0123456789ab") == ["0123456789ab"]
    assert own_ids("36 35 98:0 / / rw - ext4 /dev/root rw", "laptop") == []
