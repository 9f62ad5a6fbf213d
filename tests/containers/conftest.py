"""Instances in real containers, seen from inside."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mcpgw.config.schema import Config, RuntimeKind, ServerSpec, Timeouts
from mcpgw.runtimes.base import Exit
from mcpgw.runtimes.containers.runtime import ContainerRuntime, open_containers
from mcpgw.units import Seconds
from tests.runtimes.conftest import Recorder
from tests.testbed.engine import Engine
from tests.testbed.images import BUSYBOX, PYTHON

QUICK = Timeouts(stop=Seconds(0.3), term=Seconds(0.3))


class Box:
    """Runs scripts in containers of their own and gives what they say."""

    def __init__(
        self, runtime: ContainerRuntime, config: Config, engine: Engine | None = None
    ) -> None:
        self.runtime = runtime
        self.config = config
        self._engine = engine

    def spec(self, script: str, **keys: Any) -> ServerSpec:
        keys = {"name": "box", "image": BUSYBOX.tag, "timeouts": QUICK, **keys}
        entry = keys.pop("entrypoint", ("sh",))
        return ServerSpec(
            runtime=RuntimeKind.CONTAINER, entrypoint=entry, args=("-c", script), **keys
        )

    async def run(self, script: str, **keys: Any) -> tuple[str, Exit]:
        """Run a script to its end."""
        receiver = Recorder()
        async with self.runtime.start(self.spec(script, **keys), receiver):
            exit = await receiver.ended(within=30)
        return receiver.data.decode(), exit

    async def python(self, program: str, **keys: Any) -> tuple[str, Exit]:
        """Run a Python program to its end."""
        if (why := PYTHON.obstacle()) is not None:
            pytest.skip(why)
        if self._engine is not None:
            self._engine.load(PYTHON)
        return await self.run(
            program, image=PYTHON.tag, entrypoint=("/usr/local/bin/python3", "-I"), **keys
        )


@asynccontextmanager
async def opened_box(
    engine: Engine, folder: Path, host: str | None = None, **settings: Any
) -> AsyncIterator[Box]:
    if (why := BUSYBOX.obstacle()) is not None:
        pytest.skip(why)
    engine.load(BUSYBOX)
    (folder / "workspaces").mkdir(exist_ok=True)
    config = Config(
        base_dir=folder,
        workspace_root=folder / "workspaces",
        docker_host=host or engine.host,
        **settings,
    )
    async with open_containers(config, secrets.token_hex(4)) as runtime:
        yield Box(runtime, config, engine)


@pytest.fixture
async def box(engine: Engine, tmp_path: Path) -> AsyncIterator[Box]:
    async with opened_box(engine, tmp_path) as box:
        yield box
    assert engine.containers(run=box.runtime.engine.run) == []


async def eventually(holds: Any, *, within: float = 10) -> None:
    """Wait for what announces itself to nobody."""
    async with asyncio.timeout(within):
        while not holds():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.05)
