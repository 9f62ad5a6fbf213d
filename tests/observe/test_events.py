import ast
from collections.abc import Iterator
from pathlib import Path

import mcpgw
from mcpgw.observe.events import EVENTS

METHODS = {"debug", "info", "warning", "error", "exception"}


def logged() -> Iterator[str]:
    """Give the names of events in calls such as ``log.info("a.b")``, constants resolved."""
    for file in Path(mcpgw.__file__).parent.rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        constants = dict(_constants(tree))
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            if call.args and _is_log(call.func):
                yield from _names(call.args[0], constants)


def _constants(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in tree.body:
        match node:
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant(value=str(value))):
                yield name, value
            case _:
                pass


def _is_log(func: ast.expr) -> bool:
    """Whether this is `log.info`, or an expression that chooses between such."""
    if isinstance(func, ast.IfExp):
        return _is_log(func.body) and _is_log(func.orelse)
    if isinstance(func, ast.Attribute) and isinstance(func.value, ast.Name):
        return func.attr in METHODS and func.value.id in ("log", "_log")
    return isinstance(func, ast.Name) and func.id in ("log", "emitter")


def _names(event: ast.expr, constants: dict[str, str]) -> Iterator[str]:
    match event:
        case ast.Constant(value=str(name)):
            yield name
        case ast.Name(id=id):
            yield constants[id]
        case ast.IfExp(body=body, orelse=orelse):
            yield from _names(body, constants)
            yield from _names(orelse, constants)
        case _:
            raise AssertionError(f"the name of an event is computed: {ast.unparse(event)}")


def test_every_event_in_the_code_is_explained_and_no_other() -> None:
    assert set(logged()) == set(EVENTS)


def test_events_are_named_noun_and_participle() -> None:
    assert all(name.count(".") == 1 and name.islower() for name in EVENTS)
