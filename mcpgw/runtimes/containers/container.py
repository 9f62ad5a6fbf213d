"""One container, from its creation to its removal."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import structlog
from aiodocker import DockerError

from mcpgw import aio
from mcpgw.config.schema import ServerSpec
from mcpgw.config.units import format_size
from mcpgw.errors import EngineUnavailable, ImageUnavailable, StartFailed
from mcpgw.runtimes.containers.attach import Attachment
from mcpgw.runtimes.containers.engine import Engine
from mcpgw.runtimes.detached import End
from mcpgw.runtimes.exits import describe
from mcpgw.units import Seconds

_END: Final = Seconds(1.5)
"""How long a container whose streams have ended may take to be over."""

_KILL: Final = Seconds(5)
_REMOVE: Final = Seconds(5)
_FIRST_SIGNAL: Final = 128
_LAST_SIGNAL: Final = 192

log = structlog.get_logger()


class Container:
    """A container that was created; see `created`."""

    def __init__(self, engine: Engine, spec: ServerSpec, name: str, docker: Any) -> None:
        self._engine = engine
        self._spec = spec
        self._docker = docker
        self.name: Final = name
        """What the engine knows it by."""

    async def attach(self) -> Attachment:
        """Open its streams; once, and before `start`.

        Raises:
            StartFailed: The engine refuses; Podman prepares the container only now.
            EngineUnavailable: The engine does not answer.
        """
        try:
            return await self._engine.ask(Attachment.open(self._docker))
        except DockerError as exc:
            raise StartFailed(f"{self._spec.name}: {explain_start(exc)}") from None

    async def start(self) -> None:
        """Start its program.

        Raises:
            StartFailed: It cannot be run.
            EngineUnavailable: The engine does not answer.
        """
        try:
            await self._engine.ask(self._docker.start())
        except DockerError as exc:
            raise StartFailed(f"{self._spec.name}: {explain_start(exc)}") from None

    async def end(self) -> End | None:
        """Learn how it ended; None if it goes on."""
        try:
            async with asyncio.timeout(_END):
                return await self._how_it_ended()
        except TimeoutError:
            return None
        except EngineUnavailable:
            return "was lost: the container engine went away", None
        except DockerError as exc:
            gone = exc.status == 404
            return ("was removed by somebody else" if gone else f"was lost: {exc.message}"), None

    async def over_within(self, patience: Seconds) -> bool:
        """Wait until it is over, or the engine cannot tell; whether that came in time."""
        try:
            async with asyncio.timeout(patience):
                await self._engine.ask(self._docker.wait(), within=Seconds(patience + 1))
        except TimeoutError:
            return False
        except (DockerError, EngineUnavailable):
            pass
        return True

    async def stop(self, label: str, ended_within: Callable[[Seconds], Awaitable[bool]]) -> None:
        """See it end, whose stdin was closed: by itself, else by SIGTERM, else by SIGKILL.

        That takes no longer than the tool's timeouts and some seconds. It is still to be removed,
        which ends whatever is left in it.
        """
        timeouts = self._spec.timeouts
        if await ended_within(timeouts.stop):
            return
        facts = {"server": self._spec.name, "instance": label, "container": self.name}
        for signal, patience in (("SIGTERM", timeouts.term), ("SIGKILL", _KILL)):
            await self.signal(signal)
            if await ended_within(patience):
                log.warning("instance.killed", **facts, signal=signal)
                return
        log.error("instance.survived", **facts)

    async def signal(self, name: str) -> None:
        """Send it a signal; nothing happens if it is over, or the engine does not answer."""
        with suppress(DockerError, EngineUnavailable):
            await self._engine.ask(self._docker.kill(signal=name), within=_REMOVE)

    async def _how_it_ended(self) -> End:
        result = await self._engine.ask(self._docker.wait())
        state = (await self._engine.ask(self._docker.show()))["State"]
        code = int(result["StatusCode"])
        if code and state.get("OOMKilled"):
            return f"ran out of memory (memory: {format_size(self._spec.memory)})", code
        if _FIRST_SIGNAL < code < _LAST_SIGNAL:  # as its init says it, and shells
            code = _FIRST_SIGNAL - code
        return describe(code), code


@asynccontextmanager
async def created(
    engine: Engine, spec: ServerSpec, name: str, body: dict[str, Any]
) -> AsyncIterator[Container]:
    """A container, for the length of the block; leaving removes it, whatever state it is in.

    Raises:
        StartFailed: It cannot be created.
        ImageUnavailable: Its image was there, and is not any more.
        EngineUnavailable: The engine does not answer.
    """
    engine.living.add(name)
    try:
        docker = await engine.ask(engine.docker.containers.create(body, name=name))
        yield Container(engine, spec, name, docker)
    except DockerError as exc:
        kind = ImageUnavailable if _lacks_image(exc) else StartFailed
        raise kind(f"{spec.name}: {explain_create(spec, exc)}") from None
    finally:
        # By its name: a creation that was broken off may have been completed all the same.
        await aio.unhurried(engine.remove(name, within=_REMOVE), name=f"remove:{name}")
        engine.living.discard(name)


def explain_create(spec: ServerSpec, exc: DockerError) -> str:
    """Say why the engine would not create a container, and what to do."""
    said = exc.message
    if _lacks_image(exc):
        return f"the engine no longer has the image {spec.image}"
    if "bind source path does not exist" in said or "not shared from the host" in said:
        return (
            f"the engine does not see the workspace: {said}; if it runs on another machine, or "
            "the gateway in a container, set host_workspaces"
        )
    if "unknown or invalid runtime" in said.lower() or "unknown runtime" in said.lower():
        return f"the engine has no runtime {spec.oci_runtime!r} (oci_runtime)"
    if "container-init binary not found" in said:
        return f"Podman needs an init for containers: install catatonit where it runs ({said})"
    return f"the engine refuses to create its container: {said}"


def _lacks_image(exc: DockerError) -> bool:
    return exc.status == 404 and "no such image" in exc.message.lower()


def explain_start(exc: DockerError) -> str:
    """Say why a created container does not start."""
    said = exc.message
    lower = said.lower()
    if "executable file not found" in lower or "no such file or directory" in lower:
        return f"the program is not in its image; see entrypoint and args: {said}"
    if "permission denied" in lower:
        return f"its program may not be run by its user; see user: {said}"
    if "unable to find user" in lower or "no matching entries in passwd" in lower:
        return f"its image does not know that user; use numbers, as in 1000:1000: {said}"
    if "network" in lower and "not found" in lower:
        return f"the engine has no such network; see network: {said}"
    return f"its container does not start: {said}"
