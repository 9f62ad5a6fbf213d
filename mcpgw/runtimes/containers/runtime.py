"""The container runtime: one container of the tool's image per instance."""

import asyncio
import os
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import structlog

from mcpgw import aio
from mcpgw.aio import Tasks
from mcpgw.config.schema import Config, RuntimeKind, ServerSpec
from mcpgw.errors import GatewayError, ImageUnavailable, StartFailed
from mcpgw.runtimes.base import Instance, Receiver
from mcpgw.runtimes.containers import body, reaper
from mcpgw.runtimes.containers.address import find_address
from mcpgw.runtimes.containers.attach import AttachStreams
from mcpgw.runtimes.containers.container import Container, created
from mcpgw.runtimes.containers.detached import DetachedContainer
from mcpgw.runtimes.containers.engine import Engine, EngineFacts, open_engine
from mcpgw.runtimes.containers.images import Images
from mcpgw.runtimes.containers.instance import ContainerInstance
from mcpgw.runtimes.containers.paths import Source, Volume
from mcpgw.runtimes.detached import Detached
from mcpgw.runtimes.guard import Errand
from mcpgw.sandbox.environment import container_environment
from mcpgw.sandbox.workspace import INSIDE, Owner, open_below, open_workspace, seen_inside

NOBODY: Final = 65534
"""Whom a container runs as where we are root."""

_STARTS_AT_ONCE: Final = 4
"""More at once only slow each other down."""

log = structlog.get_logger()


class ContainerRuntime:
    """Makes instances out of containers; see `mcpgw.runtimes.base.Runtime`."""

    def __init__(self, config: Config, engine: Engine, images: Images, tasks: Tasks) -> None:
        self._config = config
        self._engine = engine
        self._tasks = tasks
        self._started: Counter[str] = Counter()
        self._starts = asyncio.Semaphore(_STARTS_AT_ONCE)
        self.images: Final = images
        """The images of all tools."""

    @property
    def engine(self) -> Engine:
        """What runs the containers."""
        return self._engine

    @asynccontextmanager
    async def start(self, spec: ServerSpec, receiver: Receiver) -> AsyncIterator[Instance]:
        """See `Runtime.start`."""
        async with self.create(spec) as (container, label):
            async with self._starts:
                attachment = await container.attach()
                instance = ContainerInstance(container, spec, receiver, label, self._tasks)
                streams = AttachStreams(instance.hooks, attachment.close)
                streams.take_over(attachment.transport)
                instance.begin(streams)
                try:
                    await container.start()
                except BaseException:
                    instance.abandon()
                    raise
            log.debug(
                "instance.started", server=spec.name, instance=label, container=container.name
            )
            try:
                yield instance
            finally:
                await aio.unhurried(instance.stop(), name=f"stop:{label}")

    @asynccontextmanager
    async def start_detached(self, spec: ServerSpec) -> AsyncIterator[Detached]:
        """See `DetachedRuntime.start_detached`."""
        async with self.create(spec) as (container, label):
            async with self._starts:
                attachment = await container.attach()
                connection = attachment.detach()
                attachment.close()
                try:
                    await container.start()
                except BaseException:
                    connection.close()
                    raise
            instance = DetachedContainer(container, label, connection.detach(), self._tasks)
            try:
                yield instance
            finally:
                await aio.unhurried(instance.stop(), name=f"stop:{label}")

    @asynccontextmanager
    async def create(self, spec: ServerSpec) -> AsyncIterator[tuple[Container, str]]:
        """A container of the tool that is neither attached nor started, and its label.

        Raises:
            StartFailed: It cannot be made.
        """
        self._started[spec.name] += 1
        number = self._started[spec.name]
        label = f"{spec.name}#{number}"
        facts = await self._engine.facts()
        await self.images.ensure(spec)
        name = f"mcpgw-{spec.name}-{self._engine.run}-{number}"
        request = self._body(spec, label, facts)
        try:
            async with created(self._engine, spec, name, request) as container:
                yield container, label
        except ImageUnavailable:
            self.images.forget(spec.image or "")
            raise

    async def prepare(self) -> None:
        """Have every image there before somebody needs it. What fails is tried again then."""
        for spec in self._config.tools.values():
            if spec.runtime is RuntimeKind.CONTAINER:
                try:
                    await self._engine.facts()
                    await self.images.ensure(spec)
                except GatewayError as exc:
                    log.warning("server.doubted", server=spec.name, reason=str(exc))

    async def workspace_source(self, spec: ServerSpec) -> Source | None:
        """Give what the workspace of `spec` is for the engine, which is made if it is not there.

        Raises:
            StartFailed: There is none, or the engine cannot see it.
        """
        facts = await self._engine.facts()
        workspace = open_workspace(self._config, spec, _owner(user_of(spec)))
        return None if workspace is None else facts.translation.source(workspace)

    def _body(self, spec: ServerSpec, label: str, facts: EngineFacts) -> dict[str, object]:
        user = user_of(spec)
        environment = container_environment(spec, os.environ, base_dir=self._config.base_dir)
        wanted = body.Wanted(
            user=user,
            args=tuple(seen_inside(self._config, spec, word) for word in spec.args),
            environment={
                name: seen_inside(self._config, spec, value) for name, value in environment.items()
            },
            labels={
                body.INSTALLATION: facts.installation,
                body.RUN: self._engine.run,
                body.SERVER: spec.name,
                body.INSTANCE: label,
            },
            places=tuple(self._places(spec, facts, _owner(user))),
            api=facts.api,
        )
        try:
            return body.create_body(spec, wanted)
        except body.NoSubpath as exc:
            raise StartFailed(
                f"{spec.name}: this engine cannot mount one folder of the volume {exc}; that takes "
                "Docker 26 or newer, or workspaces in a folder of the host"
            ) from None

    def _places(
        self, spec: ServerSpec, facts: EngineFacts, owner: Owner | None
    ) -> list[body.Place]:
        places = []
        workspace = open_workspace(self._config, spec, owner)
        if workspace is not None:
            places.append(body.Place(facts.translation.source(workspace), INSIDE))
        for mount in spec.mounts:
            if mount.volume is not None:
                source: Source = Volume(mount.volume)
            else:
                assert workspace is not None and mount.path is not None
                source = facts.translation.source(open_below(spec, workspace, mount.path, owner))
            places.append(body.Place(source, mount.target, mount.read_only))
        return places


