"""YAML in, plain values and the line of each out.

A dialect on purpose: null, booleans, decimal numbers and text, nothing else. A time, a
date or ``0755`` is text, not a number that only looks like what was written. Tags are
refused, keys are text and unique, aliases and merge keys work within bounds.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from mcpgw.config.problems import Path, Problem, quote

Plain = None | bool | int | float | str | list[Any] | dict[str, Any]

LARGEST: Final = 2**20
"""The longest file, in bytes: a thousand tools fit in a quarter of it."""

_DEEPEST: Final = 32
"""Of nested values. libyaml takes quadratic time for deep ones, recursion worse."""

_MOST_VALUES: Final = 50_000
"""With aliases expanded, so that a few lines cannot stand for billions."""

_MOST_TEXT: Final = 4 * LARGEST
"""In characters, aliases expanded: one long text can be repeated as well."""

_TAG: Final = "tag:yaml.org,2002:"
_NULL, _BOOL, _INT, _FLOAT, _STR, _MERGE = (
    _TAG + kind for kind in ("null", "bool", "int", "float", "str", "merge")
)
_TRUE: Final = frozenset({"true", "yes", "on"})

_ANYTHING: Final = re.compile("")
_PLAIN_SCALARS: Final = (
    (_NULL, r"^(~|null|Null|NULL|)$", "~nN"),
    (_BOOL, r"^(yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$",
     "yYnNtTfFoO"),
    (_INT, r"^[-+]?(0|[1-9][0-9]{0,17})$", "-+0123456789"),
    (_FLOAT, r"^[-+]?(0|[1-9][0-9]{0,17})?\.[0-9]{1,18}$", "-+.0123456789"),
    (_MERGE, r"^<<$", "<"),
)  # fmt: skip


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


for _tag, _pattern, _first in _PLAIN_SCALARS:
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), list(_first))
_Loader.add_implicit_resolver(_NULL, re.compile("^$"), [""])

_MEANING: Final = {tag: re.compile(pattern) for tag, pattern, _ in _PLAIN_SCALARS}

_Entries = dict[str, tuple[int, yaml.Node]]


@dataclass(slots=True)
class Document:
    """What a file says, before anyone asks whether it makes sense."""

    value: Plain = None
    lines: dict[Path, int] = field(default_factory=dict)
    written: dict[Path, str] = field(default_factory=dict)
    """Scalars as they stand in the file, so that a message can show how to quote them."""

    problems: list[Problem] = field(default_factory=list)

    def line_of(self, path: Path) -> int:
        """Give the line of a value, or of the nearest thing around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def value_at(self, path: Path) -> Plain:
        """Give the value at a path; None where there is none."""
        value = self.value
        for step in path:
            try:
                value = value[step]  # type: ignore[index]
            except (KeyError, IndexError, TypeError):
                return None
        return value


def read_document(text: str) -> Document:
    """Read YAML text; what is wrong with it as YAML is in `problems`."""
    document = Document()
    try:
        _check_bounds(text)
        root = yaml.compose(text, Loader=_Loader)
        if root is not None:
            document.lines[()] = root.start_mark.line + 1
            document.value = _Walk(document).value_of(root, ())
    except yaml.YAMLError as exc:
        document.problems.append(_syntax_problem(exc, text))
    except _TooMuchError as exc:
        document.problems.append(Problem((), str(exc)))
    return document


class _TooMuchError(Exception):
    pass


def _check_bounds(text: str) -> None:
    """Refuse what would take long to compose. libyaml hands out events as it reads."""
    depth = count = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.NodeEvent):
            count += 1
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        _check(depth, count)


def _check(depth: int, count: int) -> None:
    if depth > _DEEPEST:
        raise _TooMuchError(f"values are nested more than {_DEEPEST} deep, or contain themselves")
    if count > _MOST_VALUES:
        raise _TooMuchError(f"the file has more than {_MOST_VALUES} values, aliases expanded")


