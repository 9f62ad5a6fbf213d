"""The README says what is so."""

from pathlib import Path

from mcpgw import errors
from mcpgw.edge.wire_errors import WIRE_ERRORS

README = Path(__file__).parents[1] / "README.md"


def errors_table() -> str:
    rows = ["| JSON-RPC code | HTTP status | meaning |", "|---|---|---|"]
    for cls, row in WIRE_ERRORS.items():
        meaning = (cls.__doc__ or "").splitlines()[0]
        status = row.status if row.status != 200 else "200, in-band"
        rows.append(f"| {row.code} `{cls.__name__}` | {status} | {meaning} |")
    return "\n".join(rows)


def test_the_errors_of_the_readme_are_the_errors_on_the_wire() -> None:
    text = README.read_text(encoding="utf-8")
    start, end = text.index("<!-- errors:"), text.index("<!-- /errors -->")
    assert errors_table() in text[start:end]


def test_every_error_a_request_can_meet_has_exactly_one_row() -> None:
    leaves = {cls for cls in _descendants(errors.GatewayError) if not cls.__subclasses__()}
    assert (leaves | {errors.StartFailed}) - {errors.ConfigError} == set(WIRE_ERRORS)


def _descendants(cls: type[errors.GatewayError]) -> set[type[errors.GatewayError]]:
    return {sub for direct in cls.__subclasses__() for sub in {direct, *_descendants(direct)}}
