"""The official clients resume by themselves: a call whose connection breaks ends well."""

from collections.abc import Callable

import pytest

from tests.e2e.checks import call, text
from tests.e2e.conftest import World
from tests.testbed.clients import Driver
from tests.testbed.cutting import CuttingProxy

SLOW = {**call("slow", seconds=2, steps=4), "progress": True}


@pytest.mark.parametrize(
    "client",
    [
        pytest.param("ts1", marks=pytest.mark.node),
        pytest.param("ts2-legacy", marks=pytest.mark.node),
        pytest.param("py1", marks=pytest.mark.sdk),
        pytest.param("py2-legacy", marks=pytest.mark.sdk),
    ],
)
def test_a_call_survives_its_connection(
    world: World, driver: Callable[[str], Driver], client: str
) -> None:
    talker = driver(client)
    with CuttingProxy(world.gateway.url("demo-daemon"), b"notifications/progress") as proxy:
        slow, echo = talker.talk(proxy.url, SLOW, call("echo", text="and goes on")).results()
        assert proxy.cuts == 1
    progress = [entry[0] for entry in slow["progress"]]
    assert len(progress) == 4 and progress == sorted(set(progress))
    assert not slow.get("isError")
    assert text(echo) == "and goes on"
