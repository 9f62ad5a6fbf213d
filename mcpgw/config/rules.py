"""What no single value can tell: names, combinations, references, exposure.

The rules look at the plain values, not at the validated ones, so that they speak up
together with everything else that is wrong.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from mcpgw.config import addresses
from mcpgw.config.containers import ContainerKeys
from mcpgw.config.document import Plain
from mcpgw.config.problems import Path, Problem, quote
from mcpgw.config.references import parse_template
from mcpgw.config.schema import SERVER_NAME, Listen, RuntimeKind

RESERVED_NAMES: Final = frozenset({"mcp", "sse", "messages"})
"""Names that mean something else in a URL."""

_VARIABLE: Final = re.compile(r"^[^=\0]+$")


def check_rules(plain: Plain) -> Iterator[Problem]:
    """Give every rule that the file as a whole breaks."""
    root = _mapping(plain)
    yield from _exposure(root)
    if "tools" not in root:
        yield Problem((), 'has no "tools"; a tool takes two lines under it: its name, and "cmd"')
    for name, tool in _mapping(root.get("tools")).items():
        path = ("tools", name)
        yield from _name(name, path)
        if isinstance(tool, dict):
            yield from _program(tool, path)
            yield from _variables(_mapping(tool.get("env")), (*path, "env"))


def _exposure(root: dict[str, Any]) -> Iterator[Problem]:
    host = _mapping(root.get("listen")).get("host", Listen().host)
    if not isinstance(host, str) or addresses.is_loopback(host.strip("[]")):
        return
    if root.get("allow_anonymous") is not True and not _mapping(root.get("auth")).get("keys"):
        yield Problem(
            ("listen", "host"),
            f"{quote(host)} can be reached from other machines, and anyone who reaches it "
            'could use every tool; ask for keys (auth.keys), bind "127.0.0.1" and put a proxy with '
            'authentication in front, or set "allow_anonymous: true" in the file if that is what '
            "you want",
        )


def _name(name: str, path: Path) -> Iterator[Problem]:
    if name in RESERVED_NAMES:
        yield Problem(path, f"the name {quote(name)} is reserved; call the tool something else")
    elif not re.fullmatch(SERVER_NAME, name):
        usable = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_")[:63].strip("-_")
        hint = f"; try {quote(usable)}" if usable else ""
        yield Problem(
            path,
            "a name is 1 to 63 lower-case letters, digits, "
            f'"-" and "_", with a letter or digit at both ends{hint}',
        )


def _program(tool: dict[str, Any], path: Path) -> Iterator[Problem]:
    """Native tools need a program, containers an image, and neither has use for the other."""
    runtime = tool.get("runtime", RuntimeKind.NATIVE)
    if runtime not in tuple(RuntimeKind):
        return
    needed, useless = ("cmd", "image") if runtime == RuntimeKind.NATIVE else ("image", "cmd")
    if not tool.get(needed):
        other = RuntimeKind.CONTAINER if needed == "cmd" else RuntimeKind.NATIVE
        hint = f'; or did you mean "runtime: {other}"?' if tool.get(useless) else ""
        what = "program to run" if needed == "cmd" else "image to run"
        yield Problem(
            path, f'"runtime: {runtime}" needs "{needed}", the {what}{hint}', meant=needed
        )
        return
    unfit = {useless} if runtime == RuntimeKind.CONTAINER else set(ContainerKeys.model_fields)
    for key in tool:
        if key in unfit and tool[key] is not None:
            yield Problem((*path, key), f'has no meaning with "runtime: {runtime}"; remove it')


def _variables(env: dict[str, Any], path: Path) -> Iterator[Problem]:
    for name, value in env.items():
        if not _VARIABLE.match(name):
            yield Problem((*path, name), 'the name of a variable cannot be empty or have a "="')
        if isinstance(value, str):
            try:
                parse_template(value)
            except ValueError as exc:
                yield Problem((*path, name), str(exc))


def _mapping(value: Plain) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
