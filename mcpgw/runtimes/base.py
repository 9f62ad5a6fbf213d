"""The contract every runtime keeps.

Bytes are pushed, not pulled: an instance calls its `Receiver` from the event
loop as soon as the pipe is readable, so a message costs no task switch.
"""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from mcpgw.config.schema import ServerSpec


@dataclass(frozen=True, slots=True)
class Exit:
    """Why an instance will never write again."""

    reason: str
    """Completes "the server ...": ``exited with code 3``, ``was killed by SIGKILL``,
    ``closed its stdout``."""

    code: int | None = None
    """The exit status; negative for a signal; None while unknown."""

    stderr: tuple[str, ...] = ()
    """Its last stderr lines, oldest first."""


class Receiver(Protocol):
    """Whoever listens to an instance. Called on the event loop; must neither block nor raise."""

    def data_received(self, data: bytes) -> None:
        """Take the next bytes the server wrote to stdout."""

    def instance_lost(self, exit: Exit) -> None:
        """Learn, exactly once and after all data, that the server will never write again."""


class Instance(Protocol):
    """One running copy of a server, whatever it runs on."""

    @property
    def label(self) -> str:
        """A name for logs and headers, unique for the life of the gateway: ``git#3``."""

    @property
    def congested(self) -> bool:
        """Whether the queue to stdin is long, so that `drain` would wait."""

    def write(self, data: bytes) -> None:
        """Queue bytes for the server's stdin; call `drain` first when sending much.

        Raises:
            InstanceExited: There is nobody to read it.
        """

    async def drain(self) -> None:
        """Wait until the queue to stdin is short enough to add to.

        Raises:
            InstanceExited: There is nobody to read it.
        """

    def kill(self) -> None:
        """End it at once; for an instance that is beyond repair. Leaving its context cleans up."""


class Runtime(Protocol):
    """Starts instances. Leaving the context stops the instance, whatever happened inside."""

    def start(self, spec: ServerSpec, receiver: Receiver) -> AbstractAsyncContextManager[Instance]:
        """Start one instance of `spec`, telling `receiver` what it writes.

        On the way out: close stdin, wait `timeouts.stop`, SIGTERM to the group, wait
        `timeouts.term`, SIGKILL to the group and to every descendant.

        Raises:
            StartFailed: On entry, when nothing is left running.
        """
