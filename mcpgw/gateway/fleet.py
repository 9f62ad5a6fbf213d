"""The running servers, by name."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from mcpgw.config.schema import Config, RuntimeKind
from mcpgw.errors import UnknownServer
from mcpgw.gateway.held import Suspended
from mcpgw.gateway.server import RunningServer, open_server
from mcpgw.runtimes.base import Runtime
from mcpgw.units import Seconds


class Fleet:
    """Names to running servers."""

    def __init__(self, servers: Mapping[str, RunningServer]) -> None:
        self._servers = servers

    def find(self, name: str) -> RunningServer:
        """The server of that name.

        Raises:
            UnknownServer: No server of that name is configured.
        """
        try:
            return self._servers[name]
        except KeyError:
            raise UnknownServer(f"no tool named {name[:64]!r} is configured") from None

    async def drain(self, within: Seconds) -> None:
        """Take no new work; let what is in flight finish, at most that long."""
        async with asyncio.TaskGroup() as group:
            for server in self._servers.values():
                group.create_task(server.drain(within))

    def abandon(self) -> None:
        """Tell whoever still waits for an answer that none will come."""
        for server in self._servers.values():
            server.abandon()


@asynccontextmanager
async def open_fleet(
    config: Config, runtimes: Mapping[RuntimeKind, Runtime]
) -> AsyncIterator[Fleet]:
    """Run every configured server for the length of the block; stop them together."""
    suspended = Suspended(config.limits.suspended)
    async with AsyncExitStack() as stack:
        servers = {}
        for name, spec in config.tools.items():
            opening = open_server(spec, runtimes[spec.runtime], suspended)
            servers[name] = await stack.enter_async_context(opening)
        try:
            yield Fleet(servers)
        finally:
            for server in servers.values():  # all stop at once; the stack waits for each
                server.pools.close()
