"""JSON-RPC error codes of MCP, and what they mean across eras.

Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic#error-codes
"""

from typing import Final

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603

RESOURCE_NOT_FOUND: Final = -32002
"""Up to 2025-11-25 only; a modern server MUST NOT send it."""

HEADER_MISMATCH: Final = -32020
MISSING_CAPABILITY: Final = -32021
UNSUPPORTED_VERSION: Final = -32022

MODERN_ONLY: Final = frozenset({HEADER_MISMATCH, MISSING_CAPABILITY, UNSUPPORTED_VERSION})
"""Codes a client takes as proof of a modern server, so they never go to a legacy one."""

RESERVED_BY_SPEC: Final = range(-32099, -32019)
"""Codes the specification keeps for itself; nobody else may send an undefined one."""
