"""However the gateway ends, the processes it started end with it."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.e2e import wire
from tests.testbed.gateway import Gateway, running_gateway, wait_for_process, wait_until_gone

SMALL = Path(__file__).parent / "servers" / "small.py"


def config(mode: str) -> str:
    args = ["-I", "-S", str(SMALL), "modern"]
    timeouts = {"stop": "200ms", "term": "200ms"}
    tool = {"mode": mode, "cmd": sys.executable, "args": args, "timeouts": timeouts}
    return json.dumps({"tools": {"small": tool}})


async def start_family(gateway: Gateway) -> None:
    """Have the server start descendants that ignore every polite signal, down to a `sleep`."""
    async with ClientSession() as http:
        client = await wire.connect(http, gateway.url("small"), modern=True)
        (answer,) = await client.call(1, "family", {})
        assert "result" in answer, answer
    wait_for_process(gateway.process.pid, "sleep 300")


async def test_sigterm_ends_even_stubborn_grandchildren(
    gateway: Callable[[str], Gateway],
) -> None:
    running = gateway(config("daemon"))
    await start_family(running)
    running.stop()  # which checks that nothing is left


async def test_sigkill_of_the_gateway_leaves_nothing_either() -> None:
    manager = running_gateway(config("daemon"))
    running = manager.__enter__()
    with closing(running):
        await start_family(running)
        running.process.kill()
        running.process.wait()
        assert wait_until_gone(running.process.pid, within=10) == []


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_an_idle_gateway_with_code_0(
    gateway: Callable[[str], Gateway], signum: signal.Signals
) -> None:
    running = gateway(config("launcher"))
    running.process.send_signal(signum)
    assert running.process.wait(timeout=10) == 0


def test_a_wrong_configuration_ends_it_with_code_2() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mcpgw", "--config", "-"],
        input="tols: {}",
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 2
    assert "tols" in done.stderr and "tools" in done.stderr
    assert "Traceback" not in done.stderr
