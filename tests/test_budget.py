"""A budget that is shared: whatever others hold, it is kept, and nobody is shut out of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.budget import Budget

LIMIT = 1000
STEPS = st.lists(st.tuples(st.sampled_from("abcde"), st.integers(1, 400)), max_size=60)


def fill(budget: Budget, holder: str, step: int = 1) -> int:
    """Take until it is refused, and return how much that was."""
    taken = 0
    while budget.take(holder, step, LIMIT):
        taken += step
    return taken


def test_one_alone_has_half_and_each_that_comes_later_as_much_as_is_then_left_to_the_others():
    budget = Budget()
    assert [fill(budget, holder) for holder in "abc"] == [500, 250, 125]
    budget.give_back("a", 500)
    assert fill(budget, "c") == 375 - 125
    assert fill(budget, "a") == 187


@given(STEPS)
def test_however_much_is_tried_the_sum_stays_within_the_budget_and_a_newcomer_finds_room(steps):
    budget = Budget()
    held: dict[str, int] = {}
    for holder, count in steps:
        if budget.take(holder, count, LIMIT):
            held[holder] = held.get(holder, 0) + count
    assert budget.held == sum(held.values()) < LIMIT
    assert fill(budget, "newcomer") > 0
    for holder, count in held.items():
        budget.give_back(holder, count)
    budget.give_back("newcomer", budget.held)
    assert (budget.held, budget.holders) == (0, 0)


def test_what_was_taken_in_a_block_is_given_back_at_its_end_and_what_was_refused_was_never_taken():
    budget = Budget()
    with budget.share("a", LIMIT) as share:
        assert share.take(400)
        assert not share.take(200)
        assert (budget.held, budget.holders) == (400, 1)
    assert (budget.held, budget.holders) == (0, 0)
