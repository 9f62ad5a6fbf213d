"""Whatever happens in whatever order, each request of a client's is answered exactly once."""

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule
from msgspec import Raw

from mcpgw.bridge.sealing import BadState
from mcpgw.bridge.suspension import Ask, BadAnswer, End, Phase, Suspension
from mcpgw.errors import GatewayError, InstanceExited
from mcpgw.protocol.messages import Outcome, Request, RequestId, Result

ROOTS = Raw(b'{"roots":[]}')


class Lives(RuleBasedStateMachine):
    """A call, its server and its client, all of whom do what they like."""

    asked = Bundle("asked")

    def __init__(self) -> None:
        super().__init__()
        self.course = Suspension()
        self.waiting = True
        self.told: list[Ask | End] = []
        self.number = 0
        self.ids: set[bytes] = set()
        self.answered: list[bytes] = []
        self.withdrawn: set[bytes] = set()
        self.closed = False
        self.ending: Outcome | GatewayError | None = None

    @initialize()
    def begin(self) -> None:
        assert self.course.next() is None

    @rule()
    def the_server_asks(self) -> None:
        if self.ending is not None or self.closed:
            return
        self.number += 1
        id = RequestId(b"%d" % self.number)
        self.ids.add(id)
        self.course.asked(Request(id, "roots/list"))

    @rule(number=st.integers(1, 5))
    def the_server_withdraws(self, number: int) -> None:
        self.course.withdrawn(b"%d" % number)
        self.withdrawn.add(b"%d" % number)

    @rule(dies=st.booleans())
    def the_server_ends(self, dies: bool) -> None:
        outcome = InstanceExited("gone") if dies else Result(Raw(b"{}"))
        self.ending = self.ending or outcome
        self.course.ended(outcome)

    @rule()
    def the_gateway_looks(self) -> None:
        turn = self.course.next()
        if turn is None:
            return
        assert self.waiting, "nobody waits, and somebody is answered"
        assert not self.closed
        self.waiting = False
        self.told.append(turn)
        if isinstance(turn, End):
            assert turn.outcome is self.ending

    @rule(turn=st.integers(0, 4), keys=st.sets(st.integers(1, 5)), sane=st.booleans())
    def the_client_comes_back(self, turn: int, keys: set[int], sane: bool) -> None:
        answers: Mapping[str, Raw] = {f"q{key}": ROOTS if sane else Raw(b"1") for key in keys}
        last = self.told[-1] if self.told else None
        fresh = isinstance(last, Ask) and last.turn == turn and not self.waiting
        before = set(self.course.open)
        try:
            passed = self.course.resume(turn, answers)
        except BadState:
            assert not fresh or self.closed
            return
        except BadAnswer:
            assert fresh and not sane and set(self.course.open) == before
            return
        assert fresh and not self.closed
        self.waiting = True
        for request, _ in passed:
            assert request.id not in self.answered
            self.answered.append(request.id)

    @rule()
    def the_client_goes(self) -> None:
        if self.waiting and not self.closed:
            for request in self.course.close():
                assert request.id not in self.answered
                self.answered.append(request.id)
            self.closed, self.waiting = True, False

    @invariant()
    def nothing_is_answered_twice(self) -> None:
        assert len(self.answered) == len(set(self.answered))
        assert sum(isinstance(turn, End) for turn in self.told) <= 1
        turns = [turn.turn for turn in self.told if isinstance(turn, Ask)]
        assert turns == list(range(1, len(turns) + 1))

    @invariant()
    def whoever_waits_will_hear(self) -> None:
        """An outcome, once there is one, reaches the next look of whoever waits."""
        if self.waiting and self.ending is not None and not self.closed:
            assert self.course.phase is Phase.RUNNING

    @invariant()
    def no_question_is_lost(self) -> None:
        if self.closed:
            assert not self.course.open
            return
        settled = set(self.answered) | self.withdrawn
        assert {bytes(r.id) for r in self.course.open.values()} >= self.ids - settled


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)


@given(st.lists(st.sampled_from(["1", "2", "3"]), max_size=6))
def test_all_questions_of_a_turn_are_told_together(ids: list[str]) -> None:
    course = Suspension()
    for id in ids:
        course.asked(Request(RequestId(id.encode()), "roots/list"))
    turn = course.next()
    if not ids:
        assert turn is None
    else:
        assert isinstance(turn, Ask)
        assert [bytes(r.id).decode() for r in turn.questions.values()] == ids
        assert course.next() is None


@pytest.mark.spec("N21")
def test_a_turn_works_once() -> None:
    course = Suspension()
    course.asked(Request(RequestId(b"1"), "roots/list"))
    assert isinstance(course.next(), Ask)
    assert course.resume(1, {"q1": ROOTS})
    with pytest.raises(BadState):
        course.resume(1, {"q1": ROOTS})
