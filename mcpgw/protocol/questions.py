"""What a server may ask the user through a client, and what it may expect for an answer.

Legacy servers send these as requests of their own while they work on a call; modern ones
put them into an `input_required` result and are called again with the answers.
Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic/patterns/mrtr
"""

from typing import Any, Final

from msgspec import Raw

from mcpgw.protocol import codes, meta
from mcpgw.protocol.client import ClientFacts
from mcpgw.protocol.messages import Failure, Outcome, Result, failure
from mcpgw.protocol.rawjson import (
    Fields,
    NotJson,
    decode_any,
    decode_text,
    encode,
    first_byte,
    object_or_empty,
)

ELICIT: Final = "elicitation/create"
SAMPLE: Final = "sampling/createMessage"
ROOTS: Final = "roots/list"

QUESTIONS: Final = frozenset({ELICIT, SAMPLE, ROOTS})

_CAPABILITIES: Final = {
    "elicitation": ("form", "url"),
    "sampling": ("context", "tools"),
    "roots": (),
}
"""The capabilities that invite questions, and what they may say in detail."""

INVITING: Final = frozenset(_CAPABILITIES)

_ACTIONS: Final = frozenset({"accept", "decline", "cancel"})

USER_REJECTED: Final = -1
"""The error code of the specification's example of a user who refuses a sampling request."""


def inviting(client: ClientFacts) -> Fields:
    """The client's capabilities that invite questions, in one order and without decoration.

    Equal for clients that a server may ask the same.
    """
    kept: Fields = {}
    for name, details in _CAPABILITIES.items():
        raw = client.capabilities.get(name)
        if raw is None or first_byte(raw) != b"{":
            continue
        if name == "elicitation" and not client.revision.elicits:
            continue
        told = object_or_empty(raw)
        kept[name] = encode({key: {} for key in details if key in told})
    return kept


def undeclared(method: str, params: Raw | None, capabilities: Fields) -> dict[str, Any] | None:
    """The capability a question needs and these lack, as a capabilities object; None if none."""
    fields = object_or_empty(params)
    if method == ELICIT:
        told = capabilities.get("elicitation")
        details = object_or_empty(told)
        mode = decode_text(fields["mode"]) if "mode" in fields else "form"
        declared = mode in details or (mode == "form" and not details)
        return None if told is not None and declared else {"elicitation": {mode or "form": {}}}
    if method == SAMPLE:
        told = capabilities.get("sampling")
        tools = "tools" in fields or "toolChoice" in fields
        if told is not None and (not tools or "tools" in object_or_empty(told)):
            return None
        return {"sampling": {"tools": {}} if tools else {}}
    return None if "roots" in capabilities else {"roots": {}}


def refusal(method: str, params: Raw | None, capabilities: Fields) -> Failure | None:
    """What to answer a legacy server that asks what its client never declared; None if it did.

    Spec: https://modelcontextprotocol.io/specification/2025-11-25/client/elicitation
    """
    if method not in QUESTIONS:
        return failure(codes.METHOD_NOT_FOUND, f"a client is not asked {method} here")
    lacking = undeclared(method, params, capabilities)
    if lacking is None:
        return None
    (name,) = lacking
    code = codes.INVALID_PARAMS if name in capabilities else codes.METHOD_NOT_FOUND
    return failure(code, f"the client did not declare what {method} needs", {"lacks": lacking})


def is_answer(method: str, value: Raw | None) -> bool:
    """Whether a value has the shape of an answer to a question of that method."""
    if value is None or first_byte(value) != b"{":
        return False
    fields = object_or_empty(value)
    if method == ELICIT:
        action = decode_text(fields.get("action", Raw(b"0")))
        content = fields.get("content")
        return action in _ACTIONS and (content is None or first_byte(content) in (b"{", b"n"))
    if method == SAMPLE:
        return all(key in fields for key in ("role", "content", "model"))
    return "roots" in fields and first_byte(fields["roots"]) == b"["


def unanswered(method: str, why: str) -> Outcome:
    """What a legacy server is told when nobody will answer its question."""
    if method == ELICIT:
        return Result(Raw(b'{"action":"cancel"}'))
    return failure(USER_REJECTED if method == SAMPLE else codes.INTERNAL_ERROR, why)


def without_token(params: Raw) -> Raw:
    """A legacy question's parameters for a legacy client: it would report progress to nobody."""
    if b'"progressToken"' not in bytes(params):
        return params
    return encode(_without_meta(dict(object_or_empty(params)), "progressToken"))


def as_input(params: Raw | None) -> Raw:
    """A legacy question's parameters as an input request has them.

    Without what belongs to the request it was: progress, tasks, an elicitation's id.
    """
    fields = dict(object_or_empty(params))
    for key in ("task", "elicitationId"):
        fields.pop(key, None)
    return encode(_without_meta(fields, "progressToken", meta.PREFIX + "related-task"))


def _without_meta(fields: Fields, *keys: str) -> Fields:
    kept = dict(object_or_empty(fields.pop("_meta", None)))
    for key in keys:
        kept.pop(key, None)
    return {**fields, "_meta": encode(kept)} if kept else fields


def single_content(value: Raw) -> Raw:
    """A sampling answer for a server before 2025-11-25, where its content is one block."""
    fields = object_or_empty(value)
    try:
        blocks = decode_any(fields["content"])
    except (KeyError, NotJson):
        return value
    if not isinstance(blocks, list):
        return value
    texts = [block for block in blocks if isinstance(block, dict) and block.get("type") == "text"]
    told = "\n".join(str(block.get("text", "")) for block in texts)
    kept = blocks[0] if len(blocks) == 1 else {"type": "text", "text": told}
    return encode({**fields, "content": encode(kept)})
