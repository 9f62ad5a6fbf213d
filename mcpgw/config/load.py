"""A configuration file in, a `Config` or every problem at once out."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from pydantic import ValidationError

from mcpgw.config import problems
from mcpgw.config.document import LARGEST, Document, read_document
from mcpgw.config.explain import FILLED_IN, explain, unknown_key
from mcpgw.config.problems import Problem, describe
from mcpgw.config.rules import check_rules
from mcpgw.config.schema import Config, Runner, RuntimeKind, ServerSpec
from mcpgw.errors import ConfigError

STDIN: Final = "-"

_MOST_TOLD: Final = 100
"""Problems; whoever has more has one cause for most of them."""


@dataclass(frozen=True, slots=True)
class Override:
    """A value from the command line that takes the place of one in the file."""

    flag: str
    """How the operator gave it, for messages: ``--host``."""

    path: problems.Path
    value: str | int


def load(source: str | Path, *, overrides: Sequence[Override] = ()) -> Config:
    """Read the configuration in a file, or on stdin for ``-``.

    Raises:
        ConfigError: With every problem, one a line, as ``file:line: key.path: what to do``.
    """
    if source == STDIN:
        name, base_dir, data = "<stdin>", Path.cwd(), sys.stdin.buffer.read(LARGEST + 1)
    else:
        name, base_dir, data = str(source), Path(source).absolute().parent, _read(Path(source))
    if len(data) > LARGEST:
        raise ConfigError(f"{name}: the file is longer than {LARGEST // 2**10} KiB")
    return parse(_decode(data, name), name=name, base_dir=base_dir, overrides=overrides)


def parse(text: str, *, name: str, base_dir: Path, overrides: Sequence[Override] = ()) -> Config:
    """Give the configuration that `text` says, with relative paths seen from `base_dir`.

    Raises:
        ConfigError: See `load`; `name` stands for the file.
    """
    document = read_document(text)
    found = list(document.problems)
    if not document.lines and not found:
        found.append(Problem((), 'is empty; it needs "tools" with at least one tool'))
    config = None
    if document.lines and not (found and document.value is None):
        config, more = _validate(document, base_dir, overrides)
        found += more
    if config is None or found:
        raise ConfigError(_report(found, document, name, overrides))
    return config


def _validate(
    document: Document, base_dir: Path, overrides: Sequence[Override]
) -> tuple[Config | None, list[Problem]]:
    if not isinstance(document.value, dict):
        return None, [Problem((), 'expected settings by name, such as "tools:"')]
    for override in overrides:
        _apply(override, document)
    found = list(_filled_in(document.value))
    config = None
    try:
        config = Config.model_validate_json(json.dumps(document.value))
    except ValidationError as exc:
        found += explain(exc, document)
    found += _without_echoes(check_rules(document.value), found)
    return config and _settle(config, base_dir), found


def _apply(override: Override, document: Document) -> None:
    value: Any = document.value
    *sections, key = override.path
    for section in sections:
        value = value.setdefault(section, {})
        if not isinstance(value, dict):
            return  # a problem of its own
    value[key] = override.value
    document.written[override.path] = str(override.value)


def _filled_in(root: dict[str, Any]) -> Iterator[Problem]:
    """Take out the keys that only the loader may set, and say that they are unknown."""
    tools = root.get("tools")
    sections: list[tuple[problems.Path, Any, str]] = [((), root, FILLED_IN[Config])]
    for name, tool in tools.items() if isinstance(tools, dict) else ():
        sections.append((("tools", name), tool, FILLED_IN[ServerSpec]))
    for path, section, key in sections:
        if isinstance(section, dict) and key in section:
            del section[key]
            yield unknown_key((*path, key))


def _without_echoes(rules: Iterator[Problem], found: Sequence[Problem]) -> Iterator[Problem]:
    """Drop a missing key that is there, but misspelt."""
    misspelt = {(*problem.path[:-1], problem.meant) for problem in found if problem.meant}
    return (rule for rule in rules if (*rule.path, rule.meant) not in misspelt)


def _settle(config: Config, base_dir: Path) -> Config:
    """Fill in names, and make every path absolute."""
    tools = {}
    for name, spec in config.tools.items():
        native = spec.runtime is RuntimeKind.NATIVE
        cwd = base_dir / (spec.cwd or "") if native else spec.cwd
        tools[name] = spec.model_copy(update={"name": name, "cwd": cwd})
    settled = {
        "tools": MappingProxyType(tools),
        "base_dir": base_dir,
        "workspace_root": base_dir / config.workspace_root,
        "tools_root": base_dir / config.tools_root,
        "runner": config.runner and _runner(config.runner, base_dir),
    }
    return config.model_copy(update=settled)


def _runner(runner: Runner, base_dir: Path) -> Runner:
    native = runner.native
    settled = {
        "socket": base_dir / runner.socket,
        "native": base_dir / native if isinstance(native, Path) else native,
    }
    return runner.model_copy(update=settled)


def _report(
    found: Sequence[Problem], document: Document, name: str, overrides: Sequence[Override]
) -> str:
    flags = {override.path: override.flag for override in overrides}
    lines: dict[str, tuple[int, str]] = {}
    for problem in found:
        line = problem.line or document.line_of(problem.path)
        if flag := flags.get(problem.path):
            lines[f"{flag}: {problem.text}"] = (0, "")
        else:
            place = f"{describe(problem.path)}: " if problem.path else ""
            lines[f"{name}:{line}: {place}{problem.text}"] = (line, place)
    ordered = sorted(lines, key=lines.__getitem__)
    if len(ordered) > _MOST_TOLD:
        ordered[_MOST_TOLD:] = [f"{name}: and {len(ordered) - _MOST_TOLD} problems more"]
    return "\n".join(ordered)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(LARGEST + 1)
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a directory; name the file in it") from None
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from None


def _decode(data: bytes, name: str) -> str:
    try:
        return data.decode()  # YAML takes a byte order mark as one
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise ConfigError(f"{name}:{line}: is not UTF-8 text; save the file as UTF-8") from None
