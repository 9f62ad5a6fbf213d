"""Trace context reaches the server: the request's own, or that of its HTTP headers."""

import pytest

from tests.edge.asking import connected
from tests.edge.conftest import Running
from tests.edge.replies import Json
from tests.edge.world import Client

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER = "00-11111111111111111111111111111111-2222222222222222-00"
HEADERS = {"traceparent": PARENT, "tracestate": "a=1", "baggage": "k=v"}
CALL: Json = {"name": "params", "arguments": {}}


async def told(client: Client, params: Json, headers: dict[str, str]) -> Json:
    meta: Json = (await client.request("tools/call", params, headers=headers)).said.get("_meta", {})
    return {key: value for key, value in meta.items() if key in HEADERS}


@pytest.mark.parametrize("date", ["2025-06-18", "2026-07-28"])
@pytest.mark.parametrize("name", ["legacy", "modern"])
async def test_headers_become_metadata_where_there_is_none(
    running: Running, name: str, date: str
) -> None:
    async with running() as world:
        client = await connected(world, date, name, experimental={})
        assert await told(client, CALL, HEADERS) == HEADERS
        assert await told(client, CALL, {}) == {}
        assert await told(client, CALL, {"traceparent": "nonsense", "baggage": "x"}) == {}
        own = {**CALL, "_meta": {"traceparent": OTHER}}
        assert await told(client, own, HEADERS) == {"traceparent": OTHER}
