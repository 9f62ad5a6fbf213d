"""The native runtime: one local process per instance."""

import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from mcpgw import aio
from mcpgw.config.schema import Config, ServerSpec
from mcpgw.runtimes import orphans
from mcpgw.runtimes.base import Instance, Receiver
from mcpgw.runtimes.detached import Detached
from mcpgw.runtimes.process import DetachedProcess, NativeInstance
from mcpgw.runtimes.spawn import Program, spawn
from mcpgw.runtimes.stopping import stop
from mcpgw.sandbox.environment import child_environment, find_command

_log = structlog.get_logger()


class NativeRuntime:
    """Makes instances out of local processes; see `mcpgw.runtimes.base.Runtime`.

    Enter `mcpgw.runtimes.guard.open_guard` first: this class leaves nothing behind while
    the gateway lives, the guard does when the gateway is killed.
    """

    def __init__(self, config: Config) -> None:
        self._tools_root = config.tools_root
        self._base_dir = config.base_dir
        self._started: Counter[str] = Counter()
        self._reaping = orphans.Reaping()

    @asynccontextmanager
    async def start(self, spec: ServerSpec, receiver: Receiver) -> AsyncIterator[Instance]:
        """See `Runtime.start`."""
        self._started[spec.name] += 1
        label = f"{spec.name}#{self._started[spec.name]}"
        with self._reaping:
            instance = self._spawn(spec, label, receiver)
            try:
                yield instance
            finally:
                await aio.unhurried(stop(instance, spec.timeouts), name=f"stop:{label}")

    @asynccontextmanager
    async def start_detached(self, spec: ServerSpec) -> AsyncIterator[Detached]:
        """See `DetachedRuntime.start_detached`."""
        self._started[spec.name] += 1
        label = f"{spec.name}#{self._started[spec.name]}"
        with self._reaping:
            spawned = spawn(self._program(spec, label))
            process = DetachedProcess(spawned, spec, label)
            try:
                yield process
            finally:
                await aio.unhurried(process.stop(), name=f"stop:{label}")

    def _spawn(self, spec: ServerSpec, label: str, receiver: Receiver) -> NativeInstance:
        spawned = spawn(self._program(spec, label))
        instance = NativeInstance(spawned, spec, receiver, label)
        _log.debug("instance.started", server=spec.name, instance=label, pid=instance.pid)
        return instance

    def _program(self, spec: ServerSpec, label: str) -> Program:
        own = os.environ
        found = find_command(spec, tools_root=self._tools_root, base_dir=self._base_dir, own=own)
        command = (*found, *spec.args)
        environment = {**child_environment(spec, own), **orphans.environment_marks(label)}
        cwd = self._base_dir / (spec.cwd or "")
        return Program(spec.name, command, environment, cwd)
