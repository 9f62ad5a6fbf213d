"""A gateway in small: a guard and instances of a marked tool, until it is killed."""

import asyncio
import sys
from pathlib import Path

import structlog

from mcpgw.config.schema import Config, ServerSpec
from mcpgw.runtimes.base import Exit
from mcpgw.runtimes.guard import open_guard
from mcpgw.runtimes.native import NativeRuntime


class Silent:
    def data_received(self, data: bytes) -> None:
        print(data.decode(), end="", flush=True)

    def instance_lost(self, exit: Exit) -> None:
        print(exit, file=sys.stderr, flush=True)


async def main(mark: str, script: str) -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    spec = ServerSpec(name="srv", cmd="sh", args=("-c", script), env={"RT_MARK": mark})
    runtime = NativeRuntime(Config(base_dir=Path("/")))
    async with open_guard(), runtime.start(spec, Silent()):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
