"""Questions that a modern server puts into a result, and the request that answers them.

Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic/patterns/mrtr
"""

from collections.abc import Mapping
from typing import Final

from msgspec import Raw, Struct

from mcpgw.errors import ProtocolViolation
from mcpgw.protocol import codes
from mcpgw.protocol.client import ClientFacts
from mcpgw.protocol.connection import Outbound
from mcpgw.protocol.messages import Failure, Outcome, Result, failure
from mcpgw.protocol.methods import ASKING
from mcpgw.protocol.questions import ELICIT, QUESTIONS, undeclared
from mcpgw.protocol.rawjson import Fields, decode_text, encode, object_or_empty

INPUT_REQUIRED: Final = "input_required"

_LARGEST: Final = 4 * 1024 * 1024
"""Beyond this a result is not opened to see whether it asks: it takes the event loop too long,
and no question is so large. Pictures to sample from may be large."""


class Question(Struct, frozen=True):
    """One entry of `inputRequests`."""

    method: str
    params: Raw


class InputRequired(Struct, frozen=True):
    """A result that asks for input, opened."""

    fields: Fields
    questions: dict[str, Question]
    state: Raw | None
    """The server's `requestState`, exactly as it wrote it."""


def read_input_required(outcome: Outcome, method: str) -> InputRequired | None:
    """What a modern server's answer asks for; None if it is not of that kind.

    Raises:
        ProtocolViolation: It asks where it may not, for what nobody knows, or for nothing.
    """
    if isinstance(outcome, Failure) or len(memoryview(outcome.value)) > _LARGEST:
        return None
    if b'"input_required"' not in bytes(outcome.value):
        return None
    fields = object_or_empty(outcome.value)
    if decode_text(fields.get("resultType", Raw(b"0"))) != INPUT_REQUIRED:
        return None
    if method not in ASKING:
        raise ProtocolViolation(f"the server asks for input while it works on {method}")
    questions: dict[str, Question] = {}
    for key, raw in object_or_empty(fields.get("inputRequests")).items():
        asked = object_or_empty(raw)
        kind = decode_text(asked.get("method", Raw(b"0"))) or ""
        if kind not in QUESTIONS:
            raise ProtocolViolation(f"the server asks for input of the unknown kind {kind!r}")
        questions[key] = Question(kind, asked.get("params", Raw(b"{}")))
    state = fields.get("requestState")
    if not questions and state is None:
        raise ProtocolViolation("the server asks for input, but not for which")
    return InputRequired(fields, questions, state)


def check_declared(required: InputRequired, client: ClientFacts) -> None:
    """See that a server asks only what the client declared (MUST).

    Raises:
        ProtocolViolation: It asks for more.
    """
    for question in required.questions.values():
        if undeclared(question.method, question.params, client.capabilities) is not None:
            raise ProtocolViolation(
                f"the server asks {question.method}, for which this client did not declare "
                "the capability"
            )


def with_answers(
    outbound: Outbound, required: InputRequired, answers: Mapping[str, Raw]
) -> Outbound:
    """The request again, with the answers and the exact state (MUST)."""
    params = dict(outbound.params)
    for key in ("inputResponses", "requestState"):
        params.pop(key, None)
    if required.questions:
        params["inputResponses"] = encode(dict(answers))
    if required.state is not None:
        params["requestState"] = required.state
    return Outbound(outbound.method, params, outbound.meta, outbound.token)


def for_legacy(question: Question, client: ClientFacts, elicitation_id: str) -> Raw:
    """A question's parameters as a request to a legacy client has them.

    Spec: https://modelcontextprotocol.io/specification/2025-11-25/client/elicitation
    """
    if question.method != ELICIT:
        return question.params
    fields = dict(object_or_empty(question.params))
    if decode_text(fields.get("mode", Raw(b"0"))) == "url":
        fields["elicitationId"] = encode(elicitation_id)
    elif not client.revision.visits:
        fields.pop("mode", None)
    return encode(fields)


def answer_of(question: Question, outcome: Outcome) -> Raw | None:
    """What to put for a client's answer; None where the protocol has no word for it.

    A modern server cannot be told of an error. A question of the user who does not want to
    answer has a word for that; the others have not.
    """
    if isinstance(outcome, Result):
        return outcome.value
    return Raw(b'{"action":"cancel"}') if question.method == ELICIT else None


def no_answer(method: str, question: Question, outcome: Outcome) -> Outcome:
    """What a legacy client gets whose refusal its server cannot be told of."""
    told = outcome.message if isinstance(outcome, Failure) else "no answer"
    text = f"the server needs an answer to {question.method}, and got an error: {told}"
    if method == "tools/call":
        content = [{"type": "text", "text": text}]
        return Result(encode({"content": content, "isError": True}))
    return failure(codes.INTERNAL_ERROR, text)
