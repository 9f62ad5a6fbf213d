"""The folder of this machine that a tool may see.

Everything is decided on real paths: a link in a workspace that leads elsewhere must not
become a mount of what it leads to.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mcpgw.config.schema import Config, ServerSpec
from mcpgw.errors import StartFailed

INSIDE: Final = "/workspaces"
"""Where a container sees its workspace."""

_OWN_FOLDER_MODE: Final = 0o700


@dataclass(frozen=True, slots=True)
class Owner:
    """Whom a new workspace belongs to."""

    uid: int
    gid: int


def folder_name(spec: ServerSpec) -> str:
    """Give the tool's folder, below `workspace_root`."""
    return spec.workspace or spec.name


def wants_workspace(config: Config, spec: ServerSpec) -> bool:
    """Whether the tool names a workspace, so that it cannot do without one."""
    root = str(config.workspace_root)
    names_it = any(root in value for value in (*spec.args, *spec.env.values()))
    return names_it or spec.workspace is not None or any(mount.path for mount in spec.mounts)


def open_workspace(config: Config, spec: ServerSpec, owner: Owner | None = None) -> Path | None:
    """Give the real path of the tool's workspace, which is made if it is not there.

    None where there is no `workspace_root`, and the tool does not ask for one. A folder made
    by root is given to `owner`.

    Raises:
        StartFailed: There is no such folder, it cannot be made, or it leads elsewhere.
    """
    root = config.workspace_root
    if not root.is_dir():
        if not wants_workspace(config, spec):
            return None
        raise StartFailed(
            f"{spec.name}: workspace_root {root} is not a directory; create it, or set another"
        )
    real_root = root.resolve()
    folder = real_root / folder_name(spec)
    _make(spec, real_root, folder, owner)
    return _within(spec, real_root, folder, "workspace")


def open_below(spec: ServerSpec, workspace: Path, path: str, owner: Owner | None = None) -> Path:
    """Give the real path of something below a workspace; a folder is made if nothing is there.

    Raises:
        StartFailed: It cannot be made, or leads out of the workspace.
    """
    found = workspace / path
    if not found.exists():
        _make(spec, workspace, found, owner)
    return _within(spec, workspace, found, f"mounts: {path}")


def seen_inside(config: Config, spec: ServerSpec, text: str) -> str:
    """Rewrite a path of this machine's `workspace_root` in `text` to what a container sees."""
    root = re.escape(str(config.workspace_root))
    own = re.escape(folder_name(spec))
    return re.sub(rf"(?<![\w./-]){root}(?:/{own})?(?=/|$|[\s,;:])", INSIDE, text)


def _make(spec: ServerSpec, root: Path, folder: Path, owner: Owner | None) -> None:
    """Make a folder and what is missing above it, each only after a look at where it would be."""
    path = root
    for part in folder.relative_to(root).parts:
        path = path / part
        try:
            path.mkdir(_OWN_FOLDER_MODE)
            if owner is not None and os.geteuid() == 0:
                os.chown(path, owner.uid, owner.gid, follow_symlinks=False)
        except FileExistsError:
            pass
        except OSError as exc:
            raise StartFailed(f"{spec.name}: {path} cannot be made: {exc.strerror}") from None
        path = _within(spec, root, path, "workspace")


def _within(spec: ServerSpec, root: Path, path: Path, what: str) -> Path:
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: a link to itself
        raise StartFailed(f"{spec.name}: {what}: {path} cannot be followed") from None
    if real == root or not real.is_relative_to(root):
        raise StartFailed(
            f"{spec.name}: {what}: {path} leads to {real}, which is not below {root}; "
            "remove the link"
        )
    return real
