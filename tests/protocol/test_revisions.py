"""The table of revisions, and which one an initialize is answered with."""

import pytest

from mcpgw.protocol.revisions import REVISIONS, SUPPORTED, legacy_revision, negotiate

LEGACY = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")


@pytest.mark.spec("L15")
@pytest.mark.parametrize("date", LEGACY)
def test_a_known_revision_is_echoed(date: str) -> None:
    assert negotiate(date).date == date


@pytest.mark.spec("L15")
@pytest.mark.parametrize("date", [None, "", "2026-07-28", "2023-01-01", "latest"])
def test_anything_else_is_answered_with_the_newest_legacy_one(date: str | None) -> None:
    assert negotiate(date).date == "2025-11-25"


def test_what_differs_between_revisions() -> None:
    assert [date for date, row in REVISIONS.items() if row.batches] == ["2025-03-26"]
    assert tuple(date for date in REVISIONS if legacy_revision(date)) == LEGACY


def test_supported_lists_modern_first_and_then_the_newest() -> None:
    assert ("2026-07-28", *reversed(LEGACY)) == SUPPORTED
