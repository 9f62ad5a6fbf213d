"""Containers: what one costs beside `docker run`, and its streams beside a plain attach."""

import asyncio
import json
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final

import structlog
from aiodocker import Docker

from benchmarks import messages
from benchmarks.calls import BUSY, SMALL
from benchmarks.jobs import HttpJob, Job, Outcome, SpawnJob
from benchmarks.processes import Broken, free_port, module, post, running, serving
from benchmarks.report import Row, Target
from benchmarks.series import Effort, Generator, Series, p50, rate
from benchmarks.servers import echo
from mcpgw.config.schema import Config, RuntimeKind, ServerSpec
from mcpgw.runner.server import Door, open_runner
from mcpgw.runtimes.base import Exit, Instance
from mcpgw.runtimes.containers.runtime import open_containers
from mcpgw.runtimes.native import NativeRuntime
from mcpgw.runtimes.remote import RunnerRuntime
from tests.testbed.engine import Engine, obstacle, shared_engine
from tests.testbed.images import PYTHON, Image, Layer

PAUSE: Final = 0.8
"""Seconds between calls of a warm launcher: time to start the next container."""

ROUND_TRIPS: Final = 500
MEGABYTES: Final = 20
BULKS: Final = 7

IMAGE: Final = Image(
    "bench",
    (*PYTHON.layers, lambda: Layer().file(Path(echo.__file__), "app/echo.py").read()),
    {"Entrypoint": ["/usr/local/bin/python3", "-I", "-S", "/app/echo.py"], "Cmd": ["modern"]},
    PYTHON.obstacle,
)

SECTION: Final = "Containers"


def measure_containers(
    folder: Path, generator: Generator, series: Series, effort: Effort
) -> list[Row]:
    """Starts, calls and streams; the engine is the machine's, or one for the length of this."""
    if (why := obstacle() or IMAGE.obstacle()) is not None:
        raise Broken(why)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with shared_engine() as engine:
        engine.load(IMAGE)
        with _open_gateways(folder, engine) as (direct, through):
            jobs = _jobs(engine, direct, through, effort)
            series.measure(generator, jobs, min(effort.rounds, 5))
        for _ in range(min(effort.rounds, 5)):
            for name, outcome in asyncio.run(_streams(folder, engine)).items():
                series.outcomes.setdefault(name, []).append(outcome)
    return _rows(series)


def _tool(**settings: Any) -> dict[str, Any]:
    return {"runtime": "container", "image": IMAGE.tag, "protocol": "modern", "cpus": 2, **settings}


@contextmanager
def _open_gateways(folder: Path, engine: Engine) -> Iterator[tuple[int, int]]:
    """Two gateways: one that has the engine, and one that has a runner."""
    tools = {
        "boxed": _tool(mode="daemon", daemon={"max": 1}),
        "cold": _tool(),
        "warm": _tool(launcher={"warm": 2}),
    }
    path = Path("/tmp", f"mcpgw-bench-{secrets.token_hex(4)}.sock")
    ports = free_port(), free_port()
    files = []
    for port, more in zip(ports, ({}, {"runner": {"socket": str(path)}}), strict=True):
        config = {
            "docker_host": engine.host,
            "workspace_root": "/nowhere",
            "listen": {"port": port},
            "tools": tools,
        }
        files.append(folder / f"containers-{port}.yaml")
        files[-1].write_text(json.dumps({**config, **more}))
    runner = module("mcpgw", "runner", "--config", str(files[1]), "--socket", str(path))
    with (
        serving(module("mcpgw", "--config", str(files[0])), ports[0], folder / "direct.log"),
        running(runner, folder / "runner.log"),
        serving(module("mcpgw", "--config", str(files[1])), ports[1], folder / "through.log"),
    ):
        for port in ports:
            _wait_for_call(port)
        yield ports


def _wait_for_call(port: int) -> None:
    params = messages.call_params("echo", SMALL)
    body = messages.modern_line("tools/call", params).encode()
    post(port, "/mcp/boxed", messages.modern_headers(params), body)


def _jobs(engine: Engine, direct: int, through: int, effort: Effort) -> dict[str, Job]:
    params = messages.call_params("echo", SMALL)
    lines = [
        messages.modern_line("server/discover", {}),
        messages.modern_line("tools/call", params),
    ]
    docker = ["docker", "-H", engine.host, "run", "-i", "--rm", "--init", "--network", "none"]
    hardened = ["--read-only", "--cap-drop", "ALL", "--log-driver", "none", IMAGE.tag]
    longer = max(3.0, 3 * effort.seconds)

    def call(port: int, tool: str, connections: int, seconds: float, pause: float = 0) -> HttpJob:
        request = messages.modern_call(f"/mcp/{tool}", params)
        return HttpJob(port, [request], connections, seconds, warmup=0.25, pause=pause)

    return {
        "docker run": SpawnJob([*docker, *hardened], lines, longer),
        "container cold": call(direct, "cold", 1, longer),
        "container warm, paced": call(direct, "warm", 1, longer, PAUSE),
        "container daemon, paced": call(direct, "boxed", 1, longer, PAUSE),
        "container daemon, 1": call(direct, "boxed", 1, effort.seconds),
        "runner daemon, 1": call(through, "boxed", 1, effort.seconds),
        f"container daemon, {BUSY}": call(direct, "boxed", BUSY, effort.seconds),
        f"runner daemon, {BUSY}": call(through, "boxed", BUSY, effort.seconds),
    }


