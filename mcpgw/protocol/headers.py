"""The `Mcp-*` headers of 2026-07-28: what their values stand for.

Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http
"""

import base64
import re
from typing import Final

_ENCODED: Final = re.compile(r"=\?base64\?(.*)\?=", re.DOTALL)
_PLAIN: Final = re.compile(r"[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?|")


class BadHeader(ValueError):
    """The value breaks the rules for mirrored headers."""


def decode_value(value: str) -> str:
    """The text a mirrored header stands for.

    Raises:
        BadHeader: Illegal characters, or an encoding that does not decode.
    """
    value = value.strip(" \t")
    if (encoded := _ENCODED.fullmatch(value)) is None:
        if not _PLAIN.fullmatch(value):
            raise BadHeader("it holds characters that must be encoded as =?base64?...?=")
        return value
    try:
        return base64.b64decode(encoded[1], validate=True).decode()
    except ValueError:  # not base64, not UTF-8, or not even ASCII
        raise BadHeader("its =?base64?...?= content does not decode to UTF-8") from None
