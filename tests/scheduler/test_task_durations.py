"""How long tasks of each kind take, at the most, of late."""

from __future__ import annotations

from dask_gridengine.scheduler.task_durations import MOST_KINDS, Durations, computing


def test_of_few_tasks_the_longest_counts() -> None:
    """One slow task of three may well be followed by another."""
    durations = Durations()
    assert durations.longest("inc") is None
    for seconds in (1.0, 9.0, 1.0):
        durations.note("inc", seconds)
    assert durations.longest("inc") == 9.0
    for _ in range(500):
        durations.note("inc", 1.0)
    assert durations.longest("inc") == 1.0


def test_one_straggler_among_many_does_not_count() -> None:
    """A node with five minutes left is good for tasks of one minute, though one of them
    has taken forty."""
    durations = Durations()
    for seconds in (*range(55, 65), 2400, *range(50, 60)):
        durations.note("fit", float(seconds))
    assert (durations.longest("fit") or 0) < 65
    # When they have all become slow, that counts soon.
    for _ in range(5):
        durations.note("fit", 600.0)
    assert durations.longest("fit") == 600.0


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
