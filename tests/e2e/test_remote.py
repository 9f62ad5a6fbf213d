"""`mcp-remote`: a client that knows only stdio reaches a tool behind the gateway."""

import pytest

from tests.e2e.conftest import World, require
from tests.testbed.clients import mcp_remote

pytestmark = pytest.mark.node


def test_a_stdio_client_reaches_the_gateway_through_mcp_remote(world: World) -> None:
    require("node")
    with mcp_remote(world.gateway.url("everything-daemon")) as remote:
        client = {"name": "stdio-client", "version": "1"}
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client}
        remote.send({"id": 1, "method": "initialize", "params": params})
        assert remote.answer()["result"]["serverInfo"]["name"] == "mcp-servers/everything"
        remote.send({"method": "notifications/initialized"})
        call = {"name": "echo", "arguments": {"message": "across"}}
        remote.send({"id": 2, "method": "tools/call", "params": call})
        answer = remote.answer()
        assert answer["id"] == 2
        assert answer["result"]["content"][0]["text"] == "Echo: across"
