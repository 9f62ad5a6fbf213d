"""Every event that can be in the log, and what it means.

The code writes the names out, so that a name found in a log can be searched for; a test
keeps this table and the code equal. Variable parts are fields, never part of a name.
"""

from collections.abc import Mapping
from typing import Final

EVENTS: Final[Mapping[str, str]] = {
    "gateway.started": "The gateway listens, at `url`.",
    "gateway.stopping": "It takes no new work; requests in flight have `grace_s` to finish.",
    "gateway.stopped": "Everything it started is gone.",
    "http.answered": "A request was answered (the access log; `log.access` turns it off).",
    "http.crashed": "A request met a bug of ours; the traceback is in `exception`.",
    "http.broken": "Somebody sent what is not HTTP, or broke off in the middle of a request.",
    "exchange.failed": "A client's request failed for a `reason` the client was told.",
    "session.opened": "A client of an older revision began a session.",
    "session.closed": "It ended, for a `reason`.",
    "server.doubted": "A tool cannot work as things are, for a `reason`; it is tried all the same.",
    "server.detected": "A server showed which era of the protocol it speaks.",
    "instance.started": "A process was spawned.",
    "instance.ready": "An instance completed its handshake.",
    "instance.stderr": "A server wrote a line to stderr, or `suppressed` lines beyond its rate.",
    "instance.noise": "A server wrote something to stdout that is not MCP; it was skipped.",
    "instance.late": "A server answered a request that nobody waits for any more.",
    "instance.asked": "A server asked something that belongs to no client's request.",
    "question.refused": "A server asked what its client did not declare, or too late.",
    "call.given_up": "A call that waited for an answer of its user was ended, for a `reason`.",
    "subscriptions.lost": "A server's changes can't be listened to any more, for a `reason`.",
    "tools.repaired": "A tool's schema breaks the rules for headers; its annotation was taken out.",
    "instance.killed": "A server did not stop by itself and got a `signal`.",
    "instance.survived": "A process could not be killed: the system holds on to it.",
    "engine.found": "The container engine answered; `workspaces` says how paths become its own.",
    "engine.lost": "It did not answer; it is looked for again when it is needed.",
    "image.pulling": "An image is being pulled.",
    "image.pulled": "It is there.",
    "image.failed": "It could not be pulled, for a `reason`.",
    "container.swept": "A container that an earlier run had left behind was removed.",
    "container.left": "A container could not be removed, for a `reason`; a later sweep does it.",
    "runner.started": "The runner listens, at `socket`.",
    "runner.stopping": "It starts nothing new, and stops what it started.",
    "runner.stopped": "Everything it started is gone.",
    "runner.refused": "A process of a user (`uid`) who may not ask asked it, or too many did.",
    "slot.moved": "A place in a pool changed its state.",
    "slot.broken": "A place in a pool lost its instance, or failed to get one.",
    "pool.backoff": "A tool's instances fail to start; the next try waits.",
    "pool.failed": "They failed so often that requests are refused, but for a trial now and then.",
    "pool.recovered": "One started again.",
    "guard.failed": "What cleans up after a killed gateway could not be started.",
    "guard.exited": "It went away by itself, and is started anew.",
    "orphan.killed": "A process that its server left behind was killed.",
    "library.logged": "A library wrote to Python's own logging; `logger` names it.",
}
