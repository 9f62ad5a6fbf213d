"""The JSON Schema of the configuration, for editors."""

from typing import Any, Final

from pydantic import BaseModel

from mcpgw.config import schema

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """Give the schema, with every key's description and default as one would write it."""
    root = schema.Config.model_json_schema()
    definitions = {"Config": root, **root["$defs"]}
    for name, definition in definitions.items():
        model = getattr(schema, name)
        if issubclass(model, BaseModel):
            _complete(definition, model)
        _tidy(definition)
    root["properties"]["tools"]["propertyNames"] = {"pattern": schema.SERVER_NAME}
    return {"$schema": DIALECT, **root, "title": "mcpgw configuration"}


def _complete(definition: dict[str, Any], model: type[BaseModel]) -> None:
    """Write defaults as in the file, and descriptions that pydantic leaves to the section."""
    needed = any(field.is_required() for field in model.model_fields.values())
    defaults = {} if needed else model().model_dump(mode="json")
    for name, value in definition["properties"].items():
        if name in defaults:
            value["default"] = defaults[name]
        value["description"] = model.model_fields[name].description


def _tidy(definition: dict[str, Any]) -> None:
    for part in (definition, *definition.get("properties", {}).values()):
        part.pop("title", None)
        if text := part.get("description"):
            part["description"] = " ".join(text.split())
