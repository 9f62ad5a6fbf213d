import json
from typing import Any

import jsonschema
import pytest
import yaml

from mcpgw.config.jsonschema import json_schema
from mcpgw.config.schema import Config, ServerSpec, Timeouts
from mcpgw.units import Seconds
from tests.config.test_load import SEED


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return json_schema()


def test_defaults_agree_with_each_other() -> None:
    assert Config.model_validate(Config().model_dump()) == Config()
    assert ServerSpec.model_validate(ServerSpec().model_dump()) == ServerSpec()


def test_a_configuration_can_be_written_and_read_back() -> None:
    config = Config(tools={"a": ServerSpec(cmd="x", timeouts=Timeouts(call=Seconds(1.5)))})
    again = Config.model_validate_json(config.model_dump_json())
    assert again == config


def test_the_json_schema_is_one(schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)


def test_the_json_schema_accepts_what_the_loader_accepts(schema: dict[str, Any]) -> None:
    jsonschema.validate(yaml.safe_load(SEED), schema)
    jsonschema.validate({"tools": {"a": {"cmd": "x", "timeouts": {"call": "1m30s"}}}}, schema)
    for words in ("sh", ["sh", "-c"], None):
        box = {"runtime": "container", "image": "i", "entrypoint": words, "user": 1000}
        jsonschema.validate({"tools": {"a": box}}, schema)
    jsonschema.validate({"tools": {}, "limits": {"body": "4 MiB"}, "keep_alive": 15}, schema)


@pytest.mark.parametrize(
    "wrong",
    [
        {"tymeouts": {}},
        {"tools": {"a": {"name": "a"}}},
        {"tools": {"A": {}}},
        {"base_dir": "/"},
        {"tools": {"a": {"mode": "deamon"}}},
        {"keep_alive": "15x"},
        {"limits": {"body": "lots"}},
        {"listen": {"port": 70000}},
    ],
)
def test_the_json_schema_refuses_what_the_loader_refuses(
    schema: dict[str, Any], wrong: dict[str, Any]
) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema)


def test_every_key_has_a_description_and_a_default_as_one_would_write_it(
    schema: dict[str, Any],
) -> None:
    models = [schema, *(d for d in schema["$defs"].values() if "properties" in d)]
    keys = {key: value for model in models for key, value in model["properties"].items()}
    assert {key for key, value in keys.items() if not value["description"].strip()} == set()
    assert keys["call"]["default"] == "2m"
    assert keys["line"]["default"] == "64MiB"
    assert "name" not in schema["$defs"]["ServerSpec"]["properties"]
    assert "base_dir" not in keys
    json.dumps(schema)
