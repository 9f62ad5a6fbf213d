"""The composition root of `mcpgw runner`."""

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog

from mcpgw import __version__
from mcpgw.config.schema import Config, RuntimeKind
from mcpgw.runner.server import Door, open_runner
from mcpgw.runtimes.containers.runtime import new_run, open_containers, reaping
from mcpgw.runtimes.detached import DetachedRuntime
from mcpgw.runtimes.guard import open_guard
from mcpgw.runtimes.native import NativeRuntime

log = structlog.get_logger()


async def serve_runner(config: Config, door: Door, stop: asyncio.Event) -> None:
    """Run the runner until `stop` is set.

    Raises:
        OSError: The socket cannot be made.
    """
    run = new_run()
    async with open_guard(reaping(config, run)), open_containers(config, run) as containers:

        def about() -> Mapping[str, Any]:
            return {
                "engine": containers.engine.address.url,
                "pulls": {image: str(pull) for image, pull in containers.images.pulls.items()},
            }

        runtimes: Mapping[RuntimeKind, DetachedRuntime] = {
            RuntimeKind.NATIVE: NativeRuntime(config),
            RuntimeKind.CONTAINER: containers,
        }
        async with open_runner(config, runtimes, door, about):
            log.info(
                "runner.started",
                version=__version__,
                socket=str(door.path),
                tools=list(config.tools),
            )
            await stop.wait()
            log.info("runner.stopping")
    log.info("runner.stopped")
