"""How many workers there are, in words."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridengine.tally import Tally


@pytest.mark.parametrize(
    ("tally", "line"),
    [
        (Tally(0, 0, 0), "0/0 workers"),
        (Tally(3, 3, 0), "3/3 workers"),
        (Tally(3, 10, 7), "3/10 workers, 7 queued"),
        (Tally(0, 100, 100), "0/100 workers, 100 queued"),
    ],
)
def test_it_says_who_works_and_who_queues(tally: Tally, line: str) -> None:
    """The queue is told of only when somebody waits in it."""
    assert str(tally) == line


@given(workers=st.integers(0), wanted=st.integers(0), queued=st.integers(1))
@settings(deadline=None)
def test_all_three_are_told(workers: int, wanted: int, queued: int) -> None:
    """Any numbers are shown as they are, also more workers than are wanted."""
    tally = Tally(workers, wanted, queued)
    assert str(tally) == f"{workers}/{wanted} workers, {queued} queued"


def test_it_is_a_value() -> None:
    """Equal counts are equal, and nobody changes them afterwards."""
    assert Tally(workers=1, wanted=2, queued=3) == Tally(1, 2, 3)
    assert len({Tally(1, 2, 3), Tally(1, 2, 3)}) == 1
    with pytest.raises(AttributeError):
        Tally(1, 2, 3).workers = 4  # type: ignore[misc]
