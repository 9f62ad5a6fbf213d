"""`mcpgw doctor --config`: what can be seen before anything runs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mcpgw.config.load import parse
from mcpgw.doctor.findings import Finding, Level
from mcpgw.doctor.local import local_findings
from tests.testbed.engine import Engine
from tests.testbed.images import BUSYBOX, Image
from tests.testbed.runner import running_runner


async def look(folder: Path, tools: object, **settings: object) -> dict[str, Finding]:
    text = json.dumps({"workspace_root": str(folder), "tools": tools, **settings})
    config = parse(text, name="f", base_dir=folder)
    return {finding.check: finding for finding in await local_findings(config)}


async def test_native_tools_need_no_engine(tmp_path: Path) -> None:
    tools = {"good": {"cmd": "sh"}, "bad": {"cmd": "no-such-program"}}
    found = await look(tmp_path, tools)
    assert list(found) == ["tool good", "tool bad"]
    assert found["tool good"].level is Level.OK
    assert "no-such-program" in found["tool bad"].text


@pytest.mark.docker
async def test_engine_images_and_workspaces_are_shown(
    engine: Engine, image: Callable[[Image], str], tmp_path: Path
) -> None:
    box = {"runtime": "container", "image": image(BUSYBOX), "network": "bridge"}
    tools = {
        "box": box,
        "gone": {"runtime": "container", "image": "no/such:1"},
        "never": {"runtime": "container", "image": "no/such:1", "pull": "never"},
    }
    found = await look(tmp_path, tools, docker_host=engine.host, installation="t-doctor")
    assert found["tool box"].text == "it may use the network (bridge)"
    assert engine.host in found["engine"].text
    assert found["installation"].text == "its containers are labelled t-doctor"
    assert found["paths"].text == "the engine sees the same files"
    assert found["image box"].level is Level.OK
    assert found["image gone"].level is Level.WARNING
    assert found["image never"].fix == "run: docker pull no/such:1"
    assert str(tmp_path / "box") in found["workspace box"].text


async def test_an_engine_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    tools = {"box": {"runtime": "container", "image": "i"}}
    found = await look(tmp_path, tools, docker_host=f"unix://{tmp_path}/none.sock")
    assert found["engine"].level is Level.PROBLEM
    assert "is not running" in found["engine"].text
    assert "image box" not in found


async def test_a_runner_is_asked(tmp_path: Path) -> None:
    tools = {"demo": {"cmd": "mcpgw", "args": ["demo-server"]}}
    (tmp_path / "runner.json").write_text(json.dumps({"tools": tools}))
    with running_runner(tmp_path / "runner.json") as runner:
        setting = {"socket": str(runner.path)}
        found = await look(tmp_path, tools, runner=setting)
        assert found["runner"].level is Level.OK
        other = await look(tmp_path, {**tools, "more": {"cmd": "sh"}}, runner=setting)
        assert "it does not know more" in other["runner"].text
        both = {**setting, "native": str(tmp_path / "none.sock")}
        apart = await look(tmp_path, tools, runner=both)
        assert (apart["runner"].level, apart["native runner"].level) == (Level.OK, Level.PROBLEM)
    found = await look(tmp_path, tools, runner=setting)
    assert found["runner"].level is Level.PROBLEM
    assert "is not running" in found["runner"].text
