"""When a node must leave, and when another is asked for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dask_gridengine.reconcile.walltime import (
    GRID_SLACK,
    HAND_OVER,
    LEAST_HAND_OVER,
    LEAST_LEAD,
    LONGEST_LEAD,
    USEFUL,
    Step,
    hand_over_seconds,
    lead,
    margin,
    step,
)

SECONDS = st.floats(0.0, 1e6)


@given(lifetime=SECONDS, task=SECONDS, moving=SECONDS)
def test_a_node_is_of_use_for_half_its_life(
    lifetime: float, task: float, moving: float
) -> None:
    """Whatever tasks take; and a longer task never makes the margin shorter."""
    found = margin(lifetime, task=task, hand_over=moving)
    assert 0 <= found <= (1 - USEFUL) * lifetime
    assert found <= margin(lifetime, task=task + 1, hand_over=moving)


def test_the_margin_is_learnt_from_tasks_and_data() -> None:
    """There is time for one more task and for the move of what is held."""
    moving = hand_over_seconds(3600, nbytes=1e9, bandwidth=1e8, longest=30)
    assert moving > HAND_OVER + 10
    assert margin(3600, task=60, hand_over=moving) > GRID_SLACK + 60 + moving
    endless = hand_over_seconds(3600, nbytes=1e15, bandwidth=0, longest=30)
    assert endless == HAND_OVER + 30
    brief = hand_over_seconds(10, nbytes=0, bandwidth=1e8, longest=30)
    assert brief == LEAST_HAND_OVER


@given(useful=SECONDS, starts=st.lists(SECONDS))
def test_a_replacement_is_asked_for_as_early_as_starts_take(
    useful: float, starts: list[float]
) -> None:
    """The slowest seen counts; within bounds, so that nodes are not always doubled."""
    found = lead(useful, starts)
    assert found <= LONGEST_LEAD * useful
    assert found >= min(LONGEST_LEAD * useful, max([LEAST_LEAD, *starts]))


def test_it_is_replaced_first_and_drains_then() -> None:
    """The steps of a node's last minutes, in their order."""
    steps = [step(left, margin=10, lead=5) for left in (60, 15.1, 15, 10.1, 10, -1)]
    assert steps == [
        *[Step.STAY, Step.STAY, Step.REPLACE, Step.REPLACE],
        *[Step.DRAIN, Step.DRAIN],
    ]
