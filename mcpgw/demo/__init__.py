"""The demo server: a small dual-era stdio MCP server that needs nothing but Python."""