class _Ear:
    """Counts what comes, and tells when there is enough."""

    def __init__(self) -> None:
        self.wanted = 0
        self.enough = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        """See `Receiver`."""
        self.wanted -= len(data)
        if self.wanted <= 0:
            self.enough.set()

    def instance_lost(self, exit: Exit) -> None:
        """See `Receiver`."""

    async def hear(self, count: int) -> None:
        """Wait for so many bytes."""
        self.enough.clear()
        self.wanted += count
        if self.wanted > 0:
            await self.enough.wait()


Echo = Callable[[bytes], Awaitable[None]]
"""Sends bytes to `cat`, and waits until they are back."""


async def _streams(folder: Path, engine: Engine) -> dict[str, Outcome]:
    outcomes = {}
    for name, opened in (("attach", _attached), ("instance", _direct), ("via runner", _remote)):
        async with opened(folder, engine) as echoed:
            outcomes[f"{name}, round trips"] = await _round_trips(echoed)
            outcomes[f"{name}, {MEGABYTES} MB"] = await _bulk(echoed)
    return outcomes


async def _round_trips(echoed: Echo) -> Outcome:
    line = b"x" * 200 + b"\n"
    times = []
    for _ in range(ROUND_TRIPS):
        begun = time.perf_counter()
        await echoed(line)
        times.append(time.perf_counter() - begun)
    p99 = quantiles(times, n=100)[98]
    return Outcome(len(times), sum(times), median(times), p99, max(times), 0, 0.0)


async def _bulk(echoed: Echo) -> Outcome:
    data = b"x" * (MEGABYTES * 1_000_000)
    times = []
    for _ in range(BULKS):
        begun = time.perf_counter()
        await echoed(data)
        times.append(time.perf_counter() - begun)
    total, slowest = sum(times), max(times)
    return Outcome(BULKS, total, median(times), slowest, slowest, BULKS * len(data), 0.0)


def _spec() -> ServerSpec:
    return ServerSpec(
        name="cat",
        runtime=RuntimeKind.CONTAINER,
        image=IMAGE.tag,
        entrypoint=("/bin/cat",),
        cpus=2.0,
    )


@asynccontextmanager
async def _attached(folder: Path, engine: Engine) -> AsyncIterator[Echo]:
    """Aiodocker's own stream, with nothing of ours."""
    async with Docker(url=engine.host) as docker:
        body: Mapping[str, Any] = {
            "Image": IMAGE.tag,
            "Entrypoint": ["/bin/cat"],
            "OpenStdin": True,
            "StdinOnce": True,
            "NetworkDisabled": True,
            "HostConfig": {"NetworkMode": "none", "LogConfig": {"Type": "none"}},
        }
        container = await docker.containers.create(body)
        try:
            stream = container.attach(stdin=True, stdout=True, stderr=True)
            async with stream:
                await container.start()

                async def echoed(data: bytes) -> None:
                    left = len(data)
                    async with asyncio.TaskGroup() as group:
                        if left > 1000:
                            group.create_task(stream.write_in(data))
                        else:
                            await stream.write_in(data)
                        while left > 0:
                            message = await stream.read_out()
                            assert message is not None
                            left -= len(message.data)

                yield echoed
        finally:
            await container.delete(force=True)


@asynccontextmanager
async def _direct(folder: Path, engine: Engine) -> AsyncIterator[Echo]:
    config = Config(base_dir=folder, docker_host=engine.host, workspace_root=Path("/nowhere"))
    ear = _Ear()
    async with (
        open_containers(config, secrets.token_hex(4)) as runtime,
        runtime.start(_spec(), ear) as instance,
    ):
        yield _echo_of(instance, ear)


@asynccontextmanager
async def _remote(folder: Path, engine: Engine) -> AsyncIterator[Echo]:
    config = Config(
        base_dir=folder,
        docker_host=engine.host,
        workspace_root=Path("/nowhere"),
        tools={"cat": _spec()},
    )
    path = Path("/tmp", f"mcpgw-bench-{secrets.token_hex(4)}.sock")
    ear = _Ear()
    async with open_containers(config, secrets.token_hex(4), only_look=True) as containers:
        runtimes = {RuntimeKind.NATIVE: NativeRuntime(config), RuntimeKind.CONTAINER: containers}
        async with (
            open_runner(config, runtimes, Door(path, frozenset()), dict),  # type: ignore[arg-type]
            RunnerRuntime(path).start(_spec(), ear) as instance,
        ):
            yield _echo_of(instance, ear)


def _echo_of(instance: Instance, ear: _Ear) -> Echo:
    async def echoed(data: bytes) -> None:
        instance.write(data)
        await ear.hear(len(data))

    return echoed


def _rows(series: Series) -> list[Row]:
    bulk = f"{MEGABYTES} MB"
    within = Target(1.1)
    compared = (
        ("cold: median time / docker run -i --rm", "container cold", "docker run", None),
        ("warm: median time / daemon", "container warm, paced",
         "container daemon, paced", Target(2)),
        ("round trip of an instance / plain attach", "instance, round trips",
         "attach, round trips", None),
        ("round trip through the runner / direct", "via runner, round trips",
         "instance, round trips", within),
        (f"{bulk} there and back / plain attach", f"instance, {bulk}", f"attach, {bulk}", None),
        (f"{bulk} through the runner / direct", f"via runner, {bulk}", f"instance, {bulk}", within),
        ("call through the runner / direct, 1 connection", "runner daemon, 1",
         "container daemon, 1", within),
    )  # fmt: skip
    rows = [Row(SECTION, what, series.ratio(a, b, p50), target=aim) for what, a, b, aim in compared]
    share = series.ratio(f"runner daemon, {BUSY}", f"container daemon, {BUSY}", rate)
    what = f"calls per second through the runner / direct, {BUSY} connections"
    rows.append(Row(SECTION, what, share, target=Target(0.9, "at least")))
    return rows
