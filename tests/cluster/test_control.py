"""What a cluster answers its user's other processes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from distributed import Client
from distributed.core import Status

from dask_gridengine import GridEngineCluster
from dask_gridengine.bootstrap.messages import ControlReply, ControlRequest
from dask_gridengine.cluster.control import ControlHandler, snapshot
from dask_gridengine.reconcile.drain import busy, drain_cluster
from tests.clusters import running
from tests.waiting import until, wait_until


async def ask(cluster: GridEngineCluster, what: str, about: str = "") -> ControlReply:
    question = ControlRequest(
        process_token="0" * 16, what=what, about=about, via="127.0.0.1:1"
    )
    return await ControlHandler(cluster).answer(question)


def test_its_answers(shared: Path) -> None:
    """Status, explanations, logs, a client's identity, or an error in words."""
    with running(shared, jobs=1) as cluster:
        cluster.wait_for_workers(1)

        def asked(*request: str) -> ControlReply:
            answer: ControlReply = cluster.sync(ask, cluster, *request)
            return answer

        assert asked("status").body["states"] == {"working": 1}
        assert "1 working" in asked("explain").body["text"]
        assert asked("explain", "ge-9").error
        logs = asked("logs", "1.1").body["logs"]
        assert [*logs] == ["ge-0"]
        assert "Registered to" in logs["ge-0"]
        client = asked("client").body
        assert client["address"].startswith("tls://")
        assert "PRIVATE KEY" in client["tls"]["key"]
        assert "another version" in asked("dance").error


def test_a_snapshot_is_plain(shared: Path) -> None:
    """JSON can hold it, and it is right: nodes, hosts, waits, tasks."""
    with running(shared, jobs=2, slots=1) as cluster, Client(cluster) as client:
        client.wait_for_workers(1)
        kept = client.submit(sum, [1, 2])
        assert kept.result() == 3

        async def look() -> dict[str, Any]:
            return snapshot(cluster)

        found = json.loads(json.dumps(cluster.sync(look)))
        assert found["wanted"] == 2
        assert found["states"] == {"queued": 1, "working": 1}
        assert [sum(n.values()) for n in found["hosts"].values()] == [1]
        assert found["queue"]["waiting"] == 1
        assert found["tasks"]["done"] == 1


def slowly(path: str) -> int:
    """Ends when there is a file."""
    import time
    from pathlib import Path

    Path(path + ".begun").touch()
    while not Path(path).exists():
        time.sleep(0.02)
    return 1


def test_draining_waits_for_what_runs(shared: Path, tmp_path: Path) -> None:
    """No new node, no lost task; then no worker is left."""
    go = tmp_path / "go"
    with running(shared, jobs=1) as cluster, Client(cluster) as client:
        kept = client.submit(slowly, str(go))
        wait_until(Path(f"{go}.begun").exists, "a task that runs")

        async def ending() -> int:
            work = asyncio.ensure_future(drain_cluster(cluster, 20))
            await until(lambda: cluster.wanted == 0, "no node desired")
            assert busy(cluster) == 1
            go.touch()
            return await work

        assert cluster.sync(ending) == 0
        assert not cluster.scheduler.workers
        del kept


def test_requests_to_end_close_the_cluster(shared: Path) -> None:
    """At once, or when what runs is done; both end in a closed cluster."""
    for how in ("drain", "close"):
        with running(shared, jobs=1) as cluster:
            cluster.wait_for_workers(1)
            assert not cluster.sync(ask, cluster, how).error
            wait_until(lambda c=cluster: c.status is Status.closed, "closed", 20)
