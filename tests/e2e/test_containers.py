"""Official clients and official servers, with the servers in containers."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.testbed.clients import CLIENTS, Driver
from tests.testbed.engine import Engine
from tests.testbed.gateway import Gateway, running_gateway
from tests.testbed.images import FILESYSTEM, SDK

pytestmark = [pytest.mark.docker, pytest.mark.sdk, pytest.mark.long]

MODES: dict[str, dict[str, Any]] = {
    "daemon": {"mode": "daemon"},
    "launcher": {"mode": "launcher"},
    "warm": {"mode": "launcher", "launcher": {"warm": 1}},
}


@dataclass(frozen=True, slots=True)
class Served:
    """A gateway, and the folder of its workspaces."""

    gateway: Gateway
    folder: Path


@pytest.fixture(scope="module")
def served(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A gateway with two official servers in containers, in every mode."""
    for image in (FILESYSTEM, SDK):
        if (why := image.obstacle()) is not None:
            pytest.skip(why)
    folder = tmp_path_factory.mktemp("workspaces")
    tools = {}
    for mode, keys in MODES.items():
        files = {"image": engine.load(FILESYSTEM), "args": [str(folder)], "workspace": "files"}
        dual = {"image": engine.load(SDK), "args": ["/app/e2e/dual_py.py"], "cpus": 2}
        for name, more in (("files", files), ("dual", dual)):
            tools[f"{name}-{mode}"] = {"runtime": "container", **more, **keys}
    config = {"docker_host": engine.host, "workspace_root": str(folder), "tools": tools}
    with running_gateway(json.dumps(config)) as gateway:
        yield Served(gateway, folder)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_works_with_files_that_only_the_tools_folder_has(
    served: Served, driver: Callable[[str], Driver], client: str, mode: str
) -> None:
    written = {"path": f"/workspaces/{client}-{mode}.txt", "content": "from far away"}
    answer = driver(client).talk(
        served.gateway.url(f"files-{mode}"),
        {"do": "call", "name": "write_file", "args": written},
        {"do": "call", "name": "read_text_file", "args": {"path": written["path"]}},
        {"do": "call", "name": "read_text_file", "args": {"path": "/etc/passwd"}},
    )
    _, read, refused = answer.results()
    assert read["content"][0]["text"] == "from far away"
    assert refused["isError"] is True
    assert (served.folder / "files" / f"{client}-{mode}.txt").read_text() == "from far away"


@pytest.mark.parametrize("mode", ["daemon", "warm"])
@pytest.mark.parametrize("client", CLIENTS)
def test_cancellation_reaches_a_server_in_a_container(
    served: Served, driver: Callable[[str], Driver], client: str, mode: str
) -> None:
    name = f"{client}/{mode}"
    answer = driver(client).talk(
        served.gateway.url(f"dual-{mode}"),
        {"do": "cancel", "name": "slow", "args": {"name": name}},
        {"do": "call", "name": "echo", "args": {"still": "here"}},
    )
    cancelled, answered = answer.results()
    assert cancelled == {"cancelled": True}
    assert "here" in answered["content"][0]["text"]
    served.gateway.wait_for(lambda entry: f"cancelled {name}" in str(entry.values()))
