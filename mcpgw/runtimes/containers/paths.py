"""What a path of ours is for the engine, which may live on another machine. Pure.

A container that mounts `/srv/x` gets the engine's `/srv/x`, not ours. The two differ
when we run in a container ourselves, or when the engine is remote.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from mcpgw.config.containers import VOLUME_PREFIX
from mcpgw.errors import StartFailed

_OWN_ID: Final = re.compile(r"/([0-9a-f]{64})/(?:userdata/)?(?:hostname|hosts|resolv\.conf)\b")
_SHORT_ID: Final = re.compile(r"^[0-9a-f]{12}$")


@dataclass(frozen=True, slots=True)
class Bind:
    """A path on the machine of the engine."""

    path: str

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True, slots=True)
class Volume:
    """A folder of a named volume."""

    name: str
    folder: str = ""
    path: str | None = None
    """Where the engine keeps the volume, as far as that is known."""

    def __str__(self) -> str:
        return f"{VOLUME_PREFIX}{self.name}/{self.folder}".rstrip("/")


Source = Bind | Volume


@dataclass(frozen=True, slots=True)
class OwnMount:
    """One of the mounts of the container we run in."""

    destination: str
    source: Source


@dataclass(frozen=True, slots=True)
class Translation:
    """How paths of ours become the engine's."""

    mounts: tuple[OwnMount, ...]
    """The longest destination that a path is below decides."""

    how: str
    """Where that is known from, in words for an operator."""

    def source(self, path: Path) -> Source:
        """Give what `path`, which is a real one, is for the engine.

        Raises:
            StartFailed: It is on none of the mounts, so that cannot be known.
        """
        posix = PurePosixPath(path.as_posix())
        for mount in sorted(self.mounts, key=lambda m: len(m.destination), reverse=True):
            if posix.is_relative_to(mount.destination):
                return _below(mount.source, str(posix.relative_to(mount.destination)))
        raise StartFailed(
            f"{path} is inside the gateway's own container and on none of its mounts, so the "
            "engine cannot see it; mount a folder or a volume there, or set host_workspaces"
        )


IDENTITY: Final = Translation((OwnMount("/", Bind("/")),), "the engine sees the same files")


def explicit(workspace_root: Path, host_workspaces: str) -> Translation:
    """Believe what the configuration says."""
    volume = host_workspaces.removeprefix(VOLUME_PREFIX)
    name, _, folder = volume.partition("/")
    source = Bind(host_workspaces) if volume == host_workspaces else Volume(name, folder)
    mount = OwnMount(workspace_root.as_posix(), source)
    return Translation((mount,), f"host_workspaces: {host_workspaces}")


def inspected(container: Mapping[str, Any]) -> Translation:
    """Go by the mounts of our own container, as the engine describes it."""
    mounts = tuple(_own_mounts(container.get("Mounts") or ()))
    return Translation(mounts, f"the mounts of our own container {own_name(container)}")


def own_name(container: Mapping[str, Any]) -> str:
    """Give the name of a container that the engine describes."""
    return str(container.get("Name", "")).lstrip("/")


def own_ids(mountinfo: str, hostname: str) -> Sequence[str]:
    """Give what could be the id of the container we run in, best first; none if in none."""
    found = dict.fromkeys(_OWN_ID.findall(mountinfo))
    if not found and _SHORT_ID.match(hostname):
        found[hostname] = None
    return list(found)


def _own_mounts(described: Iterable[Mapping[str, Any]]) -> Iterable[OwnMount]:
    for mount in described:
        path = str(mount.get("Source", ""))
        if mount.get("Type") == "bind":
            yield OwnMount(str(mount["Destination"]), Bind(path))
        elif mount.get("Type") == "volume":
            yield OwnMount(str(mount["Destination"]), Volume(str(mount["Name"]), "", path or None))


def _below(source: Source, rest: str) -> Source:
    if isinstance(source, Bind):
        return Bind(_join(source.path, rest))
    path = _join(source.path, rest) if source.path else None
    return Volume(source.name, _join(source.folder, rest).lstrip("/"), path)


def _join(folder: str, rest: str) -> str:
    """Join what may be a path of another system; `rest` has forward slashes."""
    if rest in ("", "."):
        return folder
    if re.match(r"^[A-Za-z]:\\", folder):
        return f"{folder.rstrip(chr(92))}\\{rest.replace('/', chr(92))}"
    return f"{folder.rstrip('/')}/{rest}"
