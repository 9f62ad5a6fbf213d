from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpgw.lifecycle.base import Owner
from mcpgw.lifecycle.queue import FairQueue


def queue_of(*tickets: tuple[str, int]) -> FairQueue[int]:
    queue: FairQueue[int] = FairQueue()
    for owner, ticket in tickets:
        queue.push(Owner(owner), ticket)
    return queue


def drained(queue: FairQueue[int]) -> list[int]:
    return [queue.pop() for _ in range(len(queue))]


def test_one_owner_is_served_in_order() -> None:
    assert drained(queue_of(("a", 1), ("a", 2), ("a", 3))) == [1, 2, 3]


def test_owners_take_turns_however_many_tickets_one_has() -> None:
    queue = queue_of(("greedy", 1), ("greedy", 2), ("greedy", 3), ("modest", 4), ("late", 5))
    assert drained(queue) == [1, 4, 5, 2, 3]


def test_an_owner_that_comes_back_goes_behind_the_others() -> None:
    queue = queue_of(("a", 1), ("b", 2), ("b", 3))
    assert queue.pop() == 1
    queue.push(Owner("a"), 4)
    assert drained(queue) == [2, 4, 3]


def test_the_oldest_ticket_is_the_oldest_of_all_owners() -> None:
    queue = queue_of(("a", 1), ("b", 2), ("a", 3))
    assert queue.oldest() == 1
    assert queue.remove(1)
    assert queue.oldest() == 2
    assert list(queue) == [2, 3]


def test_a_ticket_that_left_is_not_served_and_costs_nobody_a_turn() -> None:
    queue = queue_of(("a", 1), ("b", 2), ("c", 3))
    assert queue.remove(2)
    assert not queue.remove(2)
    assert drained(queue) == [1, 3]


def test_nothing_is_left_of_an_owner_without_tickets() -> None:
    queue = queue_of(("a", 1))
    queue.pop()
    assert (len(queue), queue.oldest(), queue._turns) == (0, None, {})
    with pytest.raises(KeyError, match="nobody waits"):
        queue.pop()


@given(st.lists(st.sampled_from("abcd"), max_size=40), st.sets(st.integers(0, 39)))
def test_every_ticket_is_served_once_and_no_owner_twice_before_another(
    owners: list[str], leaving: set[int]
) -> None:
    queue = queue_of(*((owner, ticket) for ticket, owner in enumerate(owners)))
    stay = [ticket for ticket in range(len(owners)) if ticket not in leaving]
    for ticket in leaving:
        queue.remove(ticket)
    served = drained(queue)
    assert sorted(served) == stay
    seen: Counter[str] = Counter()
    for position, ticket in enumerate(served):
        seen[owners[ticket]] += 1
        waiting = {owners[later] for later in served[position + 1 :]}
        assert all(seen[owners[ticket]] - seen[owner] <= 1 for owner in waiting)
