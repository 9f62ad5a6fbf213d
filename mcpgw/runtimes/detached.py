"""Instances whose streams are somebody else's: the runner starts them, the gateway talks to them.

The descriptors themselves change hands, so a message costs no more than without a runner.
"""

from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from typing import Protocol

from mcpgw.config.schema import ServerSpec

End = tuple[str, int | None]
"""The reason and the code of an `Exit`."""


class Carrier(StrEnum):
    """What the descriptors are."""

    PIPES = "pipes"
    """stdin, stdout and stderr, one each."""

    ATTACHED = "attached"
    """One connection to the container engine, that carries all three in frames."""


class Detached(Protocol):
    """An instance without its streams."""

    @property
    def label(self) -> str:
        """Its name in this process's log."""

    @property
    def carrier(self) -> Carrier:
        """What its descriptors are."""

    def take_fds(self) -> list[int]:
        """Give the descriptors, which are the caller's to close from then on; only once."""

    def end(self, *, asked: bool) -> Awaitable[End | None]:
        """Wait for how it ended; if `asked`, look now, and say None if it goes on."""

    def kill(self) -> None:
        """End it at once."""

    async def stop(self) -> None:
        """End it within its timeouts, as one whose stdin was closed; harmless once it is over."""


class DetachedRuntime(Protocol):
    """Starts instances for somebody else. Leaving the context stops and removes the instance."""

    def start_detached(self, spec: ServerSpec) -> AbstractAsyncContextManager[Detached]:
        """Start one instance of `spec`.

        Raises:
            StartFailed: On entry, when nothing is left running.
        """
