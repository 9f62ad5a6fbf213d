"""Fixtures that every room may use, and what `--require-all` means."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.testbed.gateway import Gateway, running_gateway


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--require-all", action="store_true", help="a skipped test makes the run fail")


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
