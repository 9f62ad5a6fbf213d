"""Questions to ask, answers to give, and clients that give them."""

from typing import Any, Final

from tests.edge.replies import Events, Json, Reply
from tests.edge.world import Client, Legacy, Modern, World
from tests.schema import validator

FORM: Final[Json] = {
    "method": "elicitation/create",
    "params": {
        "message": "who?",
        "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}},
    },
}
ROOTS: Final[Json] = {"method": "roots/list", "params": {}}
SAMPLE: Final[Json] = {
    "method": "sampling/createMessage",
    "params": {
        "messages": [{"role": "user", "content": {"type": "text", "text": "say"}}],
        "maxTokens": 5,
    },
}
ALL: Final = [FORM, ROOTS, SAMPLE]
CAN: Final[dict[str, Json]] = {"elicitation": {"form": {}}, "roots": {}, "sampling": {}}

ANSWERS: Final[dict[str, Json]] = {
    "elicitation/create": {"action": "accept", "content": {"name": "Ada"}},
    "roots/list": {"roots": [{"uri": "file:///home", "name": "home"}]},
    "sampling/createMessage": {
        "role": "assistant",
        "content": {"type": "text", "text": "hi"},
        "model": "m",
    },
}


def answers_to(reply: Reply) -> Json:
    """What a user says to an `input_required` result: the arguments of the next round."""
    result = reply.result
    assert result["resultType"] == "input_required", result
    validator("2026-07-28", "InputRequiredResult").validate(result)
    asked = result.get("inputRequests", {})
    given = {key: ANSWERS[question["method"]] for key, question in asked.items()}
    return {"inputResponses": given, "requestState": result["requestState"]}


def quiz(*questions: Json, rounds: int = 1, **more: Any) -> Json:
    """A call whose tool asks these questions, as params."""
    return {"name": "quiz", "arguments": {"questions": list(questions), "rounds": rounds, **more}}


async def in_rounds(client: Modern, params: Json, most: int = 9) -> tuple[Reply, int]:
    """Make a modern call to its end; give its answer and how many rounds it took."""
    reply = await client.request("tools/call", params)
    for rounds in range(most):
        if reply.result.get("resultType") != "input_required":
            return reply, rounds
        reply = await client.request("tools/call", {**params, **answers_to(reply)})
    raise AssertionError("it never ends")


async def answer_next(client: Legacy, events: Events) -> Json:
    """Answer the next question on a stream; give it."""
    asked = await events.message()
    assert "method" in asked and "id" in asked, asked
    validator(client.revision, "ServerRequest").validate(asked)
    await client.reply(asked["id"], result=ANSWERS[asked["method"]])
    return asked


async def connected(world: World, date: str, tool: str, **capabilities: Json) -> Client:
    """A client of a revision that can do so much."""
    if date == "2026-07-28":
        return world.modern(tool, **capabilities)
    return await world.legacy(tool, date, **capabilities)
