from pathlib import Path
from typing import Any

import pytest

from mcpgw.config.containers import Mount
from mcpgw.config.load import parse
from mcpgw.config.schema import RuntimeKind, ServerSpec
from mcpgw.errors import ConfigError
from mcpgw.runtimes.containers.body import (
    SUBPATH_SINCE,
    NoSubpath,
    Place,
    Wanted,
    create_body,
    relaxations,
)
from mcpgw.runtimes.containers.paths import Bind, Volume
from mcpgw.units import MIB, Bytes

OLD = (1, 41)


def spec(**keys: Any) -> ServerSpec:
    return ServerSpec(name="fs", runtime=RuntimeKind.CONTAINER, image="some/image:1", **keys)


def wanted(*places: Place, api: tuple[int, int] = OLD, args: tuple[str, ...] = ()) -> Wanted:
    return Wanted("65534:65534", args, {"A": "1"}, {"l": "v"}, places, api)


def test_everything_dangerous_is_closed() -> None:
    host = create_body(spec(), wanted())["HostConfig"]
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["ReadonlyRootfs"] is True
    assert host["Privileged"] is False
    assert host["NetworkMode"] == "none"
    assert host["IpcMode"] == "private"
    assert (host["Memory"], host["MemorySwap"]) == (512 * MIB, 512 * MIB)
    assert host["NanoCpus"] == 1_000_000_000
    assert host["PidsLimit"] == 128
    assert host["LogConfig"] == {"Type": "none"}
    assert host["Init"] is True
    assert "noexec" in host["Tmpfs"]["/tmp"]
    allowed = {"AutoRemove", "Ulimits", "Mounts", "RestartPolicy", "Tmpfs"}
    checked = {"CapDrop", "SecurityOpt", "ReadonlyRootfs", "Privileged", "NetworkMode", "IpcMode"}
    limits = {"Memory", "MemorySwap", "NanoCpus", "PidsLimit", "LogConfig", "Init"}
    assert set(host) == allowed | checked | limits


def test_it_is_attached_in_every_way_and_its_stdin_ends_with_ours() -> None:
    body = create_body(spec(), wanted())
    for key in ("OpenStdin", "StdinOnce", "AttachStdin", "AttachStdout", "AttachStderr"):
        assert body[key] is True
    assert body["Tty"] is False
    assert (body["User"], body["Env"], body["Labels"]) == ("65534:65534", ["A=1"], {"l": "v"})


def test_the_image_decides_what_runs_unless_told_otherwise() -> None:
    plain = create_body(spec(), wanted())
    assert not {"Entrypoint", "Cmd", "WorkingDir"} & set(plain)
    told = create_body(spec(entrypoint=("/bin/x",), cwd=Path("/srv")), wanted(args=("a",)))
    assert (told["Entrypoint"], told["Cmd"], told["WorkingDir"]) == (["/bin/x"], ["a"], "/srv")


def test_what_is_relaxed_arrives_and_is_told() -> None:
    relaxed = spec(
        network="bridge",
        user="0",
        read_only=False,
        tmpfs_exec=True,
        memory=Bytes(MIB),
        oci_runtime="runsc",
        mounts=(Mount(volume="models", target="/models"),),
    )
    body = create_body(relaxed, wanted())
    assert body["NetworkDisabled"] is False
    assert body["HostConfig"]["NetworkMode"] == "bridge"
    assert body["HostConfig"]["ReadonlyRootfs"] is False
    assert body["HostConfig"]["Runtime"] == "runsc"
    assert ",exec" in body["HostConfig"]["Tmpfs"]["/tmp"]
    assert len(list(relaxations(relaxed))) == 5
    assert list(relaxations(spec(user="1000:1000", memory=Bytes(MIB)))) == []


def test_a_folder_is_bound_by_mounts_which_make_nothing_on_the_host() -> None:
    place = Place(Bind("/srv/fs"), "/workspaces", read_only=True)
    [mount] = create_body(spec(), wanted(place))["HostConfig"]["Mounts"]
    assert mount == {
        "Type": "bind",
        "Source": "/srv/fs",
        "Target": "/workspaces",
        "ReadOnly": True,
        "BindOptions": {"NonRecursive": True},
    }


