"""Content that an old client does not know is told in words it knows."""

from typing import Any

import pytest

from mcpgw.bridge.inbound import to_client
from tests.bridge.parts import LEGACY_DATES, client, content, result, server
from tests.schema import validator

TEXT = {"type": "text", "text": "x"}
AUDIO = {"type": "audio", "data": "AAAA", "mimeType": "audio/wav"}
LINK = {"type": "resource_link", "uri": "file:///a", "name": "a"}
KNOWN = {
    "2024-11-05": {"text"},
    "2025-03-26": {"text", "audio"},
    "2025-06-18": {"text", "audio", "resource_link"},
    "2025-11-25": {"text", "audio", "resource_link"},
}


@pytest.mark.parametrize("date", LEGACY_DATES)
@pytest.mark.parametrize("era", ["2025-11-25", "2026-07-28"])
def test_what_a_revision_does_not_know_becomes_text(date: str, era: str) -> None:
    told: Any = content(
        to_client(result(content=[TEXT, AUDIO, LINK]), "tools/call", client(date), server(era))
    )
    validator(date, "CallToolResult").validate(told)
    kinds = [block["type"] for block in told["content"]]
    known = KNOWN[date]
    assert kinds == [
        kind if kind in known else "text" for kind in ("text", "audio", "resource_link")
    ]
    assert "file:///a" in str(told["content"][2])
    messages = [{"role": "user", "content": block} for block in (TEXT, AUDIO, LINK)]
    prompt: Any = content(
        to_client(result(messages=messages), "prompts/get", client(date), server(era))
    )
    validator(date, "GetPromptResult").validate(prompt)
    assert [message["content"]["type"] for message in prompt["messages"]] == kinds


@pytest.mark.parametrize("fields", [{}, {"content": 5}, {"content": [5, None]}, {"content": [{}]}])
def test_odd_content_passes(fields: Any) -> None:
    told = to_client(result(**fields), "tools/call", client("2024-11-05"), server("2025-11-25"))
    assert content(told) == fields
