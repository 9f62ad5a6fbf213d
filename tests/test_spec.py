"""Every requirement has its test, and every test names requirements that exist."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.spec import REQUIREMENTS, State

TESTS = Path(__file__).parent


def marked() -> Iterator[tuple[str, str]]:
    """Each id that a marker names, and the test it marks."""
    for file in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for id in _ids(node):
                    yield id, f"{file.relative_to(TESTS)}::{node.name}"


def _ids(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    for mark in function.decorator_list:
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.spec":
            for argument in mark.args:
                assert isinstance(argument, ast.Constant) and isinstance(argument.value, str)
                yield argument.value


def test_every_requirement_is_tested() -> None:
    named = {id for id, _ in marked()}
    assert not [r.id for r in REQUIREMENTS if r.state is State.TESTED and r.id not in named]


def test_every_marker_names_a_requirement() -> None:
    known = {r.id for r in REQUIREMENTS if r.state is State.TESTED}
    assert not [(id, test) for id, test in marked() if id not in known]


def test_requirements_are_listed_once_and_explained() -> None:
    ids = [r.id for r in REQUIREMENTS]
    assert len(ids) == len(set(ids))
    assert all(r.note for r in REQUIREMENTS if r.state is not State.TESTED)


def test_other_rooms_have_their_tests() -> None:
    for requirement in REQUIREMENTS:
        if requirement.state is State.ELSEWHERE:
            assert (TESTS.parent / requirement.note).exists(), requirement.id
