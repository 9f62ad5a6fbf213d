"""What a pool tells those it cannot serve. Pure: from facts to errors, a new one each time."""

from mcpgw.errors import GatewayError, QueueFull, QueueTimeout, ShuttingDown, StartFailed
from mcpgw.lifecycle.health import Health
from mcpgw.runtimes.base import Exit
from mcpgw.units import Seconds


def queue_full(server: str, waiting: int) -> QueueFull:
    """Return the error for one request too many."""
    return QueueFull(
        f"{server!r} is busy: {waiting} requests wait for an instance already (`queue.size`); "
        "try again in a moment"
    )


def queue_timeout(server: str, timeout: Seconds) -> QueueTimeout:
    """Return the error for a request that waited its time."""
    return QueueTimeout(
        f"{server!r} had no instance free within {timeout:g} s (`queue.timeout`): "
        "all are in use; try again"
    )


def shutting_down(server: str) -> ShuttingDown:
    """Return the error for requests that come during the drain."""
    return ShuttingDown(f"{server!r} takes no new requests: the gateway is draining")


def backing_off(server: str, health: Health, now: float) -> StartFailed:
    """Return the error for requests that come when it is too early to try again."""
    wait = health.retry_after(now)
    return StartFailed(
        f"{server!r} keeps failing, so it is not tried again for {wait:.1f} s; "
        f"the last time: {health.error}",
        stderr=health.stderr,
        retry_after=wait,
    )


def lost_early(server: str, exit: Exit | None) -> StartFailed:
    """Return the failure of an instance that was lost before it had proven itself."""
    reason = exit.reason if exit is not None else "stopped answering"
    stderr = exit.stderr if exit is not None else ()
    return StartFailed(f"{server!r} {reason} soon after it was ready", stderr=stderr)


def retold(failure: StartFailed, retry_after: Seconds) -> StartFailed:
    """Return a copy for one of many who waited for the start: raising an exception writes to it."""
    return type(failure)(str(failure), stderr=failure.stderr, retry_after=retry_after)


def start_failure(error: GatewayError) -> StartFailed:
    """Return `error` as the failure of a start."""
    if isinstance(error, StartFailed):
        return error
    return StartFailed(str(error), stderr=error.stderr, retry_after=error.retry_after)


def start_bug(server: str) -> StartFailed:
    """Return the failure of a start that ended in a way nobody foresaw; the log says which."""
    return StartFailed(
        f"{server!r} could not be started for a reason inside the gateway; see its log"
    )
