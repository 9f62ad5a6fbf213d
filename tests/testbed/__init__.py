"""Real MCP servers and official MCP clients, pinned, installed where tests can find them.

Three parts, each in a folder of `.cache/testbed/` that is named after its lock file's
content, so that a changed lock makes a new folder:

mcp1    Python `mcp` 1.x: legacy clients, `mcp-server-time` and `mcp-server-git`
mcp2    Python `mcp` 2.x and `fastmcp`: clients of both eras, dual-era servers
node    the TypeScript SDKs, v1 and v2, npm's MCP servers and `mcp-remote`

`python -m tests.testbed` installs all three; `python -m tests.testbed.lock` renews the locks.
"""

from tests.testbed.parts import PARTS, Part, find, install, node_executable, why_not

__all__ = ["PARTS", "Part", "find", "install", "node_executable", "why_not"]
