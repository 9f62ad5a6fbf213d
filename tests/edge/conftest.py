"""Gateways in this process, each with servers of its own."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.edge.replies import Json
from tests.edge.world import World, configure, world

Running = Callable[..., AbstractAsyncContextManager[World]]


@pytest.fixture
def running(tmp_path: Path) -> Running:
    """Runs a gateway with these tools and settings for the length of a block."""

    def run(tools: Json | None = None, **settings: Any) -> AbstractAsyncContextManager[World]:
        return world(configure(tmp_path, tools, **settings), tmp_path)

    return run
