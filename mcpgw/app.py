"""The composition root. The nesting below is the architecture, inside out."""

import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import structlog

from mcpgw import __version__, aio
from mcpgw.access.gate import open_gate
from mcpgw.config.schema import Config, Runner, RuntimeKind
from mcpgw.edge.app import LAST_WORDS, Listener, build_app, listening
from mcpgw.edge.context import Context, QuietReplies
from mcpgw.edge.origin import policy_for
from mcpgw.edge.resuming import Replays
from mcpgw.gateway.fleet import open_fleet
from mcpgw.gateway.sessions import open_sessions
from mcpgw.runtimes.base import Runtime
from mcpgw.runtimes.containers.runtime import new_run, open_containers, reaping
from mcpgw.runtimes.guard import open_guard
from mcpgw.runtimes.native import NativeRuntime
from mcpgw.runtimes.remote import RunnerRuntime
from mcpgw.sandbox.doubts import doubts

log = structlog.get_logger(__name__)

Ready = Callable[[Listener], None]


async def serve(config: Config, stop: asyncio.Event, ready: Ready | None = None) -> None:
    """Run the gateway until `stop` is set; `ready` hears where it listens.

    Shutdown is the nesting read backwards: no new connections, exchanges end, sessions
    end, instances stop.

    Raises:
        ConfigError: A key cannot be read.
        OSError: The address cannot be bound.
    """
    gate = open_gate(config, os.environ)  # before anything starts: a key may be missing
    async with (
        open_runtimes(config) as runtimes,
        open_fleet(config, runtimes) as fleet,
        open_sessions(
            limit=config.limits.sessions,
            in_flight=config.limits.in_flight_per_session,
            idle=config.session_idle,
        ) as sessions,
        aio.Tasks("edge") as tasks,
    ):
        context = Context(
            config,
            fleet,
            sessions,
            tasks,
            policy_for(config),
            gate,
            QuietReplies(config.keep_alive),
            Replays(config.limits, config.resume_window),
        )
        app = build_app(context)
        async with listening(app, config.listen.host, config.listen.port) as listener:
            _announce(config, listener)
            if ready is not None:
                ready(listener)
            await stop.wait()
            await _drain(context, listener)
    log.info("gateway.stopped")


@asynccontextmanager
async def open_runtimes(config: Config) -> AsyncIterator[Mapping[RuntimeKind, Runtime]]:
    """What makes the instances, for the length of the block, and leaves nothing of them."""
    contained = any(spec.runtime is RuntimeKind.CONTAINER for spec in config.tools.values())
    has_engine = contained and config.runner is None
    run = new_run()
    async with (
        open_guard(*([reaping(config, run)] if has_engine else [])),
        AsyncExitStack() as stack,
    ):
        runtimes: dict[RuntimeKind, Runtime] = {RuntimeKind.NATIVE: NativeRuntime(config)}
        if config.runner is not None:
            runtimes |= _at_runners(config.runner)
        elif has_engine:
            opening = open_containers(config, run)
            runtimes[RuntimeKind.CONTAINER] = await stack.enter_async_context(opening)
        yield runtimes


def _at_runners(settings: Runner) -> dict[RuntimeKind, Runtime]:
    """What other processes make."""
    runtimes: dict[RuntimeKind, Runtime] = {RuntimeKind.CONTAINER: RunnerRuntime(settings.socket)}
    if settings.native:
        runtimes[RuntimeKind.NATIVE] = RunnerRuntime(settings.native_socket)
    return runtimes


def _announce(config: Config, listener: Listener) -> None:
    for spec in config.tools.values():
        for reason in doubts(config, spec):
            log.warning("server.doubted", server=spec.name, reason=reason)
    log.info(
        "gateway.started",
        version=__version__,
        url=listener.url,
        port=listener.port,
        tools=list(config.tools),
    )


async def _drain(context: Context, listener: Listener) -> None:
    """Take nothing new, let what is in flight end, and tell whoever still waits."""
    grace = context.config.shutdown_grace
    log.info("gateway.stopping", grace_s=grace)
    await listener.close()
    for outbox in tuple(context.streams):
        outbox.close()
    for ended in tuple(context.listens):
        ended.set()
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(context.fleet.drain(grace))
            group.create_task(context.sessions.drain(grace))
    finally:  # a second signal cuts the grace short; who waits is told all the same
        context.fleet.abandon()
    await context.sessions.drain(LAST_WORDS)


def run(config: Config) -> int:
    """Run the gateway until SIGTERM or SIGINT; a second signal cuts the grace short."""
    return run_until_signalled(lambda stop: serve(config, stop))


def run_until_signalled(serve: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> int:
    """Run `serve` until SIGTERM or SIGINT set its event; a second signal cancels it."""
    _calm_collector()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_until_signalled(serve))


async def _until_signalled(serve: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None

    def signalled(signum: int) -> None:
        if stop.is_set():
            task.cancel()
        stop.set()

    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, signalled, signum)
    try:
        await serve(stop)
    except asyncio.CancelledError:
        log.warning("gateway.stopped", reason="a second signal cut the grace short")
        return 1
    return 0


def _calm_collector() -> None:
    """Collect garbage a tenth as often: a request makes hundreds of objects and no cycles."""
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Make uvloop's loop where there is one: a message's way through a pipe costs a third less."""
    try:
        import uvloop
    except ImportError:  # no wheels for Windows
        return None
    return uvloop.new_event_loop
