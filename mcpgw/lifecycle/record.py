"""How starting the instances of one pool went, and what is said about it."""

from collections.abc import Callable

import structlog

from mcpgw.config.schema import Backoff
from mcpgw.errors import StartFailed
from mcpgw.lifecycle.health import HEALTHY, after_failure, after_ready
from mcpgw.lifecycle.states import PoolState

log = structlog.get_logger(__name__)


class Record:
    """Keeps a pool's `Health`, and logs when it turns. Instants are of the loop's clock."""

    def __init__(self, name: str, backoff: Backoff, jitter: Callable[[], float]) -> None:
        self._name = name
        self._backoff = backoff
        self._jitter = jitter
        self.health = HEALTHY
        """What it came to."""

    def ready(self) -> None:
        """An instance is ready."""
        if self.health.state(self._backoff) is not PoolState.RUNNING:
            self.health = after_ready(self.health)

    def fail(self, started_at: float, error: StartFailed, now: float) -> None:
        """An instance that was begun then was never of use."""
        if not self.health.is_news(started_at):
            return
        self.health = after_failure(self.health, error, now, self._backoff, self._jitter())
        failed = self.health.state(self._backoff) is PoolState.FAILED
        (log.error if failed else log.warning)(
            "pool.failed" if failed else "pool.backoff",
            server=self._name,
            error=str(error),
            failures=self.health.failures,
            retry_in_s=round(self.health.retry_after(now), 3),
        )

    def forgive(self, ready_at: float) -> None:
        """An instance that became ready then has proven itself."""
        if self.health.is_news(ready_at):
            log.info("pool.recovered", server=self._name, failures=self.health.failures)
            self.health = HEALTHY
