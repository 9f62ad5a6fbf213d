"""Makes instances ready: finds out the era of a server, and performs its handshake.

The first message an instance sees decides its era for good: either an enveloped
request or one `initialize`, never both. So a probe that turns out legacy is thrown
away and a fresh instance is initialised.

Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/stdio
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import structlog

from mcpgw.config.schema import ProtocolChoice, ServerSpec
from mcpgw.errors import DeadlineExceeded, ServerFailed, StartFailed
from mcpgw.lifecycle.calls import OnNotification, Patience
from mcpgw.lifecycle.capsets import PLAIN, Capset
from mcpgw.lifecycle.link import ServerLink, open_link
from mcpgw.protocol.handshake import (
    HandshakeFailed,
    ServerFacts,
    Verdict,
    discover,
    initialize,
    is_modern_refusal,
    judge_probe,
    read_discover,
    read_initialize,
)
from mcpgw.protocol.messages import Outcome
from mcpgw.protocol.methods import INITIALIZED
from mcpgw.protocol.revisions import Era
from mcpgw.runtimes.base import Runtime
from mcpgw.units import Seconds

log = structlog.get_logger(__name__)

LEGACY_VERDICT_LIFE: Final = Seconds(3600)
"""An upgraded server still answers `initialize`, so nothing else would correct this verdict."""

GUESS_LIFE: Final = Seconds(600)
"""A server that was silent may only have been slow to start, one that exited unlucky."""

_Evidence: TypeAlias = Literal["proved", "silent", "exited"]
"""What a server did to be taken for one of an era."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What is believed about a server's era, and until when (loop clock)."""

    era: Era
    until: float


class _WrongEra(Exception):
    """The verdict is wrong: the instance refused the handshake of that era."""


