"""Which `Host` and `Origin` are ours: the defence against DNS rebinding, and CORS.

Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http
(servers MUST validate `Origin`, and answer 403 when it is not allowed).
"""

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from mcpgw.config.schema import Config

_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})

ALLOWED_METHODS: Final = "GET, POST, DELETE, OPTIONS"
ALLOWED_HEADERS: Final = (
    "Authorization, X-API-Key, Content-Type, Accept, MCP-Protocol-Version, Mcp-Session-Id, "
    "Last-Event-ID, Mcp-Method, Mcp-Name, X-Request-Id, traceparent, tracestate"
)
EXPOSED_HEADERS: Final = (
    "Mcp-Session-Id, MCP-Protocol-Version, WWW-Authenticate, Retry-After, X-Request-Id, "
    "Mcpgw-Server, Mcpgw-Instance, Mcpgw-Queue-Ms"
)


@dataclass(frozen=True, slots=True)
class OriginPolicy:
    """What is accepted; built once from the configuration."""

    hosts: frozenset[str]
    origins: frozenset[str]
    loopback: bool
    """Whether the listener is reachable from this machine only."""

    def refuses_host(self, host: str) -> bool:
        """Whether a `Host` header names somebody else.

        A rebinding attack needs a name, so an address is accepted where strangers may
        reach the listener anyway.
        """
        host = host.lower()
        name = _without_port(host)
        if "*" in self.hosts or host in self.hosts or name in self.hosts:
            return False
        if name in _LOOPBACK_NAMES:
            return False
        return self.loopback or not _is_address(name)

    def refuses_origin(self, origin: str) -> bool:
        """Whether an `Origin` header names a page that may not call us."""
        origin = origin.lower()
        if "*" in self.origins or origin in self.origins:
            return False
        return not (self.loopback and _is_local_page(origin))


def policy_for(config: Config) -> OriginPolicy:
    """The policy a configuration asks for."""
    hosts = {host.lower() for host in config.allowed_hosts}
    origins = {origin.lower().rstrip("/") for origin in config.allowed_origins}
    if config.public_url is not None:
        public = urlsplit(config.public_url.lower())
        hosts.add(public.netloc)
        origins.add(f"{public.scheme}://{public.netloc}")
    hosts.add(config.listen.host.lower())
    return OriginPolicy(frozenset(hosts), frozenset(origins), config.is_loopback)


def _is_local_page(origin: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:  # such as an unclosed bracket
        return False
    return parts.scheme in ("http", "https") and _without_port(parts.netloc) in _LOOPBACK_NAMES


def _without_port(host: str) -> str:
    head, _, port = host.rpartition(":")
    return head if head and port.isdigit() else host


def _is_address(name: str) -> bool:
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
