"""JSON that keeps its bytes: objects are opened one level deep, values stay as they were written.

`decode_object` costs about as much as finding the closing brace, however large the
values are, and what is put back together with `encode` is byte for byte what came in.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Raw

T = TypeVar("T")

Fields = dict[str, Raw]
"""A JSON object opened one level deep; the later of two equal keys wins, as in most parsers."""

_OBJECT: Final = msgspec.json.Decoder(Fields)
_ARRAY: Final = msgspec.json.Decoder(list[Raw])
_TEXT: Final = msgspec.json.Decoder(str)
_ANY: Final = msgspec.json.Decoder()
_ENCODER: Final = msgspec.json.Encoder()

_ESCAPE: Final = re.compile(rb"\\(?:u([dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL)


class NotJson(ValueError):
    """The bytes are not the JSON that was asked for."""


def decode_object(data: bytes | Raw) -> Fields:
    """Open an object one level deep.

    Raises:
        NotJson: It is not valid JSON, or not an object.
    """
    try:
        return _OBJECT.decode(data)
    except (msgspec.MsgspecError, RecursionError) as exc:
        return _decode_around_surrogates(bytes(data), exc, _OBJECT)


def decode_array(data: bytes | Raw) -> list[Raw]:
    """Open an array one level deep.

    Raises:
        NotJson: It is not valid JSON, or not an array.
    """
    try:
        return _ARRAY.decode(data)
    except (msgspec.MsgspecError, RecursionError) as exc:
        return _decode_around_surrogates(bytes(data), exc, _ARRAY)


def decode_text(data: bytes | Raw) -> str | None:
    """The string that `data` is, or None if it is something else."""
    try:
        return _TEXT.decode(data)
    except (msgspec.MsgspecError, UnicodeError):
        return None


def decode_any(data: bytes | Raw) -> Any:
    """The whole value as Python objects; for small values only.

    Raises:
        NotJson: It is not valid JSON.
    """
    try:
        return _ANY.decode(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as exc:
        raise NotJson(str(exc)) from None


def first_byte(data: Raw) -> bytes:
    """The first byte, which tells what kind of value it is."""
    return bytes(memoryview(data)[:1])


def object_or_empty(data: Raw | None) -> Fields:
    """Open an optional object; anything that is not an object counts as empty."""
    if data is None:
        return {}
    try:
        return decode_object(data)
    except NotJson:
        return {}


def encode(value: Mapping[str, Any] | list[Any] | str | int) -> Raw:
    """Write a value, `Raw` parts unchanged."""
    return Raw(_ENCODER.encode(value))


def is_json(data: bytes) -> bool:
    """Whether the bytes are JSON of any kind."""
    try:
        decode_any(data)
    except NotJson:
        return False
    return True


def is_utf8(data: bytes) -> bool:
    """Whether the bytes are UTF-8, which JSON between programs must be (RFC 8259 §8.1)."""
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _decode_around_surrogates(
    data: bytes, problem: Exception, decoder: "msgspec.json.Decoder[T]"
) -> T:
    r"""Try again with surrogate escapes hidden.

    JavaScript writes lone surrogates as ``\ud800``, which JSON's grammar allows and the
    decoder does not. Every surrogate escape is replaced by a word that does not occur in
    the data, and put back in what was decoded. Only a key that holds half a character is
    not kept: it gets U+FFFD, as text in UTF-8 has no such thing.
    """
    if b"\\u" not in data:
        raise NotJson(str(problem)) from None
    word = b"@surrogate@"
    while word in data:
        word += b"@"
    masked = _ESCAPE.sub(lambda m: word + m[1] if m[1] else m[0], data)
    try:
        decoded: Any = decoder.decode(masked)
    except (msgspec.MsgspecError, RecursionError) as exc:
        raise NotJson(str(exc)) from None

    def restore(raw: Raw) -> Raw:
        return Raw(bytes(raw).replace(word, b"\\u"))

    def restore_key(key: str) -> str:
        if word.decode() not in key:
            return key
        text: str = json.loads(json.dumps(key).replace(word.decode(), "\\u"))
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    if isinstance(decoded, dict):
        decoded = {restore_key(key): restore(raw) for key, raw in decoded.items()}
    else:
        decoded = [restore(raw) for raw in decoded]
    return decoded  # type: ignore[no-any-return]
