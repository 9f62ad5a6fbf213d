"""The engine: asked with a bound on every answer, found again when it was gone, and swept."""

import asyncio
import errno
import hashlib
import json
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import structlog
from aiodocker import DockerError
from aiodocker.containers import DockerContainer

from mcpgw.aio import Tasks
from mcpgw.config.schema import Config
from mcpgw.errors import EngineUnavailable
from mcpgw.runtimes.containers import body, paths
from mcpgw.runtimes.containers.address import NO_ANSWER, Address, Client
from mcpgw.units import Seconds

T = TypeVar("T")

ANSWER: Final = Seconds(30)
"""How long the engine may take for an answer; on a busy machine a start takes seconds."""

_RETRY_AFTER: Final = Seconds(5)
_NO_CONNECTION: Final = 900
"""What aiodocker says where HTTP has no word for it."""

_SWEEP_AGAIN: Final = Seconds(5)
"""What the engine was asked for while it hung, it may do a moment after it is found again."""

_GONE_ALREADY: Final = (404, 409)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What an engine says about itself, and what follows for us."""

    version: str
    api: tuple[int, int]
    translation: paths.Translation
    installation: str


class Engine:
    """One Docker engine, or what speaks its language. Made by `open_engine`."""

    def __init__(
        self, config: Config, address: Address, tasks: Tasks, run: str, *, sweeps: bool
    ) -> None:
        self._config = config
        self._sweeps = sweeps
        self._tasks = tasks
        self._client: Client | None = None
        self._was_lost = False
        self._facts: EngineFacts | None = None
        self._finding = asyncio.Lock()
        self._lock: socket.socket | None = None
        self.address: Final = address
        """Where it is."""
        self.run: Final = run
        """What tells this process's containers from those of any other."""
        self.living: Final[set[str]] = set()
        """The names of the containers that somebody takes care of."""

    @property
    def docker(self) -> Any:
        """The client; every answer is awaited through `ask`.

        Raises:
            EngineUnavailable: It cannot be made, since a setting is wrong.
        """
        if self._client is None:
            self._client = Client(self.address)
        return self._client.docker

    async def ask(self, question: Awaitable[T], *, within: Seconds = ANSWER) -> T:
        """Await an answer of the engine's.

        Raises:
            EngineUnavailable: There is none, or none in time.
            DockerError: The engine refuses.
        """
        try:
            async with asyncio.timeout(within):
                return await question
        except TimeoutError:
            self.suspect()
            raise self._unavailable(f"did not answer within {within:g} s") from None
        except DockerError as exc:
            if exc.status != _NO_CONNECTION:
                raise
            self.suspect()
            raise self._unavailable(_why(exc.__context__)) from None
        except NO_ANSWER as exc:
            self.suspect()
            raise self._unavailable(_why(exc)) from None

    def suspect(self) -> None:
        """Have the engine looked at again before it is used: it may be another one by then."""
        if self._facts is not None:
            self._facts = None
            self._was_lost = True
            log.warning("engine.lost", engine=self.address.url)

    async def facts(self) -> EngineFacts:
        """Give what is known of the engine; at first, and after it was gone, it is looked at.

        Then also what earlier runs have left is removed.

        Raises:
            EngineUnavailable: It does not answer.
        """
        if self._facts is None:
            async with self._finding:
                if self._facts is None:
                    self._facts = await self._look()
        return self._facts

    async def remove(self, name: str, *, within: Seconds = ANSWER) -> bool:
        """Remove a container, running or not; whether it is gone, or about to be."""
        container = self.docker.containers.container(name)
        try:
            await self.ask(container.delete(force=True, v=True), within=within)
        except DockerError as exc:
            if exc.status not in _GONE_ALREADY:
                log.warning("container.left", container=name, reason=exc.message)
                return False
        except EngineUnavailable as exc:
            log.warning("container.left", container=name, reason=str(exc))
            return False
        return True

    async def inspect(self, name: str) -> Mapping[str, Any] | None:
        """Give what the engine says of a container; None if it knows none of that name."""
        try:
            described: Mapping[str, Any] = await self.ask(
                self.docker.containers.container(name).show()
            )
        except DockerError as exc:
            if exc.status == 404:
                return None
            raise
        return described

    async def _look(self) -> EngineFacts:
        self.docker.api_version = "auto"
        version, api = await self._version()
        own = await self._own_container()
        facts = EngineFacts(
            version,
            api,
            self._translation(own),
            self._installation(own),
        )
        if self._sweeps:
            with suppress(DockerError):
                await self._sweep(facts.installation)
        if self._sweeps and self._was_lost:
            _ = self._tasks.start(self._sweep_again(facts.installation), name="sweep")
        log.info(
            "engine.found",
            engine=self.address.url,
            version=facts.version,
            installation=facts.installation,
            workspaces=facts.translation.how,
        )
        return facts

    async def _version(self) -> tuple[str, tuple[int, int]]:
        try:
            told = await self.ask(self.docker.version())
            major, minor = str(told["ApiVersion"]).split(".")[:2]
            return str(told.get("Version", "?")), (int(major), int(minor))
        except (DockerError, KeyError, TypeError, ValueError):
            raise self._unavailable("does not answer as a container engine does") from None

    async def _own_container(self) -> Mapping[str, Any] | None:
        for found in paths.own_ids(_mountinfo(), socket.gethostname()):
            if (described := await self.inspect(found)) is not None:
                return described
        return None

    def _translation(self, own: Mapping[str, Any] | None) -> paths.Translation:
        if self._config.host_workspaces is not None:
            root = self._config.workspace_root
            return paths.explicit(root.resolve(), self._config.host_workspaces)
        return paths.IDENTITY if own is None else paths.inspected(own)

    def _installation(self, own: Mapping[str, Any] | None) -> str:
        """Name the gateway for good; with the run behind it where another of that name lives."""
        config = self._config
        facts = [
            paths.own_name(own) if own is not None else _machine(),
            str(config.base_dir),
            str(config.workspace_root),
            str(config.listen),
        ]
        name = config.installation or hashlib.sha256("\0".join(facts).encode()).hexdigest()[:12]
        return name if self._holds(name) else f"{name}-{self.run}"

    def _holds(self, name: str) -> bool:
        """Whether this is the only process of that name; the system lets go of it at our end."""
        if self._lock is not None:
            return True
        lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        short = hashlib.sha256(name.encode()).hexdigest()[:32]  # a socket's has room for 107
        try:
            lock.bind(f"\0mcpgw/{short}")
        except OSError:
            lock.close()
            return False
        self._lock = lock
        return True

    async def _sweep(self, installation: str) -> None:
        """Remove what runs of this gateway that are over, or starts that went wrong, have left."""
        filters = {"label": [f"{body.INSTALLATION}={installation}"]}
        found: list[DockerContainer] = await self.ask(
            self.docker.containers.list(all=True, filters=json.dumps(filters))
        )
        for container in found:
            labels = container["Labels"]
            name = str(container["Names"][0]).lstrip("/")
            if labels.get(body.RUN) == self.run and name in self.living:
                continue
            if await self.remove(container.id):
                log.warning("container.swept", instance=labels.get(body.INSTANCE), container=name)

    async def _sweep_again(self, installation: str) -> None:
        await asyncio.sleep(_SWEEP_AGAIN)
        with suppress(DockerError, EngineUnavailable):
            await self._sweep(installation)

    async def close(self) -> None:
        """Let go of the name, and of every connection."""
        if self._lock is not None:
            self._lock.close()
        if self._client is not None:
            await self._client.close()

    def _unavailable(self, why: str) -> EngineUnavailable:
        return EngineUnavailable(
            f"the container engine at {self.address.url} {why} (docker_host)",
            retry_after=_RETRY_AFTER,
        )


