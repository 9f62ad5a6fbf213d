import itertools
import time

import pytest

from mcpgw.config.document import read_document


def problems(text: str) -> list[tuple[int | None, str]]:
    return [(problem.line, problem.text) for problem in read_document(text).problems]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("5", 5),
        ("-3", -3),
        ("1.5", 1.5),
        ("no", False),
        ("On", True),
        ("~", None),
        ("", None),
        ("'5'", "5"),
        ("!!str 5", "5"),
        pytest.param("12:30", "12:30", id="not 750, as YAML 1.1 has it"),
        pytest.param("0755", "0755", id="not 493"),
        pytest.param("0x1f", "0x1f", id="not 31"),
        pytest.param("2026-01-01", "2026-01-01", id="not a date"),
        pytest.param("1e3", "1e3", id="not a thousand"),
        pytest.param("9" * 30, "9" * 30, id="not a number beyond all sense"),
    ],
)
def test_scalars_mean_what_they_look_like(written: str, value: object) -> None:
    assert read_document(f"key: {written}\n").value == {"key": value}


def test_every_value_knows_its_line() -> None:
    document = read_document("a:\n  b:\n    - x\n    - c: 1\n")
    assert document.lines[("a", "b")] == 2
    assert document.lines[("a", "b", 0)] == 3
    assert document.lines[("a", "b", 1, "c")] == 4
    assert document.line_of(("a", "b", 1, "missing", "deeper")) == 4


def test_a_key_given_twice_names_both_lines() -> None:
    assert problems("a: 1\nb: 2\na: 3\n") == [(3, "is given twice, first on line 1")]
    assert problems("x:\n  a: 1\n  a: 1\n") == [(3, "is given twice, first on line 2")]


def test_aliases_and_merge_keys_work() -> None:
    text = "x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}\nz: {<<: [*x, {a: 9, c: 4}]}\nw: *x\n"
    assert read_document(text).problems == []
    assert read_document(text).value == {
        "x": {"a": 1, "b": 2},
        "y": {"a": 1, "b": 3},
        "z": {"a": 1, "b": 2, "c": 4},
        "w": {"a": 1, "b": 2},
    }


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("a:\n\tb: 1", 2, "indentation must be spaces"),
        ("a:\n  b: 1\n\tc: 2", 3, "indentation must be spaces"),
        ("a: 1\nb: 'x", 2, "never closed"),
        ("a: @x", 1, "reserves; quote it"),
        ("a: %x", 1, "reserves; quote it"),
        ("a: b: c", 1, 'has a ":" where none can be'),
        ("a:\n  b: 1\n c: 2", 3, "does not line up"),
        ("a:\n  - b\n  c: 1", 3, "neither an item of the list"),
        ("a: [b,\n  c\nd: 1", 1, "the list that begins here"),
        ("a: {b: 1\nc: 2", 1, "the mapping that begins here"),
        ("a: *x", 1, "alias"),
        ("a: 1\n---\nb: 1", 2, "second document"),
        ("a: 1\nb: \x01", 2, "control character"),
        ('a: "\\d"', 1, "single quotes"),
        ("a: 1\nb 2\n", 2, "key: value"),
        ("~: 1", 1, "a key must be text"),
        ("[a]: 1", 1, "a key must be text"),
        ("a: {{x}}", 1, "a key must be text"),
        ('a: "x\\0y"', 1, "NUL"),
        ("a: !!python/object:os.system x", 1, "not supported"),
        ("a: !!binary aGk=", 1, "not supported"),
        ("a: !vault x", 1, "not supported"),
        ("a: {<<: 5}", 1, "merges mappings only"),
    ],
)
def test_what_people_get_wrong_is_told_in_plain_words(text: str, line: int, told: str) -> None:
    [(found, words)] = problems(text)
    assert found == line
    assert told in words


def test_a_message_about_syntax_quotes_nothing_of_the_file() -> None:
    """Security: what stands there may be a password with a character that YAML reserves."""
    for text in ("env: {TOKEN: @hunter2}", "env:\n  TOKEN: *hunter2", 'TOKEN: "hunter2'):
        assert "hunter2" not in str(problems(text))


def chain(link: str) -> str:
    """Nine levels, each naming the one before nine times: 9**9 values in a kilobyte."""
    names = "abcdefghi"
    lines = [f"a: &a {link.format(', '.join('x'))}"]
    for before, name in itertools.pairwise(names):
        lines.append(f"{name}: &{name} {link.format(', '.join([f'*{before}'] * 9))}")
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(chain("[{}]"), id="billion laughs"),
        pytest.param(chain("{{<<: [{}]}}").replace("[x]", "{}"), id="billion merges"),
        pytest.param("a: &a '" + "x" * 10**6 + "'\nb: [" + "*a," * 5000 + "]", id="long text"),
        pytest.param("a: &a [*a]", id="contains itself"),
        pytest.param("a: &a {<<: *a}", id="merges itself"),
        pytest.param("[" * 2**20, id="deep brackets: an hour in libyaml"),
        pytest.param("{a: " * 2**17, id="deep braces"),
        pytest.param("- " * 2**18, id="deep dashes"),
        pytest.param("\n".join(f"k{i}: 1" for i in range(70_000)), id="many"),
    ],
)
def test_a_hostile_file_is_refused_at_once(text: str) -> None:
    started = time.monotonic()
    [(_, words)] = problems(text)
    assert "deep" in words or "values" in words or "too much" in words
    assert time.monotonic() - started < 5
