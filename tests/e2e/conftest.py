"""One gateway with every server, and one process per client, for all these tests."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.world import SERVERS, config_text, furnish
from tests.testbed import find, why_not
from tests.testbed.clients import CLIENTS, Driver
from tests.testbed.gateway import Gateway, running_gateway


@dataclass(frozen=True, slots=True)
class World:
    """The gateway of the matrix, and the folder its servers work in."""

    gateway: Gateway
    folder: Path


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world").resolve()
    furnish(folder)
    present = [kind for kind in SERVERS.values() if kind.part is None or find(kind.part)]
    with running_gateway(config_text(folder, present)) as gateway:
        yield World(gateway, folder)


@pytest.fixture(scope="package")
def driver() -> Iterator[Callable[[str], Driver]]:
    """Gives the process of a client, by the client's name; skips where it can't be had."""
    running: dict[str, Driver] = {}
    with ExitStack() as stack:

        def get(name: str) -> Driver:
            require(CLIENTS[name].part)
            if name not in running:
                running[name] = stack.enter_context(Driver(CLIENTS[name]))
            return running[name]

        yield get


def require(part: str | None) -> None:
    """Skip the test where a part of the testbed is missing."""
    if part is not None and find(part) is None:
        pytest.skip(why_not(part))