def user_of(spec: ServerSpec) -> str:
    """Give whom a container of `spec` runs as."""
    if spec.user is not None:
        return spec.user
    if os.getuid() == 0:
        return f"{NOBODY}:{NOBODY}"
    return f"{os.getuid()}:{os.getgid()}"


def _owner(user: str) -> Owner | None:
    uid, _, gid = user.partition(":")
    if not uid.isdecimal():
        return None  # only its image knows who that is
    return Owner(int(uid), int(gid) if gid.isdecimal() else int(uid))


def new_run() -> str:
    """Give what will tell this process's containers from those of any other."""
    return secrets.token_hex(4)


def reaping(config: Config, run: str) -> Errand:
    """Give what the guard has to do about the containers of a run that was killed."""
    address = find_address(config, os.environ)
    tls = None if address.tls is None else address.tls.model_dump(mode="json")
    settings = {"url": address.url, "tls": tls, "label": f"{body.RUN}={run}"}
    return Errand(reaper, reaper.remove_containers.__name__, settings)


@asynccontextmanager
async def open_containers(
    config: Config, run: str, *, only_look: bool = False
) -> AsyncIterator[ContainerRuntime]:
    """The container runtime, for the length of the block; leave it after every instance.

    The engine need not be there yet: it is looked for at the first need, and the images pulled
    meanwhile. With `only_look` none are, and nothing that others have left is removed.
    """
    address = find_address(config, os.environ)
    async with (
        open_engine(config, address, run, sweeps=not only_look) as engine,
        Tasks("containers") as tasks,
    ):
        runtime = ContainerRuntime(config, engine, Images(engine, tasks), tasks)
        if not only_look and any(s.runtime is RuntimeKind.CONTAINER for s in config.tools.values()):
            _ = tasks.start(runtime.prepare(), name="prepare")
        yield runtime
