"""No container outlives its gateway, however that ends."""

import asyncio
import json
import os
import secrets
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mcpgw.config.schema import Config
from mcpgw.runtimes.containers.runtime import open_containers
from tests.containers.conftest import Box, eventually, opened_box
from tests.runtimes.conftest import Recorder
from tests.testbed.engine import Engine
from tests.testbed.gateway import Gateway, running_gateway
from tests.testbed.images import BUSYBOX, Image

pytestmark = pytest.mark.docker

DEAF = "trap '' TERM; while :; do sleep 1000 & wait $!; done"
"""Obeys neither the end of its stdin nor SIGTERM."""

SERVER = "tools: {{fx: {{runtime: container, mode: daemon, daemon: {{min: 1}}, {rest}}}}}\n"


def config_of(engine: Engine, rest: str, **settings: str) -> str:
    top = {"docker_host": engine.host, "installation": f"t-{secrets.token_hex(4)}", **settings}
    lines = [f"{name}: {json.dumps(value)}" for name, value in top.items()]
    return "\n".join([*lines, SERVER.format(rest=rest)])


def installation_of(config: str) -> str:
    found: str = json.loads(config.partition("installation: ")[2].partition("\n")[0])
    return found


def deaf(image: Callable[[Image], str]) -> str:
    entry = json.dumps(["sh", "-c", DEAF])
    quick = "timeouts: {stop: 300ms, term: 300ms, probe: 60s}"
    return f"image: {json.dumps(image(BUSYBOX))}, entrypoint: {entry}, {quick}"


async def test_a_gateway_that_stops_removes_even_what_does_not_obey(
    engine: Engine, image: Callable[[Image], str], gateway: Callable[..., Gateway]
) -> None:
    config = config_of(engine, deaf(image))
    running = gateway(config)
    await eventually(lambda: engine.containers(installation=installation_of(config)))
    await asyncio.to_thread(running.stop)
    assert engine.containers(installation=installation_of(config)) == []


def killed(engine: Engine, config: str, *, with_guard: bool) -> None:
    """Run a gateway until a container runs, and kill it; the guard first, if it is to go too."""
    with pytest.raises(AssertionError), running_gateway(config) as running:
        running.wait_for(lambda entry: entry.get("event") == "engine.found")
        until = time.monotonic() + 10
        while "running" not in _states(engine, config):
            assert time.monotonic() < until
        if not with_guard:
            for pid in _children(running.process.pid):
                os.kill(pid, signal.SIGKILL)
        running.process.kill()
        running.process.wait()


def _states(engine: Engine, config: str) -> list[str]:
    found = engine.containers(installation=installation_of(config))
    return [container["State"] for container in found]


async def test_the_guard_of_a_killed_gateway_removes_even_what_does_not_obey(
    engine: Engine, image: Callable[[Image], str]
) -> None:
    config = config_of(engine, deaf(image))
    await asyncio.to_thread(killed, engine, config, with_guard=True)
    await eventually(lambda: _states(engine, config) == [], within=5)


async def test_what_obeys_ends_with_its_gateway_even_without_a_guard(
    engine: Engine, image: Callable[[Image], str]
) -> None:
    config = config_of(engine, f"image: {json.dumps(image(BUSYBOX))}, timeouts: {{probe: 60s}}")
    await asyncio.to_thread(killed, engine, config, with_guard=False)
    await eventually(lambda: _states(engine, config) in ([], ["exited"]), within=5)
    await swept_at_the_next_start(engine, config)


async def test_what_does_not_obey_goes_at_the_next_start_at_the_latest(
    engine: Engine, image: Callable[[Image], str]
) -> None:
    config = config_of(engine, deaf(image))
    await asyncio.to_thread(killed, engine, config, with_guard=False)
    assert _states(engine, config) == ["running"]
    await swept_at_the_next_start(engine, config)


async def swept_at_the_next_start(engine: Engine, config: str) -> None:
    settings = Config(docker_host=engine.host, installation=installation_of(config))
    async with open_containers(settings, "other") as runtime:
        await runtime.engine.facts()
        assert _states(engine, config) == []


def _children(pid: int) -> list[int]:
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == pid:
                found.append(int(process.name))
    return found


async def test_two_gateways_on_one_engine_leave_each_other_alone(
    engine: Engine, tmp_path: Path
) -> None:
    async with (
        opened_box(engine, tmp_path, installation="t-a") as first,
        opened_box(engine, tmp_path, installation="t-b") as second,
    ):
        mine, theirs = Recorder(), Recorder()
        async with (
            first.runtime.start(first.spec("echo up; exec cat"), mine),
            second.runtime.start(second.spec("echo up; exec cat"), theirs),
        ):
            await mine.received(b"up")
            await theirs.received(b"up")
            first.runtime.engine.suspect()
            await first.runtime.engine.facts()  # sweeps
            assert len(engine.containers(installation="t-b")) == 1
            assert not theirs.exits
            assert not mine.exits


async def test_two_gateways_of_one_name_leave_each_other_alone_too(
    engine: Engine, tmp_path: Path
) -> None:
    """The second finds the name taken, and neither sweeps nor is swept."""
    async with opened_box(engine, tmp_path, installation="t-same") as first:
        receiver = Recorder()
        async with first.runtime.start(first.spec("echo up; exec cat"), receiver):
            await receiver.received(b"up")
            async with opened_box(engine, tmp_path, installation="t-same") as second:
                other = Recorder()
                async with second.runtime.start(second.spec("echo up; exec cat"), other):
                    await other.received(b"up")
                    first.runtime.engine.suspect()
                    await first.runtime.engine.facts()
                    assert not other.exits
            assert not receiver.exits


async def test_what_a_start_left_behind_is_swept_when_the_engine_is_found_again(
    box: Box, engine: Engine
) -> None:
    await box.runtime.engine.facts()
    async with box.runtime.create(box.spec("cat")) as (container, _):
        box.runtime.engine.living.discard(container.name)  # as if nobody took care of it
        box.runtime.engine.suspect()
        await box.runtime.engine.facts()
        assert engine.containers(run=box.runtime.engine.run) == []
