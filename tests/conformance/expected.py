"""What the gateway fails on purpose though the server alone passes it, and why: nothing."""

from typing import Final

DEVIATIONS: Final[dict[tuple[str, str], str]] = {}
"""By the way a server is reached, such as `modern, launcher`, and the id of the check."""
