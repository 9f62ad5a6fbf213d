"""What a pool remembers of failures, and how long it waits after them. Pure.

An instance that is lost counts as a failed start unless it had proven itself, by
completing one lease or by being ready for `STABLE_AFTER`. What has proven itself clears
the count, and is replaced at once when it is lost. Becoming ready ends the waiting but
not the count, so a server that dies right after its handshake backs off as well.
"""

from dataclasses import dataclass, replace
from math import inf
from typing import Final

from mcpgw.config.schema import Backoff
from mcpgw.errors import GatewayError
from mcpgw.lifecycle.states import PoolState
from mcpgw.units import Seconds

STABLE_AFTER: Final = Seconds(30)
"""An instance that was ready for so long works, even if nobody used it: longer than servers
take to notice that a backend or a credential is missing, shorter than an operator's patience."""

JITTER: Final = 0.25
"""The part of a wait that is random, so that pools that failed together retry apart."""

_DOUBLINGS: Final = 32
"""Beyond so many, a longer wait makes no difference and a float may overflow."""


@dataclass(frozen=True, slots=True)
class Health:
    """What is remembered of failed starts and early crashes. Instants are the event loop's."""

    failures: int = 0
    """How many in a row; concurrent ones count as one."""
    failed_at: float = -inf
    """When the last one happened."""
    retry_at: float | None = None
    """The earliest instant of the next start; None once a start succeeded."""
    error: str = ""
    stderr: tuple[str, ...] = ()

    def holds_back(self, now: float) -> bool:
        """Whether it is too early for another start."""
        return self.retry_at is not None and now < self.retry_at

    def retry_after(self, now: float) -> Seconds:
        """Return how long until the next start may be tried."""
        return Seconds(max(0.0, self.retry_at - now) if self.retry_at is not None else 0.0)

    def state(self, backoff: Backoff) -> PoolState:
        """Return in one word what the last starts came to."""
        if self.retry_at is None:
            return PoolState.RUNNING
        return PoolState.FAILED if self.failures >= backoff.failures else PoolState.BACKOFF

    def is_news(self, since: float) -> bool:
        """Whether an event that began at `since` says more than the last failure did.

        A start that began before it failed for the same reason, most likely; and an instance
        that was ready before it does not show that instances can be started now.
        """
        return since >= self.failed_at


HEALTHY: Final = Health()


def after_failure(
    health: Health, error: GatewayError, now: float, backoff: Backoff, jitter: float
) -> Health:
    """Count a failure; `jitter` (0 to 1) says how much of the wait's random part to leave out."""
    failures = health.failures + 1
    wait = wait_after(failures, backoff) * (1 - JITTER * jitter)
    return Health(failures, now, now + wait, str(error), error.stderr)


def after_ready(health: Health) -> Health:
    """End the waiting, but remember the failures until the new instance has proven itself."""
    return replace(health, retry_at=None)


def wait_after(failures: int, backoff: Backoff) -> Seconds:
    """Return how long to wait after so many failures in a row, before jitter."""
    if failures >= backoff.failures:
        return backoff.max
    doubled = backoff.initial * 2.0 ** min(failures - 1, _DOUBLINGS)
    return Seconds(min(backoff.max, doubled))
