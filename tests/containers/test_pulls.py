"""Images that have to be pulled, from a registry of our own."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from mcpgw.config.schema import Timeouts
from mcpgw.errors import ImageUnavailable
from mcpgw.units import Seconds
from tests.containers.conftest import Box, opened_box
from tests.containers.registry import Registry, running_registry
from tests.runtimes.conftest import Recorder
from tests.testbed.engine import Engine
from tests.testbed.gateway import Gateway
from tests.testbed.images import BUSYBOX, Image, Layer
from tests.testbed.wire import call_tool

pytestmark = pytest.mark.docker


def fresh() -> Image:
    """An image that no engine can have: one of its layers is new."""
    new = Layer().text("etc/made-for", secrets.token_hex(16)).read()
    return Image("pulled", (*BUSYBOX.layers, lambda: new), {"Cmd": ["/bin/cat"]}, BUSYBOX.obstacle)


@pytest.fixture
async def registry(engine: Engine) -> AsyncIterator[Registry]:
    if (why := BUSYBOX.obstacle()) is not None:
        pytest.skip(why)
    async with running_registry(fresh()) as registry:
        yield registry
    for tag in ("pulled:1", "pulled:2"):
        await asyncio.to_thread(engine.ask, "DELETE", f"/images/{registry.name(tag)}?force=1")


async def start(box: Box, image: str, **keys: object) -> None:
    async with box.runtime.start(box.spec("exec cat", image=image, **keys), Recorder()):
        pass


async def refusal(box: Box, image: str, **keys: object) -> str:
    with pytest.raises(ImageUnavailable) as caught:
        await start(box, image, **keys)
    return str(caught.value)


async def test_a_missing_image_is_pulled_once_for_all_who_wait(
    box: Box, registry: Registry
) -> None:
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(start(box, registry.name("pulled:1")))
    assert registry.pulls == 1


async def test_whoever_waits_too_long_is_told_how_far_it_is_and_the_pull_goes_on(
    box: Box, registry: Registry
) -> None:
    registry.released.clear()
    image = registry.name("pulled:1")
    impatient = Timeouts(start=Seconds(0.5))
    said = await refusal(box, image, timeouts=impatient)
    assert f"box: the image {image} is still being pulled: " in said
    assert "just begun" in said or "MiB so far" in said
    registry.released.set()
    async with asyncio.timeout(20):
        await start(box, image)
    assert registry.pulls == 1


async def test_a_tag_that_is_not_there_is_told(box: Box, registry: Registry) -> None:
    assert "there is no such image or tag" in await refusal(box, registry.name("pulled:gone"))


async def test_a_registry_that_denies_is_told(box: Box) -> None:
    async with running_registry(BUSYBOX, denies=True) as registry:
        said = await refusal(box, registry.name("private:1"))
    assert "its registry wants a login; pull it by hand" in said


async def test_always_pulls_once_for_each_start_of_the_gateway(
    engine: Engine, registry: Registry, tmp_path: Path
) -> None:
    image = registry.name("pulled:2")
    for run in (1, 2):
        async with opened_box(engine, tmp_path) as box:
            for _ in range(2):
                await start(box, image, pull="always")
        assert registry.pulls == run


async def test_a_gateway_pulls_when_it_starts_and_says_so(
    engine: Engine, registry: Registry, gateway: Callable[..., Gateway]
) -> None:
    image = registry.name("pulled:1")
    tool = {"runtime": "container", "image": image}
    config = json.dumps({"docker_host": engine.host, "tools": {"box": tool}})
    running = await asyncio.to_thread(gateway, config)
    await asyncio.to_thread(running.wait_for, lambda entry: entry.get("event") == "image.pulling")
    await asyncio.to_thread(running.wait_for, lambda entry: entry.get("event") == "image.pulled")


async def test_a_client_is_told_how_far_a_pull_is(
    engine: Engine, registry: Registry, gateway: Callable[..., Gateway]
) -> None:
    registry.released.clear()
    image = registry.name("pulled:1")
    tool = {"runtime": "container", "image": image, "timeouts": {"start": "300ms"}}
    config = json.dumps({"docker_host": engine.host, "tools": {"box": tool}})
    running = await asyncio.to_thread(gateway, config)
    answer = await asyncio.to_thread(call_tool, running.url("box"), "echo", text="x")
    registry.released.set()
    assert answer["error"]["code"] == -31014
    assert "is still being pulled" in answer["error"]["message"]
    assert answer["error"]["data"]["retryAfter"] > 0
