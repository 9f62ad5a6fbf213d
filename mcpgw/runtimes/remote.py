"""Instances that the runner starts: their streams are ours, their processes are not."""

import asyncio
import errno
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import structlog

from mcpgw import aio, errors
from mcpgw.config.schema import ServerSpec, Timeouts
from mcpgw.errors import EngineUnavailable, StartFailed
from mcpgw.runtimes.base import Instance, Receiver
from mcpgw.runtimes.channel import Channel, Message, close_fds
from mcpgw.runtimes.containers.attach import AttachStreams
from mcpgw.runtimes.detached import Carrier
from mcpgw.runtimes.instance import StreamedInstance, Waits
from mcpgw.runtimes.streams import PipeStreams
from mcpgw.units import Seconds

_RETRY_AFTER: Final = Seconds(2)
_STOP_SLACK: Final = Seconds(15)
_START_SLACK: Final = Seconds(60)
"""What a start may take besides waiting for its image."""

_WAITS: Final = Waits(exit_after_output=Seconds(2.5))
_KINDS: Final = {
    cls.__name__: cls for cls in (StartFailed, errors.EngineUnavailable, errors.ImageUnavailable)
}

log = structlog.get_logger()


class RunnerRuntime:
    """Has a runner make the instances; see `mcpgw.runtimes.base.Runtime`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._started: Counter[str] = Counter()

    @asynccontextmanager
    async def start(self, spec: ServerSpec, receiver: Receiver) -> AsyncIterator[Instance]:
        """See `Runtime.start`."""
        self._started[spec.name] += 1
        label = f"{spec.name}#{self._started[spec.name]}"
        instance = RemoteInstance(spec, receiver, label)
        channel = Channel(connect(self._path), instance.hear, instance.runner_lost)
        try:
            await instance.open(channel, self._path)
            try:
                yield instance
            finally:
                await aio.unhurried(instance.stop(spec.timeouts), name=f"stop:{label}")
        finally:
            channel.close()
            instance.drop()


def connect(path: Path) -> socket.socket:
    """Connect to the runner.

    Raises:
        EngineUnavailable: It cannot be reached.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.setblocking(False)
    try:
        sock.connect(str(path))
    except OSError as exc:
        sock.close()
        raise unavailable(path, _why(exc)) from None
    return sock


def unavailable(path: Path, why: str) -> EngineUnavailable:
    """Give the error for a runner that is of no use."""
    return EngineUnavailable(
        f"the runner at {path} {why} (runner.socket)", retry_after=_RETRY_AFTER
    )


class RemoteInstance(StreamedInstance):
    """See `mcpgw.runtimes.base.Instance`."""

    def __init__(self, spec: ServerSpec, receiver: Receiver, label: str) -> None:
        super().__init__(spec, receiver, label, _WAITS)
        self._spec = spec
        self._fds: list[int] = []
        self._answered: asyncio.Future[Message | None] = asyncio.get_running_loop().create_future()
        self._stopped = asyncio.Event()
        self._asked = False

    async def open(self, channel: Channel, path: Path) -> None:
        """Have the instance started, and take its streams.

        Raises:
            StartFailed: It is not; the runner says why.
            EngineUnavailable: The runner does not answer.
        """
        self._channel = channel
        channel.send({"start": self.server})
        try:
            async with asyncio.timeout(self._spec.timeouts.start + _START_SLACK):
                answer = await self._answered
        except TimeoutError:
            raise unavailable(path, "does not answer") from None
        if answer is None:
            raise unavailable(path, "broke off")
        if (failed := answer.get("failed")) is not None:
            raise _failure(failed)
        started = answer["started"]
        fds, self._fds = self._fds, []
        if started["carrier"] == Carrier.PIPES:
            stdin, stdout, stderr = fds
            self.begin(PipeStreams(stdin, stdout, stderr, self.hooks))
        else:
            sock = socket.socket(fileno=fds[0])
            _, streams = await asyncio.get_running_loop().create_unix_connection(
                lambda: AttachStreams(self.hooks), sock=sock
            )
            self.begin(streams)
        log.debug(
            "instance.started", server=self.server, instance=self.label, runner=started["label"]
        )

    def hear(self, message: Message, fds: list[int]) -> None:
        """Take what the runner says."""
        if not self._answered.done() and ("started" in message or "failed" in message):
            self._fds = fds
            self._answered.set_result(message)
            return
        close_fds(fds)
        if "exited" in message:
            reason, code = message["exited"]
            self.end(reason, code)
        if "stopped" in message:
            self._stopped.set()

    def runner_lost(self) -> None:
        """Learn that there is no runner any more."""
        if not self._answered.done():
            self._answered.set_result(None)
        elif not self._stopped.is_set():
            self._stopped.set()
            self.end("was lost: the runner went away", None)

    def kill(self) -> None:
        """See `Instance.kill`."""
        self._channel.send({"kill": True})

    async def stop(self, timeouts: Timeouts) -> None:
        """End it; its runner escalates as the timeouts say."""
        self.close_stdin()
        self._channel.send({"stop": True})
        try:
            async with asyncio.timeout(timeouts.stop + timeouts.term + _STOP_SLACK):
                await self._stopped.wait()
        except TimeoutError:
            log.error("instance.survived", server=self.server, instance=self.label)
        if self.exited.is_set():
            await self.reported.wait()
        self.close()

    def drop(self) -> None:
        """Close descriptors that came, and that nobody took."""
        fds, self._fds = self._fds, []
        close_fds(fds)

    def _settle(self) -> None:
        if not self._streams.has_output and not self._asked and not self.exited.is_set():
            self._asked = True
            self._channel.send({"look": True})
        super()._settle()


def _failure(told: dict[str, Any]) -> StartFailed:
    kind = _KINDS.get(told["kind"], StartFailed)
    wait = told.get("retry_after")
    return kind(
        told["text"],
        stderr=tuple(told.get("stderr", ())),
        retry_after=None if wait is None else Seconds(wait),
    )


def _why(exc: OSError) -> str:
    match exc.errno:
        case errno.ENOENT | errno.ECONNREFUSED:
            return "is not running"
        case errno.EACCES | errno.EPERM:
            return f"may not be used by this user (uid {os.getuid()})"
        case errno.EAGAIN:
            return "is too busy"
        case _:
            return f"cannot be reached: {exc.strerror}"
