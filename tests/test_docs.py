"""`config.example.yaml`, and what README says about configuration, are so."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from mcpgw.config.containers import ContainerKeys
from mcpgw.config.explain import keys_at
from mcpgw.config.load import load, parse
from mcpgw.config.schema import Config, ServerSpec

EXAMPLE = Path(__file__).parents[1] / "config.example.yaml"
README = EXAMPLE.with_name("README.md")
TEXT = EXAMPLE.read_text(encoding="utf-8")

REFERENCES = ("reference", "container-reference")
"""Where every key of a tool is explained."""


def switched_on() -> str:
    """Give the text with the ``#`` taken from every setting, as its first lines tell one to."""
    return re.sub(r"^( *)#(?=\S)", r"\1", TEXT, flags=re.MULTILINE)


def examples() -> list[str]:
    return [name for name in yaml.safe_load(switched_on())["tools"] if name not in REFERENCES]


def test_it_works_as_it_is_and_needs_nothing() -> None:
    config = load(EXAMPLE)
    assert [spec.cmd for spec in config.tools.values()] == ["mcpgw"]
    assert config.model_copy(update={"tools": {}, "base_dir": Path()}) == Config()


def test_it_loads_with_everything_switched_on() -> None:
    config = parse(switched_on(), name="example", base_dir=EXAMPLE.parent)
    assert list(config.tools) == [*examples(), *REFERENCES]


@pytest.mark.parametrize("name", examples())
def test_each_example_works_when_its_lines_are_switched_on(name: str) -> None:
    lines: list[str] = []
    within = False
    for line in TEXT.splitlines():
        if re.match(r"  #?[a-z-]+:$", line):
            within = line.strip(" #:") == name
        elif not line.startswith("   "):
            within = False
        lines.append(re.sub(r"^( *)#(?=\S)", r"\1", line) if within else line)
    config = parse("\n".join(lines), name="example", base_dir=EXAMPLE.parent)
    assert set(config.tools) == {"demo", name}


def test_every_key_is_there_with_its_default_and_no_other() -> None:
    shown = yaml.safe_load(switched_on())
    tool, container = (shown["tools"][name] for name in REFERENCES)
    del shown["tools"]
    defaults = Config().model_dump(mode="json")
    del defaults["tools"]
    assert dict(_flat(shown)) == dict(_flat(defaults))
    values = ServerSpec().model_dump(mode="json")
    special = {name: values.pop(name) for name in ContainerKeys.model_fields}
    assert dict(_flat(tool)) == dict(_flat({**values, "cmd": "some-program"}))
    needed = {"runtime": "container", "image": "some/image"}
    assert dict(_flat(container)) == dict(_flat({**special, **needed}))


def test_what_the_test_above_compares_is_every_key() -> None:
    assert set(Config().model_dump()) == set(keys_at(()))
    assert set(ServerSpec().model_dump()) == set(keys_at(("tools", "any")))


def test_every_key_has_words_above_it() -> None:
    """One comment may stand for a few keys in a row, or for a section and what it begins with."""
    bare: list[str] = []
    explained = False
    for line in TEXT.splitlines():
        if not line.strip():
            explained = False
        elif re.match(r" *# \S", line):
            explained = True
        elif not explained and re.match(r" *#[a-z_]+:", line):
            bare.append(line.strip(" #"))
    sections = {f"{name}:" for name, field in _fields() if _is_section(field)}
    assert {line for line in bare if line not in sections} == set()


def test_the_configuration_in_the_readme_loads() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    configurations = [block for block in blocks if re.search("^tools:", block, re.MULTILINE)]
    assert configurations
    for text in configurations:
        assert parse(text, name="README.md", base_dir=EXAMPLE.parent).tools


def _fields() -> Iterator[tuple[str, Any]]:
    for model in (Config, ServerSpec):
        for name, field in model.model_fields.items():
            yield name, field.annotation


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _flat(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, Mapping) and value:
        for key, child in value.items():
            yield from _flat(child, (*path, key))
    else:
        yield path, value
