"""Trace context: a request's own, or else what its HTTP headers say, goes on to the server.

Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic#meta
"""

import re
from collections.abc import Mapping
from typing import Final

from msgspec import Raw

from mcpgw.protocol.meta import Opened, open_params
from mcpgw.protocol.rawjson import Fields, encode

_FORMS: Final = {
    "traceparent": re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"),
    "tracestate": re.compile(r"[\x20-\x7e]{1,512}"),
    "baggage": re.compile(r"[\x20-\x7e]{1,8192}"),
}


def traced(headers: Mapping[str, str], params: Raw | None, opened: Opened | None) -> Opened | None:
    """The opened parameters with the headers' trace context, where they have none of their own.

    None where nobody opened them and there is nothing to add.
    """
    if "traceparent" not in headers:
        return opened
    opened = opened or open_params(params)
    if "traceparent" in opened.meta:
        return opened
    added: Fields = {
        name: encode(headers[name])
        for name, form in _FORMS.items()
        if name in headers and form.fullmatch(headers[name]) and name not in opened.meta
    }
    return Opened(opened.params, {**opened.meta, **added}) if "traceparent" in added else opened