def test_a_folder_of_a_volume_is_never_the_whole_volume() -> None:
    known = Place(Volume("ws", "fs", "/var/lib/docker/volumes/ws/_data/fs"), "/workspaces")
    unknown = Place(Volume("ws", "fs"), "/workspaces")
    [new] = create_body(spec(), wanted(unknown, api=SUBPATH_SINCE))["HostConfig"]["Mounts"]
    assert (new["Source"], new["VolumeOptions"]) == ("ws", {"Subpath": "fs"})
    [old] = create_body(spec(), wanted(known, api=OLD))["HostConfig"]["Mounts"]
    assert (old["Type"], old["Source"]) == ("bind", "/var/lib/docker/volumes/ws/_data/fs")
    with pytest.raises(NoSubpath):
        create_body(spec(), wanted(unknown, api=OLD))
    [whole] = create_body(spec(), wanted(Place(Volume("models"), "/m")))["HostConfig"]["Mounts"]
    assert (whole["Type"], whole["Source"]) == ("volume", "models")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("network: host", 'expected "none", "bridge" or the name of a network'),
        ('network: "container:db"', 'expected "none", "bridge" or the name of a network'),
        ("privileged: true", 'unknown key "privileged"'),
        ("devices: [/dev/kvm]", 'unknown key "devices"'),
        ("cap_add: [SYS_ADMIN]", 'unknown key "cap_add"'),
        ("pid: host", 'unknown key "pid"'),
        ("volumes: [/etc:/etc]", 'unknown key "volumes"'),
        ("mounts: [{path: ../other, target: /x}]", "expected a folder below another"),
        ("mounts: [{path: /etc, target: /x}]", "expected a folder below another"),
        ("mounts: [{volume: /etc, target: /x}]", "expected a name of letters"),
        ("mounts: [{path: a, volume: b, target: /x}]", 'needs either "path"'),
        ("tmpfs: {scratch: 1MiB}", "expected a path inside the container"),
        ("tmpfs: {/proc/x: 1MiB}", "nothing may be mounted there"),
        ("mounts: [{target: /x}]", 'needs either "path"'),
        ("mounts: [{path: a, target: /proc/1}]", "nothing may be mounted there"),
        ("mounts: [{path: a, target: /}]", "expected a path inside the container"),
        ("mounts: [{path: a, target: b}]", "expected a path inside the container"),
        ("mounts: [{pth: a, target: /x}]", 'unknown key "pth"; did you mean "path"?'),
        ("workspace: ..", "expected a folder below another"),
        ("memory: 0", "at least"),
        ("cpus: 0", "greater than 0"),
        ("user: '-u root'", "expected a user of the container"),
        ("cmd: sh", 'has no meaning with "runtime: container"'),
    ],
)
def test_nothing_dangerous_can_be_configured(line: str, complaint: str) -> None:
    text = f"tools: {{fs: {{runtime: container, image: i, {line}}}}}"
    with pytest.raises(ConfigError) as caught:
        parse(text, name="f", base_dir=Path("/"))
    assert complaint in str(caught.value)


def test_a_native_tool_has_no_use_for_the_keys_of_containers() -> None:
    text = "tools: {fs: {cmd: sh, memory: 1MiB, network: none}}"
    with pytest.raises(ConfigError) as caught:
        parse(text, name="f", base_dir=Path("/"))
    assert str(caught.value).count('has no meaning with "runtime: native"') == 2


def test_numbers_and_single_words_are_taken_as_people_write_them() -> None:
    text = "tools: {fs: {runtime: container, image: i, user: 1000, entrypoint: /bin/x}}"
    config = parse(text, name="f", base_dir=Path("/"))
    assert (config.tools["fs"].user, config.tools["fs"].entrypoint) == ("1000", ("/bin/x",))
