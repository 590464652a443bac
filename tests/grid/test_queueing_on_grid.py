"""The reason why nodes queue is shown, in Grid Engine's own text."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from dask_gridengine import GridEngineCluster
from dask_gridengine.nodes.registry import NodeState
from tests.chaos.conftest import healed
from tests.grid.conftest import Cell
from tests.waiting import wait_until

QUOTA = "{\n name just_one\n enabled TRUE\n limit users * to slots=1\n}\n"
NEVER = "calendar_name never\nyear NONE\nweek mon-sun=off\n"


def disabled(cell: Cell, undo: ExitStack, directory: Path) -> None:
    cell.run("qmod", "-d", "all.q")
    undo.callback(cell.run, "qmod", "-e", "all.q")


def in_error(cell: Cell, undo: ExitStack, directory: Path) -> None:
    cell.run("qconf", "-mattr", "queue", "prolog", "/bin/false", "all.q")
    undo.callback(cell.run, "qmod", "-cq", "all.q")
    undo.callback(cell.run, "qconf", "-mattr", "queue", "prolog", "NONE", "all.q")


def quota(cell: Cell, undo: ExitStack, directory: Path) -> None:
    (directory / "quota").write_text(QUOTA)
    cell.run("qconf", "-Arqs", str(directory / "quota"))
    undo.callback(cell.run, "qconf", "-drqs", "just_one")


def calendar(cell: Cell, undo: ExitStack, directory: Path) -> None:
    (directory / "calendar").write_text(NEVER)
    cell.run("qconf", "-Acal", str(directory / "calendar"))
    undo.callback(cell.run, "qconf", "-dcal", "never")
    cell.run("qconf", "-mattr", "queue", "calendar", "never", "all.q")
    undo.callback(cell.run, "qconf", "-mattr", "queue", "calendar", "NONE", "all.q")


def hold(cell: Cell, undo: ExitStack, directory: Path) -> None:
    defaults = cell.directory / "sge" / "default" / "common" / "sge_request"
    defaults.write_text("-h\n")
    undo.callback(cell.run, "qrls", "-u", "root")
    undo.callback(defaults.unlink)


Trouble = Callable[[Cell, ExitStack, Path], None]


@pytest.fixture
def troubled(grid: Cell, tmp_path: Path) -> Iterator[Callable[[Trouble], ExitStack]]:
    """Returns a function that causes trouble until its result is closed."""
    with ExitStack() as undo:

        def bring(trouble: Trouble) -> ExitStack:
            trouble(grid, undo, tmp_path)
            return undo

        yield bring


@pytest.mark.grid
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("trouble", "word"),
    [
        (disabled, "disabled"),
        (in_error, "in error"),
        (quota, "just_one"),
        (calendar, "calendar"),
        (hold, "on hold"),
    ],
)
def test_why_nodes_queue(
    grid: Cell,
    options: dict[str, Any],
    troubled: Callable[[Trouble], ExitStack],
    trouble: Trouble,
    word: str,
) -> None:
    """explain(), the error of a wait and one line show it; later the nodes start."""
    undo = troubled(trouble)
    with GridEngineCluster(jobs=2, **options) as cluster:
        wait_until(lambda: word in cluster.explain(), word, 40, cluster.explain)
        queued = [r for r in cluster.jobs() if r.state is NodeState.QUEUED]
        assert word in cluster.explain(str(queued[-1].id))
        assert word in repr(cluster)
        with pytest.raises((TimeoutError, asyncio.TimeoutError), match=word):
            cluster.wait_for_workers(2, timeout=0.1)
        undo.close()
        healed(cluster, 2)
        assert word not in cluster.explain()
