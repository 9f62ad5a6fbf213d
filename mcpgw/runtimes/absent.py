"""A runtime this build does not have: every start fails, saying so."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mcpgw.config.schema import ServerSpec
from mcpgw.errors import StartFailed
from mcpgw.runtimes.base import Instance, Receiver


class AbsentRuntime:
    """Stands where a runtime will be, so that one tool's need for it stops no other tool."""

    @asynccontextmanager
    async def start(self, spec: ServerSpec, receiver: Receiver) -> AsyncIterator[Instance]:
        """See `Runtime.start`."""
        raise StartFailed(
            f"{spec.name!r} needs `runtime: {spec.runtime.value}`, which this version of mcpgw "
            "does not have yet; only `native` tools can run"
        )
        yield  # type: ignore[unreachable]  # makes this a generator
