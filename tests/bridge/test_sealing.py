"""What is sealed cannot be read, changed, or used for anything else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from mcpgw.bridge.sealing import BadState, HeldState, PassedState, ReplayState, Sealer, binding
from mcpgw.protocol.rawjson import decode_text, encode
from mcpgw.units import Seconds

SEALER = Sealer()
HELD = HeldState(100.0, "call", 1)
BOUND = binding("ada", "fs", "tools/call", {"name": Raw(b'"x"')})
NOW = Seconds(99)


def sealed(state: HeldState | PassedState | ReplayState = HELD) -> str:
    text = decode_text(SEALER.seal(state, BOUND))
    assert text is not None
    return text


@pytest.mark.parametrize(
    "state",
    [
        HELD,
        PassedState(100.0, "fs#1", None, None),
        PassedState(100.0, "fs#1", "kept", 'a "state" é'),
        ReplayState(100.0, "fs#1", ("a", "b")),
    ],
)
def test_what_was_sealed_is_opened(state: HeldState | PassedState | ReplayState) -> None:
    text = sealed(state)
    assert SEALER.open(text, BOUND, NOW) == state
    assert sealed(state) != text
    assert "fs#1" not in text and "call" not in text


@pytest.mark.spec("N21", "X3")
@pytest.mark.parametrize(
    "other",
    [
        binding("bob", "fs", "tools/call", {"name": Raw(b'"x"')}),
        binding("ada", "git", "tools/call", {"name": Raw(b'"x"')}),
        binding("ada", "fs", "prompts/get", {"name": Raw(b'"x"')}),
        binding("ada", "fs", "tools/call", {"name": Raw(b'"y"')}),
        binding("ada", "fs", "tools/call", {}),
    ],
)
def test_it_is_good_for_nothing_else(other: bytes) -> None:
    with pytest.raises(BadState):
        SEALER.open(sealed(), other, NOW)


@pytest.mark.spec("X3")
def test_it_expires_and_is_good_in_one_process_only() -> None:
    with pytest.raises(BadState, match="expired"):
        SEALER.open(sealed(), BOUND, Seconds(101))
    with pytest.raises(BadState):
        Sealer().open(sealed(), BOUND, NOW)


@given(st.text(max_size=80) | st.none())
def test_anything_else_is_refused(text: str | None) -> None:
    for made in (text, f"mcpgw1.{text}"):
        with pytest.raises(BadState):
            SEALER.open(made, BOUND, NOW)


@given(st.integers(0, 200), st.integers(1, 255))
def test_a_changed_byte_is_noticed(place: int, change: int) -> None:
    text = sealed().encode()
    place %= len(text)
    changed = bytes((*text[:place], text[place] ^ change, *text[place + 1 :]))
    with pytest.raises(BadState):
        SEALER.open(changed.decode("latin-1"), BOUND, NOW)


def test_how_parameters_are_written_does_not_matter_but_what_they_say_does() -> None:
    def bound(params: str) -> bytes:
        return binding("a", "s", "m", {"arguments": Raw(params.encode())})

    assert bound('{"a":1,"b":"\\u0061"}') == bound('{ "b" : "a", "a":1 }')
    assert bound('{"a":1}') != bound('{"a":"1"}')
    rounds = {"inputResponses": encode({}), "requestState": encode("x"), "_meta": encode({})}
    assert binding("a", "s", "m", rounds) == binding("a", "s", "m", {})