class _Walk:
    """Turns nodes into plain values, noting lines and problems on the way."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._count = 0
        self._text = 0

    def value_of(self, node: yaml.Node, path: Path) -> Plain:
        self._tick(len(path))
        self._document.lines.setdefault(path, _line(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            self._expect_tag(node, path, "seq")
            return [self.value_of(item, (*path, i)) for i, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _tick(self, depth: int) -> None:
        self._count += 1
        _check(depth, self._count)

    def _problem(self, path: Path, node: yaml.Node, text: str) -> None:
        self._document.problems.append(Problem(path, text, _line(node)))

    def _expect_tag(self, node: yaml.Node, path: Path, *kinds: str) -> None:
        if node.tag not in [_TAG + kind for kind in kinds]:
            self._problem(path, node, f"the tag {quote(node.tag)} is not supported; remove it")

    def _scalar(self, node: yaml.Node, path: Path) -> Plain:
        text: str = node.value
        self._document.written[path] = text
        self._text += len(text)
        if self._text > _MOST_TEXT:
            raise _TooMuchError("the file has too much text, aliases expanded")
        if "\0" in text:
            self._problem(path, node, "text cannot contain a NUL character")
        self._expect_tag(node, path, "null", "bool", "int", "float", "str", "merge")
        kind = node.tag if _MEANING.get(node.tag, _ANYTHING).match(text) else _STR
        if kind == _NULL:
            return None
        if kind == _BOOL:
            return text.lower() in _TRUE
        if kind == _INT:
            return int(text)
        return float(text) if kind == _FLOAT else text

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Plain]:
        self._expect_tag(node, path, "map")
        entries = self._entries(node, path)
        for key, (line, _) in entries.items():
            self._document.lines[(*path, key)] = line
        return {key: self.value_of(value, (*path, key)) for key, (_, value) in entries.items()}

    def _entries(self, node: yaml.MappingNode, path: Path, merging: int = 0) -> _Entries:
        """Give line and value by key: what is merged in, overridden by the mapping's own."""
        own: _Entries = {}
        merged: _Entries = {}
        for key_node, value in node.value:
            self._tick(len(path) + merging)
            if key_node.tag == _MERGE:
                for source in self._merge_sources(value, path):
                    merged = self._entries(source, path, merging + 1) | merged
            elif (key := self._key(key_node, path)) is None:
                continue
            elif key not in own:
                own[key] = (_line(key_node), value)
            elif not merging:  # else it was told where it stands
                self._problem(
                    (*path, key), key_node, f"is given twice, first on line {own[key][0]}"
                )
        return merged | own

    def _key(self, node: yaml.Node, path: Path) -> str | None:
        if isinstance(node, yaml.ScalarNode) and node.tag != _NULL:
            return str(node.value)
        self._problem(path, node, "a key must be text; put it in quotes if it is")
        return None

    def _merge_sources(self, node: yaml.Node, path: Path) -> list[yaml.MappingNode]:
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        mappings = [source for source in sources if isinstance(source, yaml.MappingNode)]
        if len(mappings) < len(sources):
            self._problem(path, node, '"<<" merges mappings only, such as "<<: *defaults"')
        return mappings


def _line(node: yaml.Node) -> int:
    line: int = node.start_mark.line + 1
    return line


def _syntax_problem(exc: yaml.YAMLError, text: str) -> Problem:
    """Say what YAML found wrong in words that name the usual cause."""
    if isinstance(exc, yaml.reader.ReaderError):
        before = text.encode()[: exc.position]
        return Problem((), "has a control character", before.count(b"\n") + 1)
    if not isinstance(exc, yaml.MarkedYAMLError):
        return Problem((), f"is not YAML: {exc}")
    mark = exc.problem_mark or exc.context_mark
    told = exc.problem or exc.context or ""
    for sign, meaning in _SYNTAX.items():
        if sign in told:
            if exc.context_mark and "{start}" in meaning:
                mark = exc.context_mark
            told = meaning.replace("{start}", "")
            break
    line = mark.line if mark else 0
    if "\t" in _indentation(text, line):
        told = "indentation must be spaces, and this line has a tab"
    return Problem((), told, line + 1)


def _indentation(text: str, line: int) -> str:
    lines = text.splitlines()
    content = lines[line] if line < len(lines) else ""
    return content[: len(content) - len(content.lstrip())]


_SYNTAX: Final = {
    "cannot start any token": "a value begins with a character that YAML reserves; quote it",
    "mapping values are not allowed": 'has a ":" where none can be; quote the value, '
    "or check the indentation",
    "did not find expected key": "does not line up with what is around it; "
    "check indentation and quotes",
    "did not find expected '-' indicator": "is neither an item of the list above it nor lined up "
    "with its key; check the indentation",
    "did not find expected ',' or ']'": '{start}the list that begins here lacks a "," or its "]"',
    "did not find expected ',' or '}'": '{start}the mapping that begins here lacks a "," '
    'or its "}"',
    "unexpected end of stream": "{start}the quote that opens here is never closed",
    "could not find expected ':'": '{start}expected "key: value"',
    "undefined alias": 'has an alias ("*name") without its anchor ("&name"); '
    "quote it if it is text",
    "another document": 'has a second document after "---"; only one is read',
    "unexpected ':'": 'has a ":" that means nothing here; put a space after it, or quote it',
    "unknown escape": "{start}has a backslash that means nothing in double quotes; "
    "use single quotes",
}
"""What libyaml says, by a part of it, and what that means to the reader."""
