"""What may be configured of containers, of the engine that runs them, and of the runner.

There is no key that could take the walls of a container down: no privileges, devices,
host namespaces or folders of this machine outside the workspace.
"""

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from mcpgw.config.values import ByName, Count, Filename, Frozen, Size
from mcpgw.units import MIB, Bytes

_NAME: Final = re.compile(r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$", re.ASCII)
_USER: Final = re.compile(r"^[a-zA-Z0-9_][a-zA-Z0-9_.-]*(:[a-zA-Z0-9_][a-zA-Z0-9_.-]*)?$", re.ASCII)
_ENGINE: Final = re.compile(r"^(unix:///.+|tcp://[^/@?#]+:[0-9]+/?|npipe://.+)$")
_FOREIGN_NETWORKS: Final = frozenset({"host", "default"})
VOLUME_PREFIX: Final = "volume:"

_GUARDED: Final = ("/proc", "/sys", "/dev")
"""Where nothing may be put: the engine's own hardening lives there."""


def _tmpfs() -> dict[str, Bytes]:
    return {"/tmp": Bytes(64 * MIB)}  # noqa: S108 - in the container


def subfolder(value: str) -> str:
    """Check a path below some folder: relative, and never upwards."""
    parts = PurePosixPath(value).parts
    if not parts or value.startswith("/") or ".." in parts or "\0" in value or "\\" in value:
        raise ValueError('expected a folder below another, such as "data" or "notes/today"')
    return "/".join(parts)


def _target(value: str) -> str:
    path = PurePosixPath(value)
    if not path.is_absolute() or ".." in path.parts or ":" in value or len(path.parts) < 2:
        raise ValueError('expected a path inside the container, such as "/data"')
    if any(path.is_relative_to(guarded) for guarded in _GUARDED):
        raise ValueError("nothing may be mounted there")
    return str(path)


def _targets(folders: Mapping[str, Bytes]) -> Mapping[str, Bytes]:
    for path in folders:
        _target(path)
    return folders


def _network(value: str) -> str:
    if value in _FOREIGN_NETWORKS or not _NAME.match(value):
        raise ValueError('expected "none", "bridge" or the name of a network')
    return value


def _name(value: str) -> str:
    if not _NAME.match(value):
        raise ValueError('expected a name of letters, digits, "_", "." and "-"')
    return value


def _user(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # YAML takes 1000 for a number
    return value


def _known_user(value: str) -> str:
    if not _USER.match(value):
        raise ValueError('expected a user of the container, such as "1000:1000" or "node"')
    return value


def _words(value: object) -> object:
    if isinstance(value, list):
        return tuple(value)
    return (value,) if isinstance(value, str) else value


def _engine(value: str) -> str:
    if not _ENGINE.match(value):
        raise ValueError(
            'expected where the engine listens, such as "unix:///var/run/docker.sock" or '
            '"tcp://docker.lan:2376"'
        )
    return value


def _host_workspaces(value: str) -> str:
    volume = value.removeprefix(VOLUME_PREFIX)
    name, _, folder = volume.partition("/")
    if volume != value and (not _NAME.match(name) or (folder and not subfolder(folder))):
        raise ValueError('expected "volume:NAME" or "volume:NAME/FOLDER"')
    if volume == value and not re.match(r"^(/|[A-Za-z]:[\\/])", value):
        raise ValueError('expected a path on the machine of the engine, or "volume:NAME"')
    return value


class Mount(Frozen):
    """Something more that a container sees."""

    path: Annotated[str, AfterValidator(subfolder)] | None = None
    """A folder or file below the tool's own workspace."""

    volume: Annotated[str, AfterValidator(_name)] | None = None
    """A named volume of the engine."""

    target: Annotated[str, AfterValidator(_target)]
    """Where it is in the container."""

    read_only: bool = False
    """Whether it may not be written to."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.path is None) == (self.volume is None):
            raise ValueError('needs either "path", a folder of the workspace, or "volume"')
        return self


class ContainerKeys(Frozen):
    """The keys of a tool that only a container has."""

    image: str | None = None
    """The image of a container tool, best with a version or a digest."""

    entrypoint: (
        Annotated[
            tuple[str, ...],
            BeforeValidator(_words),
            WithJsonSchema({"type": ["string", "array"], "items": {"type": "string"}}),
        ]
        | None
    ) = None
    """The program in the image; null is what the image says. `args` come behind it; without
    `args` those of the image do."""

    network: Annotated[str, AfterValidator(_network)] = "none"
    """`none`, `bridge` (the internet and the local network) or the name of a network."""

    memory: Size = Bytes(512 * MIB)
    """How much memory an instance may use; beyond it its largest process is killed."""

    cpus: Annotated[float, Field(gt=0)] = 1.0
    """How many processors' time an instance may use."""

    pids: Count = 128
    """How many processes and threads an instance may have."""

    user: (
        Annotated[
            str,
            AfterValidator(_known_user),
            BeforeValidator(_user),
            WithJsonSchema({"type": ["string", "integer"]}),
        ]
        | None
    ) = None
    """Whom it runs as; null is whoever the gateway runs as, or 65534:65534 where that is root."""

    read_only: bool = True
    """Whether nothing but its workspace, its mounts and `tmpfs` can be written to."""

    tmpfs: Annotated[ByName[Size], AfterValidator(_targets)] = Field(default_factory=_tmpfs)
    """Folders in memory, with their sizes."""

    tmpfs_exec: bool = False
    """Whether programs in those may be run."""

    mounts: tuple[Mount, ...] = ()
    """What else it sees: folders of its workspace in other places, and named volumes."""

    pull: Literal["missing", "never", "always"] = "missing"
    """When the image is pulled: if it is not there, never, or at each start of the gateway."""

    oci_runtime: Annotated[str, AfterValidator(_name)] | None = None
    """Which of the engine's runtimes runs it, such as `runsc` (gVisor); null is its default."""


class Tls(Frozen):
    """How to talk to an engine at `tcp://`."""

    ca: Filename
    """Who signed the engine's certificate."""

    cert: Filename
    """Our certificate."""

    key: Filename
    """Its key."""


class Runner(Frozen):
    """A second process of mcpgw that starts the instances, so that this one need not."""

    socket: Filename
    """Where it listens: what `mcpgw runner --socket` was given."""

    native: bool | Filename = True
    """Whether it runs the native tools as well, or the socket of another runner that does.
    Where a runner is, its programs and its environment count."""

    @property
    def native_socket(self) -> Path:
        """Where the runner of the native tools listens, if one has them."""
        return self.native if isinstance(self.native, Path) else self.socket


class EngineKeys(Frozen):
    """The keys of the whole file that are about containers."""

    docker_host: Annotated[str, AfterValidator(_engine)] | None = None
    """The Docker engine, or what speaks its language; null is DOCKER_HOST, or else the
    usual sockets."""

    docker_tls: Tls | None = None
    """For an engine at `tcp://`; null is DOCKER_CERT_PATH if DOCKER_TLS_VERIFY is set."""

    host_workspaces: Annotated[str, AfterValidator(_host_workspaces)] | None = None
    """What `workspace_root` is for the engine: a path on its machine, or `volume:NAME`. null:
    the gateway finds out by looking at its own container, or takes the path to be the same."""

    installation: Annotated[str, AfterValidator(_name)] | None = None
    """A name for this gateway in the labels of its containers, by which it knows those that an
    earlier run has left; null makes one of the machine and the configuration file."""

    runner: Runner | None = None
    """The process that starts the instances, if that is not this one."""
