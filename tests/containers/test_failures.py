"""What is said when the engine, an image or a container is not as it should be."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import web

from mcpgw.config.schema import Config
from mcpgw.errors import EngineUnavailable, ImageUnavailable, InstanceExited, StartFailed
from mcpgw.runtimes.containers.images import Pull, explain_pull
from mcpgw.runtimes.containers.runtime import open_containers
from tests.containers.conftest import Box, eventually, opened_box
from tests.runtimes.conftest import Recorder
from tests.testbed.engine import Engine, OwnEngine

pytestmark = pytest.mark.docker


@pytest.fixture
async def own_box(private_engine: OwnEngine, tmp_path: Path) -> AsyncIterator[Box]:
    async with opened_box(private_engine, tmp_path) as box:
        yield box


async def refused(box: Box, **keys: object) -> StartFailed:
    with pytest.raises(StartFailed) as caught:
        async with box.runtime.start(box.spec("cat", **keys), Recorder()):
            pass
    return caught.value


async def test_an_engine_that_is_not_there_is_named(tmp_path: Path) -> None:
    config = Config(base_dir=tmp_path, docker_host=f"unix://{tmp_path}/none.sock")
    async with open_containers(config, "run") as runtime:
        failure = await refused(Box(runtime, config))
    assert isinstance(failure, EngineUnavailable)
    assert f"unix://{tmp_path}/none.sock is not running (docker_host)" in str(failure)
    assert failure.retry_after is not None


async def test_an_engine_at_tcp_that_is_not_there_is_named(tmp_path: Path) -> None:
    config = Config(base_dir=tmp_path, docker_host="tcp://127.0.0.1:1")
    async with open_containers(config, "run") as runtime:
        failure = await refused(Box(runtime, config))
    assert "tcp://127.0.0.1:1 is not running" in str(failure)


async def test_what_is_no_engine_is_named(engine: Engine, tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"hello": "world"})

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        address = "tcp://{}:{}".format(*runner.addresses[0])
        async with opened_box(engine, tmp_path, host=address) as box:
            failure = await refused(box)
    finally:
        await runner.cleanup()
    assert isinstance(failure, EngineUnavailable)
    assert f"{address} does not answer as a container engine does" in str(failure)


async def test_an_image_that_must_not_be_pulled_is_asked_for(box: Box) -> None:
    failure = await refused(box, image="no/such:1", pull="never")
    assert isinstance(failure, ImageUnavailable)
    assert "run: docker pull no/such:1" in str(failure)


async def test_a_pull_that_fails_says_why_and_is_not_repeated_at_once(
    box: Box,
) -> None:
    image = "127.0.0.1:1/no/such:1"
    first = await refused(box, image=image)
    assert isinstance(first, ImageUnavailable)
    assert f"the image {image} cannot be pulled: the registry cannot be reached" in str(first)
    second = await refused(box, image=image)
    assert str(second) == str(first)
    assert 0 < (second.retry_after or 0) <= 15


async def test_an_impossible_name_of_an_image_is_refused_in_words(box: Box) -> None:
    failure = await refused(box, image="Not An Image")
    assert "Not An Image" in str(failure)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("pull access denied for x, repository does not exist or may require", "wants a login"),
        ("manifest for x:9 not found: manifest unknown", "no such image or tag"),
        ("toomanyrequests: You have reached your pull rate limit", "serves no more for now"),
        ("dial tcp: lookup registry: no such host", "cannot be reached"),
        ("no matching manifest for linux/arm64/v8", "kind of processor"),
        ("write /var/lib/x: no space left on device", "disk is full"),
        ("something nobody foresaw", "something nobody foresaw"),
    ],
)
def test_what_a_registry_says_is_put_plainly(said: str, words: str) -> None:
    assert words in explain_pull(RuntimeError(said))
    assert said in explain_pull(RuntimeError(said))


def test_how_far_a_pull_is_is_told_in_bytes() -> None:
    pull = Pull("x")
    assert str(pull) == "just begun"
    layer = {"status": "Downloading", "progressDetail": {"current": 2**20, "total": 4 * 2**20}}
    pull.take({**layer, "id": "a"})
    pull.take({**layer, "id": "b"})
    pull.take({"status": "Download complete", "id": "a"})
    assert str(pull) == "5 of 8 MiB so far"


async def test_an_unknown_runtime_is_named(box: Box) -> None:
    assert "no runtime 'nope' (oci_runtime)" in str(await refused(box, oci_runtime="nope"))


async def test_an_unknown_network_is_named(box: Box) -> None:
    assert "nowhere" in str(await refused(box, network="nowhere"))


async def test_an_unknown_user_is_named(box: Box) -> None:
    failure = await refused(box, user="nosuchuser")
    assert "does not know that user; use numbers" in str(failure)


async def test_a_workspace_the_engine_cannot_see_asks_for_host_workspaces(
    engine: Engine, tmp_path: Path
) -> None:
    async with opened_box(engine, tmp_path, host_workspaces="/nowhere/at/all") as box:
        failure = await refused(box)
    assert "does not see the workspace" in str(failure)
    assert "host_workspaces" in str(failure)
    assert not await asyncio.to_thread(Path("/nowhere").exists)


async def test_a_container_that_somebody_removes_is_lost_at_once(box: Box, engine: Engine) -> None:
    receiver = Recorder()
    async with box.runtime.start(box.spec("echo up; exec sleep 1000"), receiver) as instance:
        await receiver.received(b"up")
        [found] = engine.containers(run=box.runtime.engine.run)
        assert engine.ask("DELETE", f"/containers/{found['Id']}?force=1")[0] == 204
        exit = await receiver.ended(within=5)
        assert exit.reason in ("was removed by somebody else", "was killed by SIGKILL")
        with pytest.raises(InstanceExited, match="box: the server was"):
            instance.write(b"x")


async def test_an_image_that_was_removed_is_looked_for_again(own_box: Box) -> None:
    box = own_box
    async with box.runtime.start(box.spec("cat"), Recorder()):
        pass
    engine = box.runtime.engine
    tag = box.spec("").image or ""
    await engine.docker.images.delete(tag, force=True)
    async with AsyncExitStack() as stack:
        with pytest.raises(StartFailed):
            await stack.enter_async_context(
                box.runtime.start(box.spec("cat", pull="never"), Recorder())
            )
    failure = await refused(box, pull="never")
    assert isinstance(failure, ImageUnavailable)


async def test_an_engine_restart_ends_every_instance_and_the_next_start_works(
    own_box: Box, private_engine: OwnEngine
) -> None:
    box, receivers = own_box, [Recorder(), Recorder()]
    async with AsyncExitStack() as stack:
        for receiver in receivers:
            opening = box.runtime.start(box.spec("echo up; exec cat"), receiver)
            await stack.enter_async_context(opening)
            await receiver.received(b"up")
        await asyncio.to_thread(private_engine.stop)
        for receiver in receivers:
            exit = await receiver.ended(within=5)
            assert "was" in exit.reason
        failure = await refused(box)
        assert isinstance(failure, EngineUnavailable)
        await asyncio.to_thread(private_engine.start)
    said, _ = await box.run("echo again")
    assert said == "again\n"
    await eventually(lambda: private_engine.containers() == [])


async def test_an_engine_that_is_killed_is_told_apart_from_a_server_that_exits(
    own_box: Box, private_engine: OwnEngine
) -> None:
    box, receiver = own_box, Recorder()
    async with box.runtime.start(box.spec("echo up; exec cat"), receiver):
        await receiver.received(b"up")
        await asyncio.to_thread(private_engine.stop, signal.SIGKILL)
        exit = await receiver.ended(within=5)
        assert exit.reason == "was lost: the container engine went away"
        await asyncio.to_thread(private_engine.start)
    assert (await box.run("echo again"))[0] == "again\n"
    await eventually(lambda: private_engine.containers() == [])


async def test_an_engine_that_hangs_is_given_up_in_time_and_found_again(
    own_box: Box, private_engine: OwnEngine
) -> None:
    box = own_box
    assert (await box.run("echo one"))[0] == "one\n"
    private_engine.pause()
    try:
        start = box.runtime.start(box.spec("cat"), Recorder())
        with pytest.raises((EngineUnavailable, TimeoutError)):
            async with asyncio.timeout(2):
                await start.__aenter__()
    finally:
        private_engine.resume()
    assert (await box.run("echo two"))[0] == "two\n"
    await eventually(lambda: private_engine.containers() == [])


async def test_a_stderr_flood_reaches_the_log_at_its_rate_and_loses_nothing_else(box: Box) -> None:
    script = "for i in $(seq 2000); do echo error $i >&2; done; echo fine"
    said, exit = await box.run(script)
    assert said == "fine\n"
    assert exit.stderr[-1] == "error 2000"
