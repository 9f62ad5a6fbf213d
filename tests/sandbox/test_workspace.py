import os
from pathlib import Path
from typing import Any

import pytest

from mcpgw.config.containers import Mount
from mcpgw.config.schema import Config, RuntimeKind, ServerSpec
from mcpgw.errors import StartFailed
from mcpgw.sandbox.workspace import Owner, open_below, open_workspace, seen_inside


def spec(**keys: Any) -> ServerSpec:
    return ServerSpec(name="fs", runtime=RuntimeKind.CONTAINER, image="i", **keys)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "ws").mkdir()
    return Config(workspace_root=tmp_path / "ws", base_dir=tmp_path)


def test_it_is_made_for_its_owner_alone(config: Config) -> None:
    made = open_workspace(config, spec(), Owner(65534, 65533))
    assert made == config.workspace_root.resolve() / "fs"
    stat = made.stat()
    assert stat.st_mode & 0o777 == 0o700
    if os.geteuid() == 0:
        assert (stat.st_uid, stat.st_gid) == (65534, 65533)


def test_one_that_is_there_is_left_as_it_is(config: Config) -> None:
    folder = config.workspace_root / "other" / "deep"
    folder.mkdir(parents=True, mode=0o755)
    before = folder.stat()
    made = open_workspace(config, spec(workspace="other/deep"), Owner(1, 1))
    assert made == folder.resolve()
    assert (folder.stat().st_uid, folder.stat().st_mode) == (before.st_uid, before.st_mode)


@pytest.mark.parametrize("target", ["/etc", "..", ".", "../ws2", "fs"])
def test_a_link_that_leads_out_is_refused(config: Config, target: str) -> None:
    (config.workspace_root.parent / "ws2").mkdir()
    (config.workspace_root / "fs").symlink_to(target)
    with pytest.raises(StartFailed, match=r"^fs: workspace: "):
        open_workspace(config, spec())


def test_a_link_above_it_is_no_way_out_either(config: Config, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (config.workspace_root / "a").symlink_to(tmp_path / "secret")
    with pytest.raises(StartFailed, match="leads to"):
        open_workspace(config, spec(workspace="a/b"))
    assert not (tmp_path / "secret" / "b").exists()


def test_a_link_within_the_root_is_fine(config: Config) -> None:
    (config.workspace_root / "real").mkdir()
    (config.workspace_root / "fs").symlink_to("real")
    assert open_workspace(config, spec()) == config.workspace_root.resolve() / "real"


def test_without_a_root_only_those_who_ask_for_it_fail(tmp_path: Path) -> None:
    config = Config(workspace_root=tmp_path / "none")
    assert open_workspace(config, spec()) is None
    asking = [
        spec(args=(str(tmp_path / "none"),)),
        spec(env={"ROOT": f"{tmp_path}/none/x"}),
        spec(workspace="x"),
        spec(mounts=(Mount(path="a", target="/a"),)),
    ]
    for each in asking:
        with pytest.raises(StartFailed, match=r"workspace_root .* is not a directory"):
            open_workspace(config, each)


def test_what_is_below_is_made_and_may_not_lead_out(config: Config) -> None:
    workspace = open_workspace(config, spec())
    assert workspace is not None
    assert open_below(spec(), workspace, "a/b") == workspace / "a" / "b"
    (workspace / "file").touch()
    assert open_below(spec(), workspace, "file") == workspace / "file"
    (workspace / "out").symlink_to("/etc")
    for path in ("out", "out/x"):
        with pytest.raises(StartFailed, match="leads to"):
            open_below(spec(), workspace, path)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("/srv/ws", "/workspaces"),
        ("/srv/ws/fs", "/workspaces"),
        ("/srv/ws/fs/a", "/workspaces/a"),
        ("/srv/ws/notes", "/workspaces/notes"),
        ("--root=/srv/ws/fs/a", "--root=/workspaces/a"),
        ("/srv/ws,/srv/ws/fs/b", "/workspaces,/workspaces/b"),
        ("/srv/wsx", "/srv/wsx"),
        ("/mnt/srv/ws", "/mnt/srv/ws"),
        ("/srv/ws/fsx", "/workspaces/fsx"),
    ],
)
def test_paths_are_told_as_the_container_sees_them(text: str, seen: str) -> None:
    assert seen_inside(Config(workspace_root=Path("/srv/ws")), spec(), text) == seen
