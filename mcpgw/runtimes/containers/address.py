"""Where the engine is, and how to connect to it."""

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiodocker
import aiohttp

from mcpgw.config.containers import Tls
from mcpgw.config.schema import Config
from mcpgw.errors import EngineUnavailable
from mcpgw.units import Seconds

UNIX: Final = "unix://"
TCP: Final = "tcp://"
NO_ANSWER: Final = (aiohttp.ClientError, OSError)
"""What is raised besides aiodocker's own errors."""

USUAL: Final = "unix:///var/run/docker.sock"

_CONNECT_TIMEOUT: Final = Seconds(5)


@dataclass(frozen=True, slots=True)
class Address:
    """Where an engine listens."""

    url: str
    tls: Tls | None = None


def find_address(config: Config, own: Mapping[str, str]) -> Address:
    """Give the engine's address: as configured, as in the environment `own`, or a usual one."""
    url = config.docker_host or own.get("DOCKER_HOST") or _first_socket(own)
    tls = config.docker_tls
    folder = own.get("DOCKER_CERT_PATH")
    if tls is None and folder and own.get("DOCKER_TLS_VERIFY") and url.startswith(TCP):
        tls = Tls(**{name: Path(folder, f"{name}.pem") for name in ("ca", "cert", "key")})
    return Address(url, tls)


def _first_socket(own: Mapping[str, str]) -> str:
    runtime_dir = Path(own.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}"))
    usual = (
        Path("/var/run/docker.sock"),
        runtime_dir / "docker.sock",
        Path.home() / ".docker/run/docker.sock",
        Path("/run/podman/podman.sock"),
        runtime_dir / "podman/podman.sock",
    )
    return next((f"{UNIX}{path}" for path in usual if path.exists()), USUAL)


class Client:
    """aiodocker's client, without its limits; close it."""

    def __init__(self, address: Address) -> None:
        """Make the client, which connects when it is used.

        Raises:
            EngineUnavailable: It is at no address we know how to use, or a file of
                `docker_tls` cannot be used.
        """
        # Without a limit: by default a hundred attached containers block every other question.
        connector: aiohttp.BaseConnector | None = None
        url = address.url
        if url.startswith(UNIX):
            connector, url = aiohttp.UnixConnector(url.removeprefix(UNIX), limit=0), "unix://local"
        elif url.startswith(TCP):
            host = url.removeprefix(TCP).rstrip("/")
            context = None if address.tls is None else _context(address.tls)
            connector = aiohttp.TCPConnector(ssl=context or True, limit=0)
            url = f"{'https' if context else 'http'}://{host}"
        elif not url.startswith("npipe://"):
            raise EngineUnavailable(
                f"the container engine at {address.url} cannot be used: it takes an address at "
                "unix:// or tcp:// (docker_host, or DOCKER_HOST)"
            )
        timeout = aiohttp.ClientTimeout(total=None, connect=_CONNECT_TIMEOUT)
        self.docker: Final = aiodocker.Docker(url=url, connector=connector, timeout=timeout)
        self._connector = connector

    async def close(self) -> None:
        """Close every connection."""
        await self.docker.close()
        if self._connector is not None:
            await self._connector.close()


def _context(tls: Tls) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(tls.ca))
        context.load_cert_chain(str(tls.cert), str(tls.key))
        # Which Python sets from 3.13 on: authorities made as Docker's manual says do not pass.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    except (OSError, ssl.SSLError) as exc:
        raise EngineUnavailable(f"docker_tls: a file cannot be used: {exc}") from None
    return context
