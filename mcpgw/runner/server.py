"""Serves ``start``, ``stop`` and ``status`` on a Unix socket, to those who may ask."""

import asyncio
import os
import socket
import stat
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from mcpgw import __version__
from mcpgw.aio import Tasks
from mcpgw.config.schema import Config, Mode, RuntimeKind, ServerSpec
from mcpgw.errors import GatewayError, StartFailed
from mcpgw.runtimes.channel import Channel, Message, close_fds
from mcpgw.runtimes.detached import Detached, DetachedRuntime
from mcpgw.units import Seconds

_FIRST_WORD: Final = Seconds(10)
"""How long a connection may take to say what it is for."""

_BACKLOG: Final = 128
_MOST_WAITING: Final = 16
"""How many messages of one connection may wait: an honest one sends one at a time."""

_MOST_CONNECTIONS: Final = 4096
_SOCKET_MODE: Final = 0o660

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Door:
    """Where the runner listens, and to whom."""

    path: Path
    uids: frozenset[int]
    """Whose processes may ask; root and whoever runs the runner always may."""

    group: int | None = None
    """Which group the socket belongs to."""

    def admits(self, uid: int) -> bool:
        """Whether a process of that user may ask."""
        return uid in (0, os.geteuid()) or uid in self.uids


class RunnerServer:
    """Starts instances for the gateway; made by `open_runner`."""

    def __init__(
        self,
        config: Config,
        runtimes: Mapping[RuntimeKind, DetachedRuntime],
        door: Door,
        tasks: Tasks,
        about: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._config = config
        self._runtimes = runtimes
        self._door = door
        self._tasks = tasks
        self._about = about
        self._running: Counter[str] = Counter()

    def accept(self, listener: socket.socket) -> None:
        """Take a connection that waits."""
        try:
            sock, _ = listener.accept()
        except OSError:
            return
        uid = _peer(sock)
        if not self._door.admits(uid) or len(self._tasks) >= _MOST_CONNECTIONS:
            log.warning("runner.refused", uid=uid)
            sock.close()
            return
        connection = _Connection(sock)
        task = self._tasks.start(self._serve(connection), name="connection")
        connection.on_closed = task.cancel

    async def _serve(self, connection: "_Connection") -> None:
        try:
            async with asyncio.timeout(_FIRST_WORD):
                message = await connection.inbox.get()
            if "status" in message:
                connection.channel.send({"status": self.status()})
            elif isinstance(server := message.get("start"), str):
                await self._start(connection, server)
        except TimeoutError:
            pass
        except GatewayError as exc:
            connection.channel.send({"failed": _told(exc)})
        finally:
            connection.channel.close()

    async def _start(self, connection: "_Connection", server: str) -> None:
        spec = self._config.tools.get(server)
        if spec is None:
            raise StartFailed(
                f"the runner knows no tool {server[:64]!r}: its configuration is another one"
            )
        if self._running[server] >= _most(spec):
            raise StartFailed(f"{server}: the runner runs {_most(spec)} of it already")
        self._running[server] += 1
        try:
            async with self._runtimes[spec.runtime].start_detached(spec) as instance:
                await _Attendance(connection, instance).attend()
        finally:
            self._running[server] -= 1

    def status(self) -> Mapping[str, Any]:
        """Give what an operator would want to know."""
        tools = {
            name: {"runtime": spec.runtime.value, "instances": self._running[name]}
            for name, spec in self._config.tools.items()
        }
        return {"version": __version__, "tools": tools, **self._about()}


class _Connection:
    """One connection, and what came on it."""

    def __init__(self, sock: socket.socket) -> None:
        self.inbox: Final[asyncio.Queue[Message]] = asyncio.Queue()
        self.on_closed: Callable[[], object] = lambda: None
        self.channel: Final = Channel(sock, self._take, self._closed)

    def _closed(self) -> None:
        self.on_closed()

    def _take(self, message: Message, fds: list[int]) -> None:
        close_fds(fds)
        if self.inbox.qsize() < _MOST_WAITING:
            self.inbox.put_nowait(message)


class _Attendance:
    """Tells the gateway of one instance, and does what it asks of it."""

    def __init__(self, connection: _Connection, instance: Detached) -> None:
        self._connection = connection
        self._channel = connection.channel
        self._instance = instance

    async def attend(self) -> None:
        """Hand the streams over, and go on until the gateway wants it stopped."""
        fds = self._instance.take_fds()
        try:
            started = {"label": self._instance.label, "carrier": self._instance.carrier.value}
            self._channel.send({"started": started}, fds)
        finally:
            close_fds(fds)
        async with Tasks("attendance") as tasks:
            _ = tasks.start(self._tell_end(asked=False), name="end")
            while True:
                message = await self._connection.inbox.get()
                if "look" in message:
                    _ = tasks.start(self._tell_end(asked=True), name="look")
                elif "kill" in message:
                    self._instance.kill()
                elif "stop" in message:
                    break
        await self._instance.stop()
        await self._tell_end(asked=True)
        self._channel.send({"stopped": True})

    async def _tell_end(self, *, asked: bool) -> None:
        if (end := await self._instance.end(asked=asked)) is not None:
            self._channel.send({"exited": list(end)})


@asynccontextmanager
async def open_runner(
    config: Config,
    runtimes: Mapping[RuntimeKind, DetachedRuntime],
    door: Door,
    about: Callable[[], Mapping[str, Any]],
) -> AsyncIterator[RunnerServer]:
    """A runner that listens, for the length of the block; leaving stops every instance.

    Raises:
        OSError: The socket cannot be made there.
    """
    loop = asyncio.get_running_loop()
    async with Tasks("runner") as tasks:
        server = RunnerServer(config, runtimes, door, tasks, about)
        listener = _listen(door)
        loop.add_reader(listener.fileno(), server.accept, listener)
        try:
            yield server
        finally:
            loop.remove_reader(listener.fileno())
            listener.close()
            door.path.unlink(missing_ok=True)


def _listen(door: Door) -> socket.socket:
    path = door.path
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode) and not _is_served(path):
        path.unlink()  # of a runner that was killed
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        mask = os.umask(0o777)  # nobody gets in before mode and group are right
        try:
            listener.bind(str(path))
        finally:
            os.umask(mask)
        if door.group is not None:
            os.chown(path, -1, door.group)
        path.chmod(_SOCKET_MODE)
        listener.setblocking(False)
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
        except OSError:
            return True
    return True


def _peer(sock: socket.socket) -> int:
    size = struct.calcsize("3i")
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    uid: int = struct.unpack("3i", credentials)[1]
    return uid


def _most(spec: ServerSpec) -> int:
    """Give how many a gateway may ever need: those that stop overlap with new ones."""
    limit = spec.launcher.max if spec.mode is Mode.LAUNCHER else spec.daemon.max
    return 2 * limit + 2


def _told(exc: GatewayError) -> Message:
    return {
        "kind": type(exc).__name__,
        "text": str(exc),
        "retry_after": exc.retry_after,
        "stderr": list(exc.stderr),
    }
