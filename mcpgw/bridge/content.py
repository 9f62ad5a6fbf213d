"""Content that a client's revision does not know yet, told in words it knows.

Clients before 2025-03-26 know no sound, those before 2025-06-18 no links to resources; many
of them refuse a whole result for one block of a type they do not know.
"""

from msgspec import Raw

from mcpgw.protocol.client import ClientFacts
from mcpgw.protocol.messages import Result
from mcpgw.protocol.rawjson import (
    Fields,
    NotJson,
    decode_array,
    decode_object,
    decode_text,
    encode,
    object_or_empty,
)


def knows_all(client: ClientFacts) -> bool:
    """Whether the client's revision knows every type of content."""
    return client.revision.audio and client.revision.links


def retold(result: Result, method: str, client: ClientFacts) -> Result:
    """A result of `tools/call` or `prompts/get` without the content its client does not know."""
    fields = object_or_empty(result.value)
    if method == "tools/call":
        changed = _retell_blocks(fields, client)
    elif method == "prompts/get":
        changed = _retell_messages(fields, client)
    else:
        changed = False
    return Result(encode(fields)) if changed else result


def _retell_blocks(fields: Fields, client: ClientFacts) -> bool:
    try:
        blocks = decode_array(fields["content"])
    except (KeyError, NotJson):
        return False
    told = [_block(raw, client) for raw in blocks]
    if all(new is old for new, old in zip(told, blocks, strict=True)):
        return False
    fields["content"] = encode(told)
    return True


def _retell_messages(fields: Fields, client: ClientFacts) -> bool:
    try:
        messages = [decode_object(raw) for raw in decode_array(fields["messages"])]
    except (KeyError, NotJson):
        return False
    changed = False
    for message in messages:
        if "content" in message:
            told = _block(message["content"], client)
            changed = changed or told is not message["content"]
            message["content"] = told
    if changed:
        fields["messages"] = encode([encode(message) for message in messages])
    return changed


def _block(raw: Raw, client: ClientFacts) -> Raw:
    block = object_or_empty(raw)
    kind = _text(block, "type")
    if kind == "audio" and not client.revision.audio:
        return _says(
            f"[audio of type {_text(block, 'mimeType') or 'unknown'}, which this client "
            "cannot receive]"
        )
    if kind == "resource_link" and not client.revision.links:
        name = _text(block, "title") or _text(block, "name") or "resource"
        return _says(f"[{name}]({_text(block, 'uri') or ''})")
    return raw


def _says(text: str) -> Raw:
    return encode({"type": "text", "text": text})


def _text(fields: Fields, key: str) -> str | None:
    return decode_text(fields[key]) if key in fields else None
