"""Ends that the grid's job list shows, where DRMAA's end notices are wrong."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

import pytest

from dask_gridengine.grid_types import EndNotice, Listed, NodeId
from dask_gridengine.launchers.drmaa.job_list_poller import (
    MISSING,
    NEW_MISSING,
    POLL_INTERVAL,
    JobListPoller,
)

ONE, TWO = NodeId("8", 1), NodeId("8", 2)


class Scene:
    """A job list and a clock."""

    def __init__(self) -> None:
        self.now, self.polls, self.down = 1000.0, 0, False
        self.listing: dict[NodeId, EndNotice | Listed] = {
            ONE: Listed.LIVE,
            TWO: Listed.LIVE,
        }
        self.poller = JobListPoller(self.list_jobs, lambda: self.now)
        self.poller.add([ONE, TWO])

    def list_jobs(self) -> Mapping[NodeId, EndNotice | Listed]:
        self.polls += 1
        if self.down:
            raise subprocess.CalledProcessError(1, ["squeue"])
        return self.listing

    def after(self, seconds: float) -> EndNotice | None:
        self.now += seconds
        return self.poller.next_end()


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_an_end_is_returned_once(scene: Scene) -> None:
    """As the next poll finds it."""
    assert scene.after(POLL_INTERVAL) is None
    scene.listing[TWO] = end = EndNotice(node=TWO, exit_status=0)
    assert scene.after(POLL_INTERVAL) == end
    assert scene.after(POLL_INTERVAL) is None
    assert not scene.poller.is_live(TWO)
    assert scene.poller.is_live(ONE)


def test_polls_are_limited(scene: Scene) -> None:
    """One for all nodes, however often ends are requested; none without nodes."""
    for _ in range(100):
        scene.after(POLL_INTERVAL / 100)
    assert scene.polls <= 2
    scene.listing.clear()
    ends = [scene.after(MISSING), scene.after(MISSING), scene.after(0)]
    assert {end.node for end in ends if end} == {ONE, TWO}
    polls = scene.polls
    scene.after(NEW_MISSING)
    assert scene.polls == polls


def test_a_missing_node_has_ended(scene: Scene) -> None:
    """If it was listed before: a job deleted in the queue leaves no record."""
    scene.after(POLL_INTERVAL)
    del scene.listing[ONE]
    ends = [end for _ in range(10) if (end := scene.after(POLL_INTERVAL / 2))]
    assert [(end.node, end.deleted) for end in ends] == [(ONE, True)]


def test_a_new_node_may_be_listed_late(scene: Scene) -> None:
    """So its absence proves nothing for a while."""
    del scene.listing[ONE]
    assert scene.after(NEW_MISSING - 1) is None
    scene.listing[ONE] = Listed.LIVE
    assert scene.after(POLL_INTERVAL) is None
    assert scene.poller.is_live(ONE)


def test_a_grid_that_does_not_answer_ends_no_node(scene: Scene) -> None:
    """The time without a list does not count as missing."""
    del scene.listing[ONE]
    scene.after(POLL_INTERVAL)
    scene.down = True
    for _ in range(10):
        with pytest.raises(subprocess.CalledProcessError):
            scene.after(NEW_MISSING)
    scene.down = False
    assert scene.after(POLL_INTERVAL) is None
    assert scene.poller.is_live(ONE)


def test_a_node_that_the_grid_is_ending_lives(scene: Scene) -> None:
    """Until the cluster closes: an epilog need not be waited for."""
    scene.listing[ONE] = Listed.ENDING
    assert scene.after(POLL_INTERVAL) is None
    scene.poller.count_ending = True
    end = scene.after(POLL_INTERVAL)
    assert end is not None
    assert end.node == ONE
