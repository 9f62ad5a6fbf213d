"""Why nobody answers, in plain words. Pure."""

import ssl
from collections.abc import Mapping
from typing import Final

import aiohttp

from mcpgw.doctor.answers import Explanation

_CERTIFICATES: Final[Mapping[int, Explanation]] = {
    9: ("its certificate is not valid yet", "compare the clocks of both machines"),
    10: ("its certificate has expired", "renew it; Caddy and Cloudflare do so by themselves"),
    18: ("its certificate is not trusted: it signed itself", "use one of a public authority"),
    19: ("its certificate is not trusted: its authority is unknown here", "install that authority"),
    20: (
        "its certificate is not trusted: its authority is unknown here",
        "use one of a public authority, and serve the whole chain",
    ),
    62: ("its certificate is for another name", "get one for the name in the URL"),
    64: ("its certificate is for another address", "use the name that the certificate is for"),
}
"""By OpenSSL's X509_V_ERR_…: https://docs.openssl.org/3.0/man3/X509_STORE_CTX_get_error/"""


def why(exc: BaseException) -> Explanation:
    """Say why nobody answers, and what to do."""
    match exc:
        case aiohttp.ClientConnectorCertificateError():
            return _of_certificate(exc.certificate_error)
        case aiohttp.ClientConnectorDNSError():
            return f"there is no host {exc.host}", "check the name, and its DNS record"
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return "it does not speak TLS, or none we know", "check the port, and http or https"
        case TimeoutError():
            return "it does not answer in time", "check the port, the firewall and the proxy"
        case aiohttp.ClientConnectorError():
            text = exc.os_error.strerror or str(exc.os_error)
            return f"nobody listens there: {text}", "check the port; is the proxy running?"
        case _:
            text = str(exc) or type(exc).__name__
            return f"the connection broke off: {text}", "look at the proxy's log"


def _of_certificate(error: Exception) -> Explanation:
    code = error.verify_code if isinstance(error, ssl.SSLCertVerificationError) else 0
    return _CERTIFICATES.get(code, (f"its certificate is not trusted: {error}", "replace it"))
