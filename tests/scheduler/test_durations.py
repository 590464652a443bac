"""How long tasks of each kind take, at the most, of late."""

from __future__ import annotations

from dask_gridengine.scheduler.durations import MOST_KINDS, Durations, computing


def test_the_longest_counts_and_is_slowly_forgotten() -> None:
    """One slow task is remembered for a while, not for ever."""
    durations = Durations()
    assert durations.longest("inc") is None
    for seconds in (1.0, 9.0, 1.0):
        durations.note("inc", seconds)
    assert 8 < (durations.longest("inc") or 0) <= 9
    for _ in range(500):
        durations.note("inc", 1.0)
    assert durations.longest("inc") == 1.0


def test_memory_is_bounded() -> None:
    """Of very many kinds those not seen for longest are forgotten."""
    durations = Durations()
    for number in range(2 * MOST_KINDS):
        durations.note("steady", 3.0)
        durations.note(f"kind-{number}", 1.0)
    assert durations.longest("steady") == 3.0
    assert durations.longest("kind-0") is None


def test_only_computing_counts() -> None:
    """What was moved for a task is moved before it begins."""
    phases = [
        {"action": "transfer", "start": 0.0, "stop": 5.0},
        {"action": "compute", "start": 5.0, "stop": 7.0},
    ]
    assert computing(phases) == 2.0
    assert computing([]) == 0.0
