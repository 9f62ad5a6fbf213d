"""What the gateway fails on purpose though the server alone passes it, and why."""

from typing import Final

SLOW_START: Final = (
    "a launcher starts a process for each request of this revision; once those kept warm are used "
    "up, a Python server does not start within the half second that the suite waits"
)

DEVIATIONS: Final[dict[tuple[str, str], str]] = {
    ("modern, launcher", "sep-2575-server-no-log-without-loglevel"): SLOW_START,
    ("modern, launcher", "sep-2575-server-sends-subscription-ack"): SLOW_START,
    ("modern, launcher", "sep-2575-server-tags-subscription-id"): SLOW_START,
}
"""By the way a server is reached, and the id of the check."""
