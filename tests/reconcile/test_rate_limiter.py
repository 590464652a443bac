"""How many nodes may be replaced, and when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dask_gridengine.reconcile.rate_limiter import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    REFILL_SECONDS,
    RateLimiter,
)


def test_a_loss_is_replaced_at_once_and_the_next_ones_with_pauses() -> None:
    """The pauses double, up to the longest, while no node works."""
    budget, now = RateLimiter(0.0), 0.0
    budget.resize(10_000)
    pauses = []
    for _ in range(12):
        assert budget.grant(1, now) == 1
        wait = budget.wait(now)
        pauses.append(wait)
        assert not wait or budget.grant(1, now + wait - 0.01) == 0
        now += wait
    assert pauses[:4] == [0.0, FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE


def test_a_node_that_works_ends_the_pauses() -> None:
    """What is lost after that is replaced at once again."""
    budget = RateLimiter(0.0)
    budget.grant(1, 0.0)
    budget.grant(1, 0.0)
    assert budget.wait(0.0) > 0
    budget.note_success()
    assert budget.grant(1, FIRST_PAUSE) == 1
    assert budget.wait(FIRST_PAUSE) == 0


def test_a_scale_of_the_user_fills_the_bucket() -> None:
    """The user has seen what happened, and decides."""
    budget = RateLimiter(0.0)
    budget.grant(8, 0.0)
    assert budget.grant(1, 0.0) == 0
    budget.renew(0.0)
    assert budget.grant(8, 0.0) == 8


@given(
    desired=st.integers(0, 500),
    steps=st.lists(st.tuples(st.floats(0, 900), st.integers(0, 50), st.booleans())),
)
def test_no_history_gets_more_than_the_bucket_and_its_refill(
    desired: int, steps: list[tuple[float, int, bool]]
) -> None:
    """Whatever fails, submissions are bounded in time."""
    budget, now, history = RateLimiter(0.0), 0.0, [(0.0, 0)]
    budget.resize(desired)
    capacity = max(8, 2 * desired)
    for seconds, wanted, works in steps:
        now += seconds
        if works:
            budget.note_success()
        granted = budget.grant(wanted, now)
        assert 0 <= granted <= wanted
        history.append((now, granted))
    for first, (began, _) in enumerate(history):
        window = 0
        for when, granted in history[first:]:
            window += granted
            assert window <= capacity * (1 + (when - began) / REFILL_SECONDS) + 1e-6


@given(st.lists(st.integers(1, 20), min_size=1, max_size=30))
def test_the_wait_is_exact(wanted: list[int]) -> None:
    """After it something is granted, and before nothing."""
    budget, now = RateLimiter(0.0), 0.0
    for count in wanted:
        wait = budget.wait(now)
        assert wait < 1e-3 or budget.grant(count, now + 0.99 * wait) == 0
        now += wait + 1e-6
        assert budget.grant(count, now) >= 1


def test_a_bucket_does_not_fill_by_changing_its_size() -> None:
    """It grows and shrinks with the cluster."""
    budget = RateLimiter(0.0)
    budget.resize(100)
    assert budget.grant(200, 0.0) == 200
    budget.note_success()
    budget.resize(1)
    budget.resize(4)
    assert budget.grant(100, 0.0) == 0
    for desired in (100, 1) * 5:
        budget.resize(desired)
    assert budget.grant(1000, 1.0) == 8
    budget.note_success()
    budget.give_back(1000)
    assert budget.grant(1000, 1.0) == 8
