"""Ends as a list shows them, where the notices of DRMAA are not true."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

import pytest

from dask_gridengine.launchers.base import NodeEnd, NodeId
from dask_gridengine.launchers.drmaa_library import State, Unreachable
from dask_gridengine.launchers.drmaa_listed import (
    LOOK_EVERY,
    MISSING,
    NO_SUCH_JOB,
    Books,
)

ONE, TWO = NodeId("8", 1), NodeId("8", 2)


class Scene:
    """A list that says what it is told to, and the time."""

    def __init__(self) -> None:
        self.now, self.looks, self.down = 1000.0, 0, False
        self.known: dict[NodeId, NodeEnd | None] = {ONE: None, TWO: None}
        self.books = Books(self.listed, lambda: self.now)
        self.books.follow([ONE, TWO])

    def listed(self) -> Mapping[NodeId, NodeEnd | None]:
        self.looks += 1
        if self.down:
            raise subprocess.CalledProcessError(1, ["squeue"])
        return self.known

    def after(self, seconds: float) -> NodeEnd | None:
        self.now += seconds
        return self.books.next_end()


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_an_end_is_told_once(scene: Scene) -> None:
    """As the list has it, when it is looked at next."""
    assert scene.after(LOOK_EVERY) is None
    scene.known[TWO] = end = NodeEnd(node=TWO, exit_status=0)
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
    ends = [scene.after(MISSING), scene.after(0)]
    assert {end.node for end in ends if end} == {ONE, TWO}
    looks = scene.looks
    scene.after(MISSING)
    assert scene.looks == looks


def test_who_is_missing_for_long_is_over(scene: Scene) -> None:
    """A list may show a new job late, so a moment is no proof."""
    scene.after(LOOK_EVERY)
    del scene.known[ONE]
    assert scene.after(MISSING - 1) is None
    scene.known[ONE] = None
    assert scene.after(LOOK_EVERY) is None
    del scene.known[ONE]
    found = [scene.after(LOOK_EVERY) for _ in range(10)]
    assert [end for end in found if end] == [NodeEnd(node=ONE, reason=NO_SUCH_JOB)]


def test_a_grid_that_is_silent_ends_nobody(scene: Scene) -> None:
    """The time without a list does not count as missing."""
    del scene.known[ONE]
    scene.after(LOOK_EVERY)
    scene.down = True
    for _ in range(10):
        with pytest.raises(Unreachable):
            scene.after(MISSING)
    scene.down = False
    assert scene.after(LOOK_EVERY) is None
    assert scene.books.state(ONE) is State.ALIVE
