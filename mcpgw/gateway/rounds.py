"""A modern server's questions to a legacy client: asked one by one, then the call is made again."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Final

from msgspec import Raw

from mcpgw.bridge.rounds import (
    InputRequired,
    Question,
    answer_of,
    check_declared,
    for_legacy,
    no_answer,
    read_input_required,
    with_answers,
)
from mcpgw.errors import ProtocolViolation
from mcpgw.gateway.exchange import Ask
from mcpgw.protocol.client import ClientFacts
from mcpgw.protocol.connection import Outbound
from mcpgw.protocol.messages import Outcome

MOST_ROUNDS: Final = 10
"""How often a server may ask before it answers; no user would go on for longer."""

_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 0.25
"""Between two calls when a server asks for nothing but to be called again, in seconds."""

Call = Callable[[Outbound], Awaitable[Outcome]]


async def answer_in_rounds(
    outbound: Outbound, call: Call, client: ClientFacts, ask: Ask
) -> Outcome:
    """Make a call, and again with the user's answers for as long as the server asks.

    Raises:
        ProtocolViolation: It asks for what the client never offered, or without end.
    """
    pause = _FIRST_PAUSE
    for _ in range(MOST_ROUNDS):
        outcome = await call(outbound)
        required = read_input_required(outcome, outbound.method)
        if required is None:
            return outcome
        check_declared(required, client)
        if not required.questions:
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
        answers = await _answers(required, client, ask)
        given: dict[str, Raw] = {}
        for key, question in required.questions.items():
            answer = answer_of(question, answers[key])
            if answer is None:
                return no_answer(outbound.method, question, answers[key])
            given[key] = answer
        outbound = with_answers(outbound, required, given)
    raise ProtocolViolation(f"the server asked for input {MOST_ROUNDS} times without answering")


async def _answers(required: InputRequired, client: ClientFacts, ask: Ask) -> dict[str, Outcome]:
    """Ask everything at once."""

    async def one(question: Question) -> Outcome:
        params = for_legacy(question, client, secrets.token_urlsafe(16))
        return await ask(question.method, params)

    async with asyncio.TaskGroup() as group:
        tasks = {key: group.create_task(one(q)) for key, q in required.questions.items()}
    return {key: task.result() for key, task in tasks.items()}
