"""The same servers on every runtime, so that one suite says what all of them do."""

import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mcpgw.config.schema import Config, RuntimeKind, ServerSpec
from mcpgw.runner.server import Door, open_runner
from mcpgw.runtimes.base import Instance, Receiver, Runtime
from mcpgw.runtimes.containers.runtime import ContainerRuntime, open_containers
from mcpgw.runtimes.detached import DetachedRuntime
from mcpgw.runtimes.native import NativeRuntime
from mcpgw.runtimes.remote import RunnerRuntime
from tests.runtimes.conftest import QUICK, SERVERS
from tests.testbed.engine import Engine
from tests.testbed.images import BUSYBOX, PYTHON

WORLDS = ("native", "container", "runner-native", "runner-container")


@dataclass
class World:
    """One runtime, and how its tools are written."""

    kind: str
    runtime: Runtime
    known: dict[str, ServerSpec]
    mark: str
    containers: ContainerRuntime | None = None
    engine: Engine | None = None

    @property
    def contained(self) -> bool:
        return self.kind.endswith("container")

    def shell(self, script: str, **fields: Any) -> ServerSpec:
        return self._spec(BUSYBOX.tag, "sh", ("-c", script), **fields)

    def python(self, name: str, *args: str, **fields: Any) -> ServerSpec:
        folder = "/app/servers" if self.contained else str(SERVERS)
        if self.engine is not None:
            if (why := PYTHON.obstacle()) is not None:
                pytest.skip(why)
            self.engine.load(PYTHON)
        program = "/usr/local/bin/python3" if self.contained else sys.executable
        words = ("-I", "-S", f"{folder}/rt_{name}.py", *args)
        return self._spec(PYTHON.tag, program, words, **fields)

    def _spec(self, image: str, program: str, args: tuple[str, ...], **fields: Any) -> ServerSpec:
        fields = {"name": "srv", "timeouts": QUICK, "env": {"RT_MARK": self.mark}, **fields}
        if self.contained:
            kind = RuntimeKind.CONTAINER
            return ServerSpec(runtime=kind, image=image, entrypoint=(program,), args=args, **fields)
        return ServerSpec(cmd=program, args=args, **fields)

    @asynccontextmanager
    async def start(self, spec: ServerSpec, receiver: Receiver) -> AsyncIterator[Instance]:
        """Start an instance, of which the runner knows by its own configuration."""
        self.known[spec.name] = spec
        async with self.runtime.start(spec, receiver) as instance:
            yield instance


@asynccontextmanager
async def open_world(
    kind: str, folder: Path, engine: Engine | None, mark: str
) -> AsyncIterator[World]:
    host = engine.host if engine is not None else None
    known: dict[str, ServerSpec] = {}
    config = Config(base_dir=folder, docker_host=host, workspace_root=folder / "workspaces")
    async with AsyncExitStack() as stack:
        containers = None
        runtimes: dict[RuntimeKind, Any] = {RuntimeKind.NATIVE: NativeRuntime(config)}
        if engine is not None:
            opening = open_containers(config, secrets.token_hex(4))
            containers = await stack.enter_async_context(opening)
            runtimes[RuntimeKind.CONTAINER] = containers
        wanted = RuntimeKind.CONTAINER if kind.endswith("container") else RuntimeKind.NATIVE
        runtime: Runtime = runtimes[wanted]
        if kind.startswith("runner"):
            # The folder is not pytest's, whose paths may be too long for a socket.
            path = Path("/tmp", f"mcpgw-test-{mark[:8]}.sock")
            detached: dict[RuntimeKind, DetachedRuntime] = runtimes
            its_config = config.model_copy(update={"tools": known})
            await stack.enter_async_context(
                open_runner(its_config, detached, Door(path, frozenset()), dict)
            )
            runtime = RunnerRuntime(path)
        yield World(kind, runtime, known, mark, containers, engine)
