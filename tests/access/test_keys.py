from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpgw.access.gate import Gate, open_gate
from mcpgw.access.keys import BadKey, KeyRing, KnownKey, digest, digest_of, new_key
from mcpgw.access.principal import ANYBODY, Principal
from mcpgw.config.load import parse
from mcpgw.config.schema import Config
from mcpgw.errors import ConfigError, TooManyCredentials, Unauthenticated

ALICE = Principal("key:alice", "alice")
NOW = datetime(2026, 11, 27, tzinfo=UTC)


def gate(key: str, expires: datetime | None = None) -> Gate:
    return Gate(KeyRing([(digest(key), KnownKey(ALICE, expires))]), lambda: NOW)


def test_keys_are_random_and_can_be_recognised() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    for key in keys:
        assert key.startswith("mcpgw_")
        assert digest_of(key) == digest_of(digest(key)) == digest(key)


@pytest.mark.parametrize("bad", ["", "canary", "sha256:", "sha256:abc", "sha256:" + "G" * 64])
def test_what_is_no_key_is_refused_without_quoting_it(bad: str) -> None:
    with pytest.raises(BadKey) as caught:
        digest_of(bad)
    assert not bad or bad == "sha256:" or bad not in str(caught.value)


def test_either_header_does() -> None:
    key = new_key()
    door = gate(key)
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert door.identify([f"{scheme} {key}"], []) == ALICE
    assert door.identify([], [key]) == ALICE


@pytest.mark.parametrize(
    ("authorization", "api_key"),
    [
        ([], []),
        (["Bearer "], []),
        (["Basic {key}"], []),
        (["{key}"], []),
        ([], [""]),
        ([], ["{key} "]),
        ([], ["x{key}"]),
        ([], ["{digest}"]),
    ],
)
def test_anything_else_does_not(authorization: list[str], api_key: list[str]) -> None:
    key = new_key()
    values = {"key": key, "digest": digest(key)}
    filled = [[text.format_map(values) for text in texts] for texts in (authorization, api_key)]
    with pytest.raises(Unauthenticated) as caught:
        gate(key).identify(*filled)
    assert key not in str(caught.value)


@given(st.text())
def test_no_guess_is_good_and_none_breaks_it(guess: str) -> None:
    door = gate("mcpgw_00000000_" + "A" * 43)
    with pytest.raises(Unauthenticated):
        door.identify([], [guess])


def test_of_several_none_is_believed() -> None:
    key = new_key()
    for shown in (([f"Bearer {key}"], [key]), ([f"Bearer {key}"] * 2, []), ([], [key, "x"])):
        with pytest.raises(TooManyCredentials):
            gate(key).identify(*shown)


def test_a_key_is_good_until_it_expires() -> None:
    key = new_key()
    assert gate(key, NOW + timedelta(seconds=1)).identify([], [key]) == ALICE
    with pytest.raises(Unauthenticated, match="expired"):
        gate(key, NOW).identify([], [key])


def test_where_nobody_is_asked_everybody_is_nobody() -> None:
    door = Gate(KeyRing([]))
    assert door.is_open
    assert door.identify(["Bearer whatever"], ["a", "b"]) == ANYBODY


def configured(folder: Path, key: str, more: str = "") -> Config:
    text = f"tools: {{a: {{cmd: sh}}}}\nauth: {{keys: [{{name: alice, key: '{key}'{more}}}]}}"
    return parse(text, name="f", base_dir=folder)


def test_a_key_comes_from_the_file_a_variable_or_a_secret(tmp_path: Path) -> None:
    key = new_key()
    (tmp_path / "key").write_text(f"{key}\r\n")
    (tmp_path / "digest").write_text(f"{digest(key)}\n")
    own = {"KEY": key, "DIGEST": digest(key)}
    for setting in (digest(key), "${KEY}", "${DIGEST}", "file:key", "file:digest"):
        assert open_gate(configured(tmp_path, setting), own).identify([], [key]) == ALICE


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("${NOT_SET}", "the variable NOT_SET is not set"),
        ("file:none", "none cannot be read: No such file"),
        ("${SHORT}", "shorter than 32 characters; make one with: mcpgw key new NAME"),
    ],
)
def test_a_key_that_cannot_be_had_is_an_error_at_the_start(
    tmp_path: Path, setting: str, complaint: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        open_gate(configured(tmp_path, setting), {"SHORT": "canary"})
    assert str(caught.value).startswith("auth.keys[0].key (alice): ")
    assert complaint in str(caught.value)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "more", "complaint"),
    [
        ("mcpgw_12345678_" + "A" * 43, "", "a key itself does not belong into this file"),
        ("sha256:x", ", expires: soon", "expected a date"),
        ("sha256:x", ", groups: ['a b']", "expected a name of letters"),
        ("sha256:x", ", gruops: [a]", 'unknown key "gruops"'),
    ],
)
def test_a_wrong_entry_is_told(tmp_path: Path, key: str, more: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configured(tmp_path, key, more)
    assert complaint in str(caught.value)
    assert "A" * 43 not in str(caught.value)
