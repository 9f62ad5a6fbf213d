"""The kinds of value a configuration is made of, and what every section of it is."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    WrapSerializer,
)

from mcpgw.config.units import (
    DURATION_PATTERN,
    SIZE_PATTERN,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
    positive,
)
from mcpgw.units import Bytes, Seconds

T = TypeVar("T")

Duration = Annotated[
    Seconds,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, when_used="json"),
    WithJsonSchema({"type": ["string", "number"], "pattern": DURATION_PATTERN, "minimum": 0}),
]
Deadline = Annotated[Duration, AfterValidator(positive)]
Size = Annotated[
    Bytes,
    BeforeValidator(parse_size),
    PlainSerializer(format_size, when_used="json"),
    WithJsonSchema({"type": ["string", "integer"], "pattern": SIZE_PATTERN, "minimum": 1}),
]
Count = Annotated[int, Field(ge=1)]
Filename = Annotated[Path, AfterValidator(Path.expanduser)]


def _read_only(mapping: Mapping[str, T]) -> Mapping[str, T]:
    return MappingProxyType(dict(mapping))


def _plain(mapping: Mapping[str, T], serialize: SerializerFunctionWrapHandler) -> Any:
    return serialize(dict(mapping))


ByName = Annotated[
    Mapping[str, T],
    AfterValidator(_read_only),
    WrapSerializer(_plain),
    Field(validate_default=True),
]


class Frozen(BaseModel):
    """A section: values that never change, and no key but the known ones."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, strict=True
    )
