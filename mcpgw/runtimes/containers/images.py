"""Images: looked for, and pulled once for everybody who waits.

A pull may take minutes, so no call's deadline covers it: whoever waits longer than a
start may take is told how far it is, and the pull goes on.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import structlog
from aiodocker import DockerError

from mcpgw.aio import Tasks
from mcpgw.config.schema import ServerSpec
from mcpgw.errors import EngineUnavailable, ImageUnavailable, StartFailed
from mcpgw.runtimes.containers.engine import Engine
from mcpgw.units import MIB, Seconds

_TELL_EVERY: Final = Seconds(10)
_RETRY_PENDING: Final = Seconds(10)
_RETRY_FAILED: Final = Seconds(15)
"""How long a pull that failed is not tried again."""

_STALLED: Final = Seconds(300)
"""How long a pull may go without any news before it counts as failed."""

log = structlog.get_logger()


class Pull:
    """One pull: how far it is."""

    def __init__(self, image: str) -> None:
        self.image: Final = image
        self._layers: dict[str, tuple[int, int]] = {}

    def take(self, news: Mapping[str, Any]) -> None:
        """Take what the engine says."""
        detail = news.get("progressDetail") or {}
        if news.get("status") == "Downloading" and detail.get("total"):
            self._layers[str(news.get("id"))] = (int(detail["current"]), int(detail["total"]))
        elif news.get("status") == "Download complete" and news.get("id") in self._layers:
            total = self._layers[news["id"]][1]
            self._layers[news["id"]] = (total, total)

    def __str__(self) -> str:
        done = sum(current for current, _ in self._layers.values())
        total = sum(total for _, total in self._layers.values())
        return f"{done / MIB:.0f} of {total / MIB:.0f} MiB so far" if total else "just begun"


class Images:
    """The images of all tools; `tasks` owns the pulls."""

    def __init__(self, engine: Engine, tasks: Tasks) -> None:
        self._engine = engine
        self._tasks = tasks
        self._present: set[str] = set()
        self._pulling: dict[str, asyncio.Task[ImageUnavailable | None]] = {}
        self._failed: dict[str, tuple[float, ImageUnavailable]] = {}
        self._renewed: set[str] = set()
        self.pulls: Final[dict[str, Pull]] = {}
        """What is being pulled."""

    async def ensure(self, spec: ServerSpec) -> None:
        """Wait until the image of `spec` is there, for no longer than a start may take.

        Raises:
            ImageUnavailable: It is not; the message says why, or how far it is.
            EngineUnavailable: The engine does not answer.
        """
        image = spec.image or ""
        renew = spec.pull == "always" and image not in self._renewed
        if image in self._present and not renew:
            return
        if not renew and await self.has(image):
            self._present.add(image)
        elif spec.pull == "never":
            raise ImageUnavailable(
                f"{spec.name}: the engine does not have the image {image}, and pull is never; "
                f"run: docker pull {image}"
            )
        else:
            await self._pulled(spec, image)

    def forget(self, image: str) -> None:
        """Have it looked for again: somebody removed it."""
        self._present.discard(image)

    async def has(self, image: str) -> bool:
        """Whether the engine has an image.

        Raises:
            ImageUnavailable: There can be none of that name.
        """
        try:
            await self._engine.ask(self._engine.docker.images.inspect(image))
        except DockerError as exc:
            if exc.status == 404:
                return False
            raise ImageUnavailable(f"the image {image!r} cannot be used: {exc.message}") from None
        return True

    async def _pulled(self, spec: ServerSpec, image: str) -> None:
        loop = asyncio.get_running_loop()
        until, failure = self._failed.get(image, (0.0, None))
        if failure is not None and loop.time() < until:
            raise ImageUnavailable(
                f"{spec.name}: {failure}", retry_after=Seconds(until - loop.time())
            )
        if (task := self._pulling.get(image)) is None:
            self.pulls[image] = Pull(image)
            task = self._tasks.start(self._pull(image), name=f"pull:{image}")
            self._pulling[image] = task
        await asyncio.wait([task], timeout=spec.timeouts.start)
        if not task.done():
            raise ImageUnavailable(
                f"{spec.name}: the image {image} is still being pulled: {self.pulls[image]}",
                retry_after=_RETRY_PENDING,
            )
        failure = ImageUnavailable("the gateway stops") if task.cancelled() else task.result()
        if failure is not None:
            raise ImageUnavailable(f"{spec.name}: {failure}", retry_after=_RETRY_FAILED)

    async def _pull(self, image: str) -> ImageUnavailable | None:
        loop = asyncio.get_running_loop()
        pull = self.pulls[image]
        begun = loop.time()
        log.info("image.pulling", image=image)
        try:
            await self._follow(pull)
        except (DockerError, EngineUnavailable, StartFailed) as exc:
            failure = ImageUnavailable(f"the image {image} cannot be pulled: {explain_pull(exc)}")
            self._failed[image] = (loop.time() + _RETRY_FAILED, failure)
            log.warning("image.failed", image=image, reason=str(failure))
            return failure
        finally:
            del self.pulls[image], self._pulling[image]
        self._present.add(image)
        self._renewed.add(image)
        log.info("image.pulled", image=image, duration_s=round(loop.time() - begun, 1))
        return None

    async def _follow(self, pull: Pull) -> None:
        loop = asyncio.get_running_loop()
        told = loop.time()
        news: AsyncIterator[Mapping[str, Any]] = aiter(
            self._engine.docker.images.pull(pull.image, stream=True)
        )
        while True:
            try:
                item = await self._engine.ask(anext(news), within=_STALLED)
            except StopAsyncIteration:
                return
            if "error" in item:
                raise ImageUnavailable(str(item["error"]))
            pull.take(item)
            if loop.time() - told >= _TELL_EVERY:
                told = loop.time()
                log.info("image.pulling", image=pull.image, progress=str(pull))


def explain_pull(exc: Exception) -> str:
    """Say in plain words why a pull failed, the registry's own words behind them."""
    said = exc.message if isinstance(exc, DockerError) else str(exc)
    lower = said.lower()
    for signs, words in _SIGNS:
        if any(sign in lower for sign in signs):
            return f"{words} ({said})"
    return said


_SIGNS: Final = (
    (
        ("denied", "unauthorized", "authentication required", "no basic auth"),
        "there is no such image, or its registry wants a login; pull it by hand where the "
        "engine runs",
    ),
    (("not found", "manifest unknown", "does not exist"), "there is no such image or tag"),
    (("toomanyrequests", "rate limit"), "the registry serves no more for now"),
    (
        (
            "no such host",
            "i/o timeout",
            "connection refused",
            "dial tcp",
            "timeout exceeded",
            "network is unreachable",
            "tls handshake",
            "server misbehaving",
        ),
        "the registry cannot be reached from where the engine runs",
    ),
    (("no matching manifest",), "the image is not made for this kind of processor"),
    (("no space left",), "the engine's disk is full"),
)
