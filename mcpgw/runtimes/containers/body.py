"""From a tool's settings to what the engine is asked to create. Pure.

Everything dangerous is closed here, whatever the settings: no capability, no new
privileges, no device, no namespace of the host, no folder of the host but the workspace.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mcpgw.config.schema import ServerSpec
from mcpgw.runtimes.containers.paths import Bind, Source, Volume

INSTALLATION: Final = "io.mcpgw.installation"
RUN: Final = "io.mcpgw.run"
SERVER: Final = "io.mcpgw.server"
INSTANCE: Final = "io.mcpgw.instance"

SUBPATH_SINCE: Final = (1, 45)
"""The API that knows folders of volumes; older ones mount the whole volume without a word."""

_NANO: Final = 1_000_000_000
_OPEN_FILES: Final = 1024


@dataclass(frozen=True, slots=True)
class Place:
    """Something of the engine's that the container sees."""

    source: Source
    target: str
    read_only: bool = False


class NoSubpath(Exception):
    """The engine is too old for folders of volumes, and where it keeps them is unknown."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of a container is not in the tool's settings."""

    user: str
    args: tuple[str, ...]
    environment: Mapping[str, str]
    labels: Mapping[str, str]
    places: tuple[Place, ...]
    api: tuple[int, int]


def create_body(spec: ServerSpec, wanted: Wanted) -> dict[str, Any]:
    """Give the body of `POST /containers/create`.

    Raises:
        NoSubpath: A place cannot be mounted without showing more than it should.
    """
    body: dict[str, Any] = {
        "Image": spec.image,
        "User": wanted.user,
        "Env": [f"{name}={value}" for name, value in wanted.environment.items()],
        "Labels": dict(wanted.labels),
        "Tty": False,
        "OpenStdin": True,
        "StdinOnce": True,  # so that our end, whatever ends us, is the end of its stdin
        **dict.fromkeys(("AttachStdin", "AttachStdout", "AttachStderr"), True),
        "NetworkDisabled": spec.network == "none",
        "HostConfig": _host_config(spec, wanted),
    }
    if spec.entrypoint is not None:
        body["Entrypoint"] = list(spec.entrypoint)
    if wanted.args:
        body["Cmd"] = list(wanted.args)
    if spec.cwd is not None:
        body["WorkingDir"] = spec.cwd.as_posix()
    return body


def _host_config(spec: ServerSpec, wanted: Wanted) -> dict[str, Any]:
    options = "rw,nosuid,nodev" + (",exec" if spec.tmpfs_exec else ",noexec")
    config: dict[str, Any] = {
        "AutoRemove": False,  # its state says what ended it; we remove it ourselves
        "Init": True,  # without one, servers ignore SIGTERM and leave zombies
        "Privileged": False,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true"],
        "ReadonlyRootfs": spec.read_only,
        "NetworkMode": spec.network,
        "IpcMode": "private",
        "Memory": spec.memory,
        "MemorySwap": spec.memory,
        "NanoCpus": int(spec.cpus * _NANO),
        "PidsLimit": spec.pids,
        "Ulimits": [{"Name": "nofile", "Soft": _OPEN_FILES, "Hard": _OPEN_FILES}],
        "Tmpfs": {path: f"{options},size={size}" for path, size in spec.tmpfs.items()},
        "Mounts": [_mount(place, wanted.api) for place in wanted.places],
        "LogConfig": {"Type": "none"},  # the engine would write every message to disk
        "RestartPolicy": {"Name": "no"},
    }
    if spec.oci_runtime is not None:
        config["Runtime"] = spec.oci_runtime
    return config


def _mount(place: Place, api: tuple[int, int]) -> dict[str, Any]:
    source = place.source
    mount: dict[str, Any] = {"Target": place.target, "ReadOnly": place.read_only}
    if isinstance(source, Volume) and source.folder and api < SUBPATH_SINCE:
        if source.path is None:
            raise NoSubpath(source.name)
        source = Bind(source.path)
    if isinstance(source, Bind):
        # Not "Binds": those make a missing folder, as root, instead of saying that it is missing.
        # No propagation asked for: it is none by default, but for folders of volumes, where the
        # engine insists on "rslave".
        options = {"NonRecursive": True}
        return {"Type": "bind", "Source": source.path, "BindOptions": options, **mount}
    volume = {"VolumeOptions": {"Subpath": source.folder}} if source.folder else {}
    return {"Type": "volume", "Source": source.name, **volume, **mount}


def relaxations(spec: ServerSpec) -> Iterator[str]:
    """Give what a tool's settings took from the defaults' hardening, in words."""
    if spec.network != "none":
        yield f"it may use the network ({spec.network})"
    if spec.user is not None and _is_root(spec.user):
        yield f"it runs as root inside its container (user: {spec.user})"
    if not spec.read_only:
        yield "it may write to its image's files (read_only: false)"
    if spec.tmpfs_exec:
        yield "it may run programs from its temporary folders (tmpfs_exec: true)"
    yield from _shared(mount.volume for mount in spec.mounts if mount.volume is not None)


def _shared(volumes: Iterable[str]) -> Iterator[str]:
    for name in volumes:
        yield f"it sees the volume {name}, which others may see as well"


def _is_root(user: str) -> bool:
    return user.partition(":")[0] in ("0", "root")
