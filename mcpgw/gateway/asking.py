"""Questions of servers to a legacy client: sent as requests, answered by posted responses."""

import asyncio
import secrets
from collections.abc import Callable
from typing import TypeAlias

import structlog
from msgspec import Raw

from mcpgw import aio
from mcpgw.gateway.exchange import Ask
from mcpgw.lifecycle.link import ServerLink
from mcpgw.protocol.client import ClientFacts
from mcpgw.protocol.messages import (
    EMPTY,
    Outcome,
    Request,
    RequestId,
    Response,
    Result,
    dump_notification,
    dump_request,
    id_key,
)
from mcpgw.protocol.methods import CANCELLED
from mcpgw.protocol.questions import is_answer, refusal, unanswered, without_token
from mcpgw.protocol.rawjson import encode
from mcpgw.units import Seconds

log = structlog.get_logger(__name__)

Send: TypeAlias = Callable[[bytes], None]


class Questions:
    """The questions to one client that it has not answered yet."""

    def __init__(self) -> None:
        self._open: dict[bytes, asyncio.Future[Outcome]] = {}

    async def ask(self, send: Send, method: str, params: Raw, patience: Seconds) -> Outcome:
        """Send a question and wait for its answer, or for what stands in for one.

        If it is cancelled or out of time, the client is told.
        """
        id = RequestId(bytes(encode(secrets.token_urlsafe(16))))  # nobody else can answer it
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._open[id_key(id)] = answer
        try:
            send(dump_request(id, method, params).rstrip(b"\n"))
            async with asyncio.timeout(patience):
                outcome = await answer
        except TimeoutError:
            return unanswered(method, "the user did not answer in time")
        finally:
            del self._open[id_key(id)]
            if not answer.done() or answer.cancelled():
                told = encode({"requestId": Raw(id), "reason": "no answer is needed any more"})
                send(dump_notification(CANCELLED, told))
        if isinstance(outcome, Result) and not is_answer(method, outcome.value):
            return unanswered(method, "the client's answer has not the shape of one")
        return outcome

    def answer(self, response: Response) -> None:
        """Take a client's response; one to nothing that is open is ignored."""
        answer = self._open.get(id_key(response.id)) if response.id is not None else None
        if answer is not None and not answer.done():
            answer.set_result(response.outcome)


class Relay:
    """Carries the questions of a legacy server to a legacy client, and the answers back.

    Leaving the block withdraws what is open: the client is told, and the server is answered.
    """

    def __init__(self, link: ServerLink, client: ClientFacts, ask: Ask) -> None:
        self._link = link
        self._client = client
        self._ask = ask
        self._tasks = aio.Tasks("questions")
        self._open: dict[bytes, asyncio.Task[None]] = {}

    async def __aenter__(self) -> "Relay":
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._tasks.__aexit__(*exc_info)

    def asked(self, request: Request) -> None:
        """Take a question on."""
        refused = refusal(request.method, request.params, self._client.capabilities)
        if refused is not None:
            log.info("question.refused", instance=self._link.label, method=request.method)
            self._link.respond(request, refused)
            return
        task = self._tasks.start(self._carry(request), name=request.method)
        self._open[id_key(request.id)] = task

    def withdrawn(self, id: bytes) -> None:
        """Learn that the server needs no answer any more."""
        if (task := self._open.get(id)) is not None:
            task.cancel()

    async def _carry(self, request: Request) -> None:
        outcome = unanswered(request.method, "the request that it belongs to has ended")
        try:
            outcome = await self._ask(request.method, without_token(request.params or EMPTY))
        finally:
            del self._open[id_key(request.id)]
            self._link.respond(request, outcome)
