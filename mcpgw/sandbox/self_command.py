"""How this very program is started once more."""

import sys


def self_command() -> tuple[str, ...]:
    """Give the words that start this program, which its arguments follow."""
    return (sys.executable, "-m", "mcpgw")
