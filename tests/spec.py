"""The requirements of the specification, and what becomes of each.

A test says `@pytest.mark.spec("N3")`; `tests/test_spec.py` sees that every requirement of
state TESTED is named by a test, and that every name is a requirement. The groups: H, any
HTTP server; L, the legacy eras over HTTP; N, the modern era; C, a stdio client, and CL
and CM one of a legacy and of a modern server; X, bridging, which is ours to define.

Sources are pages of https://modelcontextprotocol.io/specification, below a revision.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

HTTP: Final = "basic/transports/streamable-http"
OLD_HTTP: Final = "2025-11-25 basic/transports"
OLD_LIFE: Final = "2025-11-25 basic/lifecycle"
STDIO: Final = "basic/transports/stdio"
BASIC: Final = "basic/index"
OURS: Final = "ours"


class State(Enum):
    """What becomes of a requirement."""

    TESTED = "a test with its marker proves it"
    ELSEWHERE = "a test of another room proves it; `note` names it"
    VACUOUS = "it cannot be broken; `note` says why"
    LATER = "it belongs to what the gateway does not do yet; `note` says what"


@dataclass(frozen=True)
class Requirement:
    """One thing the specification asks for."""

    id: str
    must: bool
    """MUST, or else SHOULD."""
    text: str
    source: str
    state: State = State.TESTED
    note: str = ""


def must(
    id: str, text: str, source: str, state: State = State.TESTED, note: str = ""
) -> Requirement:
    return Requirement(id, True, text, source, state, note)


def should(
    id: str, text: str, source: str, state: State = State.TESTED, note: str = ""
) -> Requirement:
    return Requirement(id, False, text, source, state, note)


LATER: Final = State.LATER
QUESTIONS: Final = "carrying a server's questions to the user"
STREAMS: Final = "subscriptions"
AUTH: Final = "authorization"

REQUIREMENTS: Final = (
    must("H1", "a foreign Origin is answered 403", HTTP),
    should("H2", "bound to this machine by default", HTTP, State.ELSEWHERE, "tests/config"),
    should("H3", "every connection is authenticated", HTTP, LATER, AUTH),
    must("H4", "a request is answered with JSON or an event stream", HTTP),
    must("H5", "an accepted notification is answered 202, without a body", HTTP),
    must("H6", "what is not accepted is answered 4xx", HTTP),
    must("H7", "UTF-8; a response has its request's id, type included", BASIC),
    must("H8", "an id is never null", BASIC),
    must("L1", "one endpoint; GET is a stream or 405", OLD_HTTP),
    must("L2", "a message goes to one stream only", OLD_HTTP),
    must("L3", "no response on a GET stream", OLD_HTTP),
    should("L4", "what belongs to a request comes on its own stream", OLD_HTTP),
    should("L5", "the response ends the stream", OLD_HTTP),
    should("L6", "a disconnect is no cancellation", OLD_HTTP),
    must("L7", "session ids are visible ASCII, and SHOULD not be guessable", OLD_HTTP),
    should("L8", "a missing session id is 400", OLD_HTTP),
    must("L9", "an ended session is 404", OLD_HTTP),
    must("L10", "DELETE ends a session, or is 405", OLD_HTTP),
    must("L11", "an unknown version header is 400; a missing one is no error", OLD_HTTP),
    must("L12", "event ids are unique; no replay of other streams", OLD_HTTP),
    should("L13", "a stream is primed, with a retry time", OLD_HTTP),
    must("L14", "batches on 2025-03-26, initialize in none", "2025-03-26 basic/transports"),
    must("L15", "the client's revision is echoed, or another offered", OLD_LIFE),
    should("L16", "no requests to the client before it is initialized", OLD_LIFE),
    must("L17", "ping is answered promptly", "2025-11-25 basic/utilities/ping"),
    must("L18", "HTTP+SSE begins with the endpoint event", "2024-11-05 basic/transports"),
    must("L19", "only negotiated capabilities are used", OLD_LIFE),
    must("N1", "server/discover is there", "server/discover"),
    must("N2", "a missing envelope is -32602 and 400", BASIC),
    must("N3", "headers that are missing or say otherwise are -32020 and 400", HTTP),
    must("N4", "an unsupported revision is -32022 and 400, listing what is supported", HTTP),
    must("N5", "an unknown method is -32601 and 404", HTTP),
    must("N6", "a missing capability is -32021 and 400", BASIC),
    must("N7", "header values are decoded before they are compared", HTTP),
    must("N8", "an argument that a header mirrors needs that header", HTTP),
    must("N9", "header names have no case, values have", HTTP),
    must("N10", "no requests on any stream", HTTP),
    must("N11", "what a stream carries belongs to its request", HTTP),
    must("N12", "a closed stream is a cancellation", HTTP),
    should("N13", "X-Accel-Buffering: no", HTTP),
    should("N14", "GET and DELETE are 405; sessions are neither heeded nor made", HTTP),
    must("N15", "every result has its resultType", BASIC),
    must("N16", "caching hints where they must be", "server/utilities/caching"),
    should("N17", "the server says who it is", BASIC),
    must("N18", "no log messages that were not asked for", "server/utilities/logging"),
    must("N19", "subscriptions", "basic/patterns/subscriptions"),
    must("N20", "input is for three methods only", "basic/patterns/mrtr"),
    must("N21", "a forged requestState is refused", "basic/patterns/mrtr"),
    should("N22", "missing answers are asked for again", "basic/patterns/mrtr"),
    must("N23", "lists do not depend on the connection", "server/tools"),
    must("N24", "no codes that are retired or reserved", BASIC),
    must("N25", "a missing resource is -32602", "server/resources"),
    must("N26", "progress stops with the answer", "basic/patterns/progress"),
    must(
        "N27",
        "no reference in a schema is followed over the network",
        BASIC,
        State.VACUOUS,
        "schemas are carried and never followed",
    ),
    must("N28", "no task where none was asked for", "extensions/tasks"),
    must("C1", "one message per line, and nothing else", STDIO),
    should("C2", "stderr is no error", STDIO, State.ELSEWHERE, "tests/runtimes/test_stderr.py"),
    should("C3", "close stdin, SIGTERM, SIGKILL", STDIO, State.ELSEWHERE, "tests/runtimes"),
    should("C4", "requests have deadlines, and are cancelled when they pass", STDIO),
    should("C5", "late responses are ignored", "basic/patterns/cancellation"),
    must("C6", "only one's own requests in flight are cancelled", "basic/patterns/cancellation"),
    must("C7", "unknown notifications do no harm", BASIC),
    must("CL1", "initialize comes first, and once", OLD_LIFE),
    should("CL2", "nothing before its answer", OLD_LIFE),
    must("CL3", "then notifications/initialized", OLD_LIFE),
    must("CL4", "the newest revision is offered; an unknown answer ends it", OLD_LIFE),
    must("CL5", "only negotiated capabilities are used", OLD_LIFE),
    must("CL6", "initialize is never cancelled", "2025-11-25 basic/utilities/cancellation"),
    must("CL7", "ping is answered", "2025-11-25 basic/utilities/ping"),
    must("CL8", "every request of the server's is answered", BASIC),
    must("CL9", "tasks are cancelled by tasks/cancel", "2025-11-25 basic/utilities/tasks"),
    must("CL10", "ids are not used again", BASIC),
    must("CM1", "the era is found out, keyed on no single code", "basic/versioning"),
    must("CM2", "every request has its envelope", BASIC),
    must("CM3", "no responses", STDIO),
    must("CM4", "notifications/cancelled cancels", STDIO),
    must("CM5", "notifications find their subscription", STDIO),
    should("CM6", "a server that exits is started again", STDIO),
    must("CM7", "a retry has a new id and its state", "basic/patterns/mrtr"),
    must("CM8", "an unknown resultType is invalid, a missing one complete", BASIC),
    must("CM9", "no cached reply for other parameters", "server/utilities/caching"),
    should("CM10", "the verdict on the era is remembered", "basic/versioning"),
    must("CM11", "only questions that were declared", "basic/patterns/mrtr"),
    must("X1", "prompts of two calls are never mixed up", OURS),
    must("X2", "a cancelled question frees its instance", OURS),
    must("X3", "a requestState that is old or foreign is refused", OURS),
    must("X4", "a second initialize never reaches a server", OURS),
    must("X5", "a server that exits when it is probed works", OURS),
    must("X6", "a server that is silent when it is probed works", OURS),
    must("X7", "a server that hangs at the end is killed", OURS, State.ELSEWHERE, "tests/runtimes"),
    must("X8", "types of ids and tokens are preserved", OURS),
    must("X9", "late progress is dropped", OURS),
    must("X10", "a question's answer finds the instance that asked", OURS),
)