class ServerOpener:
    """Starts ready instances of one server, remembering what kind of server it is."""

    def __init__(self, spec: ServerSpec, runtime: Runtime) -> None:
        self._spec = spec
        self._runtime = runtime
        self._probing = asyncio.Lock()
        self._known: _Known | None = None
        self._links: set[ServerLink] = set()
        self._facts: dict[Capset, ServerFacts] = {}
        self.facts: ServerFacts | None = None
        """What the newest ready instance said about itself."""
        self.on_ready: Callable[[ServerLink], None] | None = None
        """Who hears of every instance that is ready."""
        self.on_notification: OnNotification | None = None
        """Who hears the instances' notifications that name no request."""

    def facts_for(self, capset: Capset) -> ServerFacts | None:
        """What such an instance said about itself, as far as one did."""
        modern = self.facts is not None and self.facts.era is Era.MODERN
        return self.facts if modern else self._facts.get(capset)

    @asynccontextmanager
    async def open(self, capset: Capset = PLAIN) -> AsyncIterator[ServerLink]:
        """A ready instance, for the length of the block; a legacy one is told of `capset`.

        Raises:
            StartFailed: On entry, when nothing is left running.
        """
        async with AsyncExitStack() as stack:
            started = time.monotonic()
            try:
                link = await self._open_ready(stack, capset)
            except StartFailed:
                self._known = None  # the wrong verdict may be why
                raise
            self.facts = link.facts
            if link.facts is not None:
                self._facts[capset] = link.facts
            link.on_notification = self.on_notification
            log.info(
                "instance.ready",
                server=self._spec.name,
                instance=link.label,
                era=self.facts.era.value if self.facts is not None else None,
                duration_s=round(time.monotonic() - started, 3),
            )
            self._links.add(link)
            if self.on_ready is not None:
                self.on_ready(link)
            try:
                yield link
            finally:
                self._links.discard(link)

    def abandon(self) -> None:
        """Tell whoever still waits for an instance's answer that none will come."""
        for link in self._links:
            link.abandon()

    async def _open_ready(self, stack: AsyncExitStack, capset: Capset) -> ServerLink:
        era = self._era()
        if era is None:
            async with self._probing:  # one probe at a time; the others profit from its verdict
                if (era := self._era()) is None:
                    if (link := await self._probe(stack)) is not None:
                        return link
                    era = Era.LEGACY
        try:
            return await self._open_as(era, stack, capset)
        except _WrongEra:
            other = Era.LEGACY if era is Era.MODERN else Era.MODERN
            if self._spec.protocol is not ProtocolChoice.AUTO:
                raise StartFailed(
                    f"{self._spec.name!r} does not speak the {era.value} protocol that "
                    f"`protocol: {era.value}` pins it to"
                ) from None
            self._learn(other, "proved")
        try:
            return await self._open_as(other, stack, capset)
        except _WrongEra as exc:
            raise StartFailed(f"{self._spec.name!r} refused both handshakes: {exc}") from None

    def _era(self) -> Era | None:
        if self._spec.protocol is not ProtocolChoice.AUTO:
            return Era(self._spec.protocol.value)
        if self._known is None or self._known.until < asyncio.get_running_loop().time():
            return None
        return self._known.era

    def _learn(self, era: Era, how: _Evidence) -> None:
        life = LEGACY_VERDICT_LIFE if how == "proved" else GUESS_LIFE
        if era is Era.MODERN:
            life = Seconds(float("inf"))  # every instance is asked again, so it corrects itself
        self._known = _Known(era, asyncio.get_running_loop().time() + life)
        log.info("server.detected", server=self._spec.name, era=era.value, how=how)

    async def _probe(self, stack: AsyncExitStack) -> ServerLink | None:
        """Ask an instance what it is. A modern one is ready; any other one is thrown away."""
        async with AsyncExitStack() as attempt:
            link = await attempt.enter_async_context(open_link(self._spec, self._runtime))
            patience = self._patience(self._spec.timeouts.probe)
            how: _Evidence = "proved"
            try:
                outcome = await link.call(discover(), patience)
            except DeadlineExceeded:
                verdict, how = Verdict.LEGACY, "silent"
            except ServerFailed:  # some legacy servers exit on what they do not know
                verdict, how = Verdict.LEGACY, "exited"
            else:
                verdict = judge_probe(outcome)
                if verdict is Verdict.MODERN:
                    self._learn(Era.MODERN, how)
                    link.facts = self._read(read_discover, outcome)
                    stack.push_async_exit(attempt.pop_all())
                    return link
        self._learn(Era.LEGACY, how)
        return None

    async def _open_as(self, era: Era, stack: AsyncExitStack, capset: Capset) -> ServerLink:
        async with AsyncExitStack() as attempt:
            link = await attempt.enter_async_context(open_link(self._spec, self._runtime))
            modern = era is Era.MODERN
            try:
                link.facts = await (
                    self._discover(link) if modern else self._initialize(link, capset)
                )
            except ServerFailed as exc:
                raise StartFailed(str(exc), stderr=exc.stderr) from None
            except DeadlineExceeded as exc:
                raise StartFailed(f"{exc} (timeouts.start)") from None
            stack.push_async_exit(attempt.pop_all())
            return link

    async def _discover(self, link: ServerLink) -> ServerFacts:
        outcome = await link.call(discover(), self._patience(self._spec.timeouts.start))
        if judge_probe(outcome) is Verdict.LEGACY:
            raise _WrongEra("server/discover was answered as by a legacy server")
        return self._read(read_discover, outcome)

    async def _initialize(self, link: ServerLink, capset: Capset) -> ServerFacts:
        request = initialize(capset.capabilities)
        outcome = await link.call(request, self._patience(self._spec.timeouts.start))
        if is_modern_refusal(outcome):
            raise _WrongEra("initialize was answered with an unsupported-version error")
        facts = self._read(read_initialize, outcome)
        link.may_ask = not capset.is_plain
        link.notify(INITIALIZED)
        return facts

    def _read(self, reader: Callable[[Outcome], ServerFacts], outcome: Outcome) -> ServerFacts:
        try:
            return reader(outcome)
        except HandshakeFailed as exc:
            raise StartFailed(f"{self._spec.name!r} cannot be used: {exc}") from None

    def _patience(self, wait: Seconds) -> Patience:
        return Patience(wait, wait)
