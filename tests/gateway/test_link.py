"""One conversation with one instance: what the server is told when a caller leaves."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mcpgw import aio
from mcpgw.config.load import parse
from mcpgw.errors import DeadlineExceeded, InstanceExited, ShuttingDown
from mcpgw.lifecycle.calls import Patience
from mcpgw.lifecycle.link import ServerLink, open_link
from mcpgw.protocol.connection import Outbound
from mcpgw.protocol.handshake import initialize
from mcpgw.protocol.messages import Result
from mcpgw.protocol.rawjson import encode
from mcpgw.runtimes.native import NativeRuntime
from mcpgw.units import Seconds

SHORT = Patience(Seconds(0.05), Seconds(0.05))
LONG = Patience(Seconds(10), Seconds(10))
DEAF = "while :; do sleep 1; done"


@asynccontextmanager
async def linked(folder: Path, script: str) -> AsyncIterator[ServerLink]:
    """A link to a shell script; what it is told goes where the script puts it."""
    spec = {"cmd": "sh", "args": ["-c", script], "timeouts": {"stop": "1s", "term": "1s"}}
    config = parse(json.dumps({"tools": {"t": spec}}), name="test", base_dir=folder)
    async with open_link(config.tools["t"], NativeRuntime(config)) as link:
        yield link


def told(folder: Path) -> list[dict[str, Any]]:
    """What the server read, once it has ended."""
    return [json.loads(line) for line in (folder / "told").read_text().splitlines()]


@pytest.mark.spec("CL6")
async def test_initialize_is_never_cancelled(tmp_path: Path) -> None:
    async with linked(tmp_path, "cat > told") as link:
        with pytest.raises(DeadlineExceeded, match="initialize"):
            await link.call(initialize({}), SHORT)
    assert [message["method"] for message in told(tmp_path)] == ["initialize"]


@pytest.mark.spec("C4", "C6")
async def test_any_other_request_is(tmp_path: Path) -> None:
    async with linked(tmp_path, "cat > told") as link:
        with pytest.raises(DeadlineExceeded):
            await link.call(Outbound("tools/list", {}, {}), SHORT)
        async with aio.background(link.call(Outbound("ping", {}, {}), LONG), name="ask"):
            await asyncio.sleep(0)
    methods = [message["method"] for message in told(tmp_path)]
    assert methods == ["tools/list", "notifications/cancelled", "ping", "notifications/cancelled"]
    assert [m["params"]["requestId"] for m in told(tmp_path)[1::2]] == [1, 2]


async def test_what_was_never_written_is_not_cancelled(tmp_path: Path) -> None:
    """A pipe that stays full is a deadline like any other, and leaves nothing behind."""
    large = Outbound("tools/call", {"x": encode("x" * 1_000_000)}, {})
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    async with linked(tmp_path, "read go < gate; cat > told") as link:
        for _ in range(3):
            with pytest.raises(DeadlineExceeded):
                await link.call(large, SHORT)
        assert link.in_flight == 0
        gate.write_text("go\n")
    sent = [message["method"] for message in told(tmp_path)]
    assert sent.count("notifications/cancelled") == sent.count("tools/call") < 3


async def test_whoever_waits_is_told_of_a_stop(tmp_path: Path) -> None:
    async with linked(tmp_path, "cat > told") as link:
        ask = link.call(Outbound("tools/list", {}, {}), LONG)
        with pytest.raises(ShuttingDown, match="tools/list"):
            async with aio.background(ask, name="ask") as asked:
                await asyncio.sleep(0)
                link.abandon()
                await asyncio.wait([asked])


async def test_after_its_end_nothing_is_asked(tmp_path: Path) -> None:
    async with linked(tmp_path, "echo bye >&2; exit 4") as link:
        async with asyncio.timeout(10):
            await link.lost.wait()
        with pytest.raises(InstanceExited, match="exited with code 4") as caught:
            await link.call(Outbound("ping", {}, {}), LONG)
        assert caught.value.stderr == ("bye",)
        link.notify("notifications/initialized")


async def test_an_overflow_is_the_end_before_the_process_is(tmp_path: Path) -> None:
    script = f"{sys.executable} -c 'print(\"x\" * 70_000_000)'; {DEAF}"
    async with linked(tmp_path, script) as link, asyncio.timeout(10):
        await link.lost.wait()
        assert link.exit is not None and "longer than" in link.exit.reason


async def test_an_answer_may_meet_a_caller_on_the_way_out(tmp_path: Path) -> None:
    """Both in one turn of the loop: who stays still gets an answer."""
    ping = Outbound("ping", {}, {})
    async with (
        linked(tmp_path, "cat > told") as link,
        aio.background(link.call(ping, LONG), name="leaves") as leaves,
        aio.background(link.call(ping, LONG), name="stays") as stays,
    ):
        await asyncio.sleep(0)
        leaves.cancel()
        answers = [b'{"jsonrpc":"2.0","id":%d,"result":{}}\n' % id for id in (1, 2)]
        link.data_received(b"".join(answers))
        async with asyncio.timeout(10):
            assert isinstance(await asyncio.shield(stays), Result)
        await asyncio.wait([leaves])
        assert leaves.cancelled()
