"""How long tasks of each kind take."""

from __future__ import annotations

from pathlib import Path

from dask_gridengine.scheduler.task_durations import MAX_KINDS, TaskDurations
from tests.scheduler.scene import nap, working


def test_of_few_tasks_the_longest_counts() -> None:
    """One slow task of three may well be followed by another."""
    durations = TaskDurations()
    assert durations.quantile("inc") is None
    for seconds in (1.0, 9.0, 1.0):
        durations.record("inc", seconds)
    assert durations.quantile("inc") == 9.0
    for _ in range(500):
        durations.record("inc", 1.0)
    assert durations.quantile("inc") == 1.0


def test_one_straggler_among_many_does_not_count() -> None:
    """A node with five minutes left is good for tasks of one minute, though one of them
    has taken forty."""
    durations = TaskDurations()
    for seconds in (*range(55, 65), 2400, *range(50, 60)):
        durations.record("fit", float(seconds))
    assert (durations.quantile("fit") or 0) < 65
    # When they have all become slow, that counts soon.
    for _ in range(5):
        durations.record("fit", 600.0)
    assert durations.quantile("fit") == 600.0


def test_memory_is_bounded() -> None:
    """Of very many kinds those unused for longest are forgotten."""
    durations = TaskDurations()
    for number in range(2 * MAX_KINDS):
        durations.record("steady", 3.0)
        durations.record(f"kind-{number}", 1.0)
    assert durations.quantile("steady") == 3.0
    assert durations.quantile("kind-0") is None


async def test_durations_are_recorded_as_tasks_end(tmp_path: Path) -> None:
    """The transfers before a task do not count."""
    async with working(tmp_path) as (scheduler, client, _):
        done = client.submit(nap)
        await done
        prefix = scheduler.tasks[done.key].prefix
        known = scheduler.task_durations.expected(prefix)
        assert known is not None
        assert 0.5 <= known < 5
