"""Nodes that are killed at each point of their life are replaced."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import psutil
from distributed import Client

from dask_gridengine import GridEngineCluster
from dask_gridengine.exit_causes import Cause
from dask_gridengine.nodes.registry import NodeState
from tests.chaos.conftest import (
    counted,
    explained,
    healed,
    kill,
    node_pid,
    none_in_vain,
    runs,
    states,
    wait_until,
    worker_pid,
    working,
)
from tests.chaos.tasks import fatal
from tests.nannies import watched

SLOW_ONCE = """\
import os
import time

def dask_setup(worker):
    try:
        os.mkdir({mark!r})
    except FileExistsError:
        return
    time.sleep(60)
"""


def test_killed_before_its_hello(
    options: dict[str, Any], tmp_path: Path, book: Path
) -> None:
    """A node that dies before it connects is replaced; the cause is "killed"."""
    die_once = f"mkdir {tmp_path}/died 2>/dev/null && kill -9 $$"
    with (
        GridEngineCluster(jobs=2, job_script_prologue=[die_once], **options) as cluster,
        Client(cluster) as client,
    ):
        healed(cluster, 2)
        results = client.map(counted, range(10), path=str(book), pure=False)
        assert client.gather(results) == list(range(10))
        none_in_vain(book, 10, victims=())
        explanation = explained(cluster, Cause.KILLED)
        assert "by SIGKILL" in explanation
        (victim,) = (row for row in cluster.jobs() if row.state is NodeState.GONE)
        assert victim.arrived is None
        assert len(cluster.jobs()) == 3


def test_killed_between_its_allocation_and_joining(
    options: dict[str, Any], tmp_path: Path, book: Path
) -> None:
    """A node that dies while it starts its worker is replaced."""
    preload = tmp_path / "slow.py"
    preload.write_text(SLOW_ONCE.format(mark=str(tmp_path / "slow")))
    options["worker_options"] = {"preload": [str(preload)]}
    with GridEngineCluster(jobs=2, **options) as cluster, Client(cluster) as client:
        healed(cluster, 1)
        results = client.map(counted, range(10), path=str(book), pure=False)
        (victim,) = (row for row in cluster.jobs() if row.state.value == "importing")
        kill(node_pid(victim))
        healed(cluster, 2)
        assert client.gather(results) == list(range(10))
        none_in_vain(book, 10, victims=())
        explained(cluster, Cause.KILLED)
        assert victim.worker not in {row.worker for row in working(cluster)}
        assert len(cluster.jobs()) == 3


def test_killed_while_it_computes(options: dict[str, Any], book: Path) -> None:
    """Only its running tasks and its results are computed again; it is replaced."""
    with GridEngineCluster(jobs=3, **options) as cluster, Client(cluster) as client:
        healed(cluster, 3)
        results = client.map(
            counted, range(60), path=str(book), seconds=0.05, pure=False
        )
        victim = working(cluster)[0]
        wait_until(
            lambda: [victim.worker] in runs(book).values(),
            "it computes",
            10,
            book.read_text,
        )
        os.killpg(os.getpgid(node_pid(victim)), signal.SIGKILL)
        assert client.gather(results) == list(range(60))
        none_in_vain(book, 60, victims=[victim.worker])
        healed(cluster, 3)
        explained(cluster, Cause.KILLED)
        assert len(cluster.jobs()) == 4


def test_killed_while_it_sends_a_result(
    options: dict[str, Any], tmp_path: Path, book: Path
) -> None:
    """A result that is lost on its way to the client is computed again."""
    with GridEngineCluster(jobs=2, **options) as cluster, Client(cluster) as client:
        healed(cluster, 2)
        result = client.submit(fatal, 0, str(book), str(tmp_path / "sent"))
        assert result.result(timeout=30).value == 0
        ((first, second),) = runs(book).values()
        healed(cluster, 2)
        explained(cluster, Cause.KILLED)
        (victim,) = (row for row in cluster.jobs() if row.state is NodeState.GONE)
        assert victim.worker == first != second
        assert len(cluster.jobs()) == 3


def test_no_worker_survives_its_nanny(options: dict[str, Any], book: Path) -> None:
    """If the process of the node is killed, the process of its worker ends, too."""
    with GridEngineCluster(jobs=2, **options) as cluster, Client(cluster) as client:
        healed(cluster, 2)
        results = client.map(
            counted, range(20), path=str(book), seconds=0.05, pure=False
        )
        victim = working(cluster)[0]
        worker = psutil.Process(worker_pid(client, victim))
        kill(node_pid(victim))
        wait_until(lambda: not worker.is_running(), "its worker dead", 10)
        assert client.gather(results) == list(range(20))
        none_in_vain(book, 20, victims=[victim.worker])
        healed(cluster, 2)
        explained(cluster, Cause.KILLED)


def test_a_killed_worker_needs_no_new_node(options: dict[str, Any], book: Path) -> None:
    """Its Nanny starts another one in the same job, and explain() has the reason."""
    with GridEngineCluster(jobs=2, **options) as cluster, Client(cluster) as client:
        healed(cluster, 2)
        results = client.map(
            counted, range(40), path=str(book), seconds=0.05, pure=False
        )
        watched(client, 2)
        victim = working(cluster)[0]
        before = worker_pid(client, victim)
        kill(before)
        assert client.gather(results) == list(range(40))
        none_in_vain(book, 40, victims=[victim.worker])
        healed(cluster, 2)
        assert worker_pid(client, victim) != before
        explanation = explained(cluster, Cause.KILLED)
        assert "its process ended with SIGKILL" in explanation
        assert states(cluster) == [f"{row.id} working" for row in cluster.jobs()]
        assert len(cluster.jobs()) == 2
