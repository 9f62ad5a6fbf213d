"""Removes the containers of a gateway that was killed. Run by the guard, which see.

The guard gets this file's text, not this module: standard library only.
"""

import http.client
import json
import socket
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

_FOR = 30.0
"""Seconds to try for: a creation that was under way may complete a moment later."""

_PAUSE = 0.3
_QUIET_LOOKS = 3
_ANSWER = 10.0


def remove_containers(settings: Mapping[str, Any]) -> None:
    """Remove every container with the label `settings["label"]`, until none comes any more."""
    filters = quote(json.dumps({"label": [settings["label"]]}))
    quiet, deadline = 0, time.monotonic() + _FOR
    while quiet < _QUIET_LOOKS and time.monotonic() < deadline:
        try:
            found = json.loads(_ask(settings, "GET", f"/containers/json?all=1&filters={filters}"))
            for container in found:
                _ask(settings, "DELETE", f"/containers/{container['Id']}?force=1&v=1")
        except (OSError, http.client.HTTPException, ValueError):
            found = [None]
        quiet = 0 if found else quiet + 1
        time.sleep(_PAUSE)


def _ask(settings: Mapping[str, Any], method: str, path: str) -> bytes:
    connection = _connect(settings)
    try:
        connection.request(method, path)
        return connection.getresponse().read()
    finally:
        connection.close()


def _connect(settings: Mapping[str, Any]) -> http.client.HTTPConnection:
    scheme, _, rest = settings["url"].partition("://")
    if scheme == "unix":
        connection = http.client.HTTPConnection("localhost", timeout=_ANSWER)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(_ANSWER)
        connection.sock.connect(rest)
        return connection
    if settings["tls"] is None:
        return http.client.HTTPConnection(rest.rstrip("/"), timeout=_ANSWER)
    import ssl

    tls = settings["tls"]
    context = ssl.create_default_context(cafile=tls["ca"])
    context.load_cert_chain(tls["cert"], tls["key"])
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # as the client has it
    return http.client.HTTPSConnection(rest.rstrip("/"), timeout=_ANSWER, context=context)