@asynccontextmanager
async def open_engine(
    config: Config, address: Address, run: str, *, sweeps: bool
) -> AsyncIterator[Engine]:
    """An engine, for the length of the block. It is not connected to before it is needed.

    `sweeps` says whether what earlier runs have left is ours to remove.
    """
    async with Tasks("engine") as tasks:
        engine = Engine(config, address, tasks, run, sweeps=sweeps)
        try:
            yield engine
        finally:
            await engine.close()


def _why(exc: BaseException | None) -> str:
    """Say why nothing was heard from the engine."""
    cause = getattr(exc, "os_error", exc)
    if isinstance(cause, ssl.SSLError):
        return f"does not show a certificate that docker_tls fits: {cause.reason or cause}"
    match getattr(cause, "errno", None):
        case errno.EACCES | errno.EPERM:
            return "may not be used by this user: it takes root, or membership of its group"
        case errno.ENOENT | errno.ECONNREFUSED:
            return "is not running"
        case _:
            pass
    return f"broke off: {cause or 'no answer'}"


def _mountinfo() -> str:
    try:
        return Path("/proc/self/mountinfo").read_text(errors="replace")
    except OSError:
        return ""


def _machine() -> str:
    try:
        return Path("/etc/machine-id").read_text().strip()
    except OSError:
        return f"{socket.gethostname()}:{os.getuid()}"
