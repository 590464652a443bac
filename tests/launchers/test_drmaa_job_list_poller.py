"""Ends as a list shows them, where the notices of DRMAA are not true."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

import pytest

from dask_gridengine.grid_types import EndNotice, NodeId
from dask_gridengine.launchers.drmaa.job_list_poller import (
    GONE,
    LOOK_EVERY,
    NO_SUCH_JOB,
    SOON,
    UNSEEN,
    JobList,
)
from dask_gridengine.launchers.drmaa.library import State, Unreachable

ONE, TWO = NodeId("8", 1), NodeId("8", 2)


class Scene:
    """A list that says what it is told to, and the time."""

    def __init__(self) -> None:
        self.now, self.looks, self.down = 1000.0, 0, False
        self.known: dict[NodeId, EndNotice | None] = {ONE: None, TWO: None}
        self.books = JobList(self.listed, lambda: self.now)
        self.books.follow([ONE, TWO])

    def listed(self) -> Mapping[NodeId, EndNotice | None]:
        self.looks += 1
        if self.down:
            raise subprocess.CalledProcessError(1, ["squeue"])
        return self.known

    def after(self, seconds: float) -> EndNotice | None:
        self.now += seconds
        return self.books.next_end()


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_an_end_is_told_once(scene: Scene) -> None:
    """As the list has it, when it is looked at next."""
    assert scene.after(LOOK_EVERY) is None
    scene.known[TWO] = end = EndNotice(node=TWO, exit_status=0)
    assert scene.after(LOOK_EVERY) == end
    assert scene.after(LOOK_EVERY) is None
    assert scene.books.state(TWO) is State.OVER
    assert scene.books.state(ONE) is State.ALIVE


def test_the_list_is_asked_for_now_and_then(scene: Scene) -> None:
    """Once for all nodes, however often somebody looks for ends; never for none."""
    for _ in range(100):
        scene.after(LOOK_EVERY / 100)
    assert scene.looks <= 2
    scene.known.clear()
    ends = [scene.after(GONE), scene.after(GONE), scene.after(0)]
    assert {end.node for end in ends if end} == {ONE, TWO}
    looks = scene.looks
    scene.after(UNSEEN)
    assert scene.looks == looks


def test_who_is_missing_is_over(scene: Scene) -> None:
    """Twice, once it was there: it was deleted in the queue, which leaves no trace."""
    scene.after(LOOK_EVERY)
    del scene.known[ONE]
    found = [scene.after(LOOK_EVERY / 2) for _ in range(10)]
    vanished = EndNotice(node=ONE, deleted=True, reason=NO_SUCH_JOB)
    assert [end for end in found if end] == [vanished]


def test_a_new_node_may_be_listed_late(scene: Scene) -> None:
    """So its absence proves nothing for a while."""
    del scene.known[ONE]
    assert scene.after(UNSEEN - 1) is None
    scene.known[ONE] = None
    assert scene.after(LOOK_EVERY) is None
    assert scene.books.state(ONE) is State.ALIVE


def test_after_a_deletion_it_looks_soon(scene: Scene) -> None:
    """Whoever closes a cluster waits for the end of its nodes."""
    scene.after(LOOK_EVERY)
    scene.known[ONE] = EndNotice(node=ONE, deleted=True)
    scene.books.look_soon()
    end = scene.after(SOON)
    assert end is not None
    assert end.node == ONE


def test_a_grid_that_is_silent_ends_nobody(scene: Scene) -> None:
    """The time without a list does not count as missing."""
    del scene.known[ONE]
    scene.after(LOOK_EVERY)
    scene.down = True
    for _ in range(10):
        with pytest.raises(Unreachable):
            scene.after(UNSEEN)
    scene.down = False
    assert scene.after(LOOK_EVERY) is None
    assert scene.books.state(ONE) is State.ALIVE
