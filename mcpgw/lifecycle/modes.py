"""The two lifecycles, as settings of one pool."""

from dataclasses import replace
from typing import Final

from mcpgw.config.schema import Backoff, Mode, ServerSpec
from mcpgw.lifecycle.plan import PoolLimits
from mcpgw.units import Seconds

SPARE_IDLE: Final = Seconds(30)
"""How long a launcher keeps a never-used instance beyond `warm`: one whose client left while
it started. Long enough for that client to try again, short enough to cost nothing."""


def limits_for(spec: ServerSpec, *, asking: bool = False) -> PoolLimits:
    """Return the pool settings that make the lifecycle `spec` asks for.

    Instances that may ask questions, which name no request, work on one request at a time
    (`asking`).
    """
    limits = _launcher(spec) if spec.mode is Mode.LAUNCHER else _daemon(spec)
    return replace(limits, max_in_flight=1) if asking else limits


def _launcher(spec: ServerSpec) -> PoolLimits:
    return PoolLimits(
        max=spec.launcher.max,
        keep=spec.launcher.warm,
        max_in_flight=1,
        max_leases=1,
        max_age=None,
        idle_timeout=SPARE_IDLE,
        queue_size=spec.queue.size,
        queue_timeout=spec.queue.timeout,
        backoff=Backoff(),
        isolated=True,
    )


def _daemon(spec: ServerSpec) -> PoolLimits:
    return PoolLimits(
        max=spec.daemon.max,
        keep=spec.daemon.min,
        max_in_flight=spec.daemon.max_in_flight,
        max_leases=spec.daemon.max_requests,
        max_age=spec.daemon.max_age,
        idle_timeout=spec.daemon.idle_timeout,
        queue_size=spec.queue.size,
        queue_timeout=spec.queue.timeout,
        backoff=spec.daemon.backoff,
        isolated=False,
    )
