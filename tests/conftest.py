"""Fixtures that every room may use, and what `--require-all` means."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.testbed import engine as engines
from tests.testbed.engine import Engine, OwnEngine
from tests.testbed.gateway import Gateway, running_gateway
from tests.testbed.images import Image


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--require-all", action="store_true", help="a skipped test makes the run fail")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is long, unless everything is wanted or it was named."""
    if config.getoption("--require-all") or config.getoption("-m"):
        return
    named = [arg.partition("::")[0] for arg in config.args]
    left_out = [
        item
        for item in items
        if item.get_closest_marker("long")
        and not any(arg.endswith(item.path.name) for arg in named)
    ]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.config.getoption("--require-all") and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def gateway() -> Iterator[Callable[..., Gateway]]:
    """Starts real gateways from configuration texts; each is stopped and checked at the end."""
    with ExitStack() as stack:
        yield lambda config, *args, **options: stack.enter_context(
            running_gateway(config, *args, **options)
        )


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """An engine for all tests that leave it alone."""
    if (why := engines.obstacle()) is not None:
        pytest.skip(why)
    with engines.shared_engine() as engine:
        yield engine


@pytest.fixture
def private_engine() -> Iterator[OwnEngine]:
    """An engine that may be restarted and killed."""
    if shutil.which("dockerd") is None:
        pytest.skip("dockerd is not installed")
    with engines.own_engine() as engine:
        yield engine


@pytest.fixture
def image(engine: Engine) -> Callable[[Image], str]:
    """Gives the tag of an image, which is there."""

    def get(image: Image) -> str:
        if (why := image.obstacle()) is not None:
            pytest.skip(why)
        return engine.load(image)

    return get
