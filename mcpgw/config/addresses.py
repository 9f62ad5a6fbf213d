"""Hosts, origins and URLs in the configuration: what is acceptable, and what people mistype.

Each function gives the value back in the form it is compared in, or raises `ValueError`
with a sentence for the operator.
"""

import re
from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult, urlsplit

ANY: Final = "*"

_HOST: Final = re.compile(r"^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_]([A-Za-z0-9._-]*))(:[0-9]{1,5})?$")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a listener bound to `host`."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def bindable(host: str) -> str:
    """Check an address to bind: an IP address or a name, without port, brackets or scheme."""
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    try:
        return str(ip_address(host))
    except ValueError:
        pass
    if not _HOST.match(host) or ":" in host:
        raise ValueError('expected an address to bind, such as "127.0.0.1", "::1" or "0.0.0.0"')
    return host


def host(value: str) -> str:
    """Check an entry of `allowed_hosts`: ``name``, ``name:port`` or ``*``."""
    if value != ANY and not _HOST.match(value):
        raise ValueError('expected a host such as "mcp.example.com" or "localhost:8080", or "*"')
    return value.lower()


def origin(value: str) -> str:
    """Check an entry of `allowed_origins`: scheme and host, nothing after it, or ``*``."""
    if value == ANY:
        return value
    parts = _split(value)
    if parts is None or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError('expected an origin such as "https://app.example.com", or "*"')
    return f"{parts.scheme}://{parts.netloc}".lower()


def base_url(value: str) -> str:
    """Check `public_url`: http or https, a host, perhaps a path; gives it without final slash."""
    parts = _split(value)
    if parts is None or parts.scheme not in ("http", "https") or parts.query or parts.fragment:
        raise ValueError('expected a URL such as "https://mcp.example.com/mcp"')
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def _split(url: str) -> SplitResult | None:
    """Give the parts of an absolute URL with a plain host; None for anything else."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises when it is not a number
    except ValueError:
        return None
    return parts if parts.scheme and _HOST.match(parts.netloc) else None
