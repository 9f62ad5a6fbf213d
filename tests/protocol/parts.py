"""JSON as other programs write it, for Hypothesis."""

import itertools
import json
from typing import Any, Final

from hypothesis import settings
from hypothesis import strategies as st

settings.register_profile("unhurried", deadline=None, max_examples=50)
settings.load_profile("unhurried")  # no stopwatch: the machine may be busy

TRICKY: Final = (
    "\u2028",
    "\u2029",
    "\xa0",
    "\u3000",
    "\ufeff",
    "\x7f",
    "👩\u200d🚀",
    '"',
    "\\",
    "é",
)

texts = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=12),
    st.sampled_from(TRICKY),
    st.lists(st.sampled_from(TRICKY), max_size=4).map("".join),
)
"""Text that UTF-8 can hold."""

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64),
    st.floats(allow_nan=False, allow_infinity=False),
    texts,
)

values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=12,
)
"""Any JSON value."""

objects = st.dictionaries(texts, values, max_size=5)

ids = st.one_of(st.integers(-(2**53) - 1, 2**53 + 1), texts, st.sampled_from([0, "", "1", 1, 1.5]))
"""Request ids of every legal kind, and the fraction some send."""


@st.composite
def written(draw: st.DrawFn, value: Any) -> bytes:
    """`value` as one of the many JSON texts that mean it."""
    ascii_only = draw(st.booleans())
    indent = draw(st.sampled_from([None, 0, 2, "\t"]))
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" , ", " : ")]))
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent, separators=separators)
    line_end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    return text.replace("\n", line_end).encode()


def chunked(data: bytes, cuts: list[int]) -> list[bytes]:
    """`data` in pieces, cut at the given places."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(places)]
