"""An MCP gateway: HTTP clients on one side, stdio servers on the other."""

__version__ = "0.1.0"
