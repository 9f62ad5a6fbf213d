"""Tasks: calls that a client does not wait for but asks about. They cross within an era only.

Spec: https://modelcontextprotocol.io/specification/2025-11-25/basic/utilities/tasks and the
tasks extension of 2026-07-28, which are not compatible with each other.
"""

from collections.abc import Iterable
from typing import Final

from msgspec import Raw, Struct

from mcpgw.protocol.client import ClientFacts
from mcpgw.protocol.handshake import ServerFacts
from mcpgw.protocol.messages import Outcome, Result
from mcpgw.protocol.meta import Opened
from mcpgw.protocol.rawjson import Fields, decode_any, decode_text, encode, object_or_empty
from mcpgw.protocol.revisions import Era
from mcpgw.units import Seconds

EXTENSION: Final = "io.modelcontextprotocol/tasks"
LIST: Final = "tasks/list"
RESULT: Final = "tasks/result"
STATUS: Final = "notifications/tasks/status"

METHODS: Final = {
    Era.LEGACY: frozenset({"tasks/get", RESULT, "tasks/cancel", LIST}),
    Era.MODERN: frozenset({"tasks/get", "tasks/update", "tasks/cancel"}),
}

_ENDED: Final = frozenset({"completed", "failed", "cancelled"})


class Created(Struct, frozen=True):
    """A task that a server made of a call."""

    id: str
    ttl: Seconds | None
    """How long the server keeps it; None for as long as it likes."""


def are_carried(client: ClientFacts, server: ServerFacts) -> bool:
    """Whether this client can have tasks of this server's."""
    if client.era is not server.era or not client.may_have_tasks:
        return False
    if client.era is Era.LEGACY:
        both = client.revision.tasks and server.revision.tasks
        return both and "tasks" in server.capabilities
    sides = (client.capabilities, server.capabilities)
    return all(EXTENSION in object_or_empty(side.get("extensions")) for side in sides)


def is_invited(method: str, opened: Opened, client: ClientFacts, server: ServerFacts) -> bool:
    """Whether a call may become a task."""
    if method != "tools/call" or not are_carried(client, server):
        return False
    return client.era is Era.MODERN or "task" in opened.params


def read_created(outcome: Outcome, era: Era) -> Created | None:
    """The task that a call became, if it became one."""
    if not isinstance(outcome, Result):
        return None
    fields = object_or_empty(outcome.value)
    if era is Era.LEGACY:
        fields, ttl = object_or_empty(fields.get("task")), "ttl"
    else:
        ttl = "ttlMs"
        if decode_text(fields.get("resultType", Raw(b"0"))) != "task":
            return None
    id = task_id(fields)
    if id is None:
        return None
    told = decode_any(fields[ttl]) if ttl in fields else None
    return Created(id, Seconds(told / 1000) if isinstance(told, int | float) else None)


def task_id(fields: Fields) -> str | None:
    """The task that parameters or a result name."""
    return decode_text(fields["taskId"]) if "taskId" in fields else None


def has_ended(outcome: Outcome) -> bool:
    """Whether the answer to a question about a task says that it is over."""
    if not isinstance(outcome, Result):
        return False
    status = object_or_empty(outcome.value).get("status")
    return status is not None and decode_text(status) in _ENDED


def list_of(answers: Iterable[Outcome]) -> Result:
    """The answers to `tasks/get` as one to `tasks/list`."""
    told = []
    for outcome in answers:
        if isinstance(outcome, Result):
            fields = dict(object_or_empty(outcome.value))
            fields.pop("_meta", None)
            told.append(encode(fields))
    return Result(encode({"tasks": told}))
