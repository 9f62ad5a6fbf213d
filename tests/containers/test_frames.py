from hypothesis import given
from hypothesis import strategies as st

from mcpgw.runtimes.containers.attach import STDERR, STDOUT, Frames

PIECES = st.lists(st.tuples(st.sampled_from([STDOUT, STDERR, 0, 3]), st.binary(max_size=50)))


def framed(stream: int, data: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(data).to_bytes(4) + data


@given(PIECES, st.lists(st.integers(1, 20), min_size=1))
def test_what_comes_out_does_not_depend_on_how_it_is_cut(
    pieces: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    out, err = bytearray(), bytearray()
    frames = Frames(out.extend, err.extend)
    wire = b"".join(framed(stream, data) for stream, data in pieces)
    at = turn = 0
    while at < len(wire):
        size = cuts[turn % len(cuts)]
        frames.feed(wire[at : at + size])
        at, turn = at + size, turn + 1
    assert bytes(out) == b"".join(data for stream, data in pieces if stream == STDOUT)
    assert bytes(err) == b"".join(data for stream, data in pieces if stream == STDERR)


def test_a_part_of_a_frame_is_passed_on_at_once() -> None:
    got: list[bytes] = []
    Frames(got.append, got.append).feed(framed(STDOUT, b"x" * 100)[:20])
    assert b"".join(got) == b"x" * 12
