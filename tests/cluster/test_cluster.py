"""The cluster on local processes: the same code, the same nodes as on a grid."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import dask
import numpy as np
import psutil
import pytest
from dask import array as da
from distributed import Client, Security
from distributed.comm import parse_host_port
from distributed.core import Status
from distributed.scheduler import KilledWorker
from distributed.system import MEMORY_LIMIT

from dask_gridengine import GridEngineCluster, NodesFailed, OptionError, SubmitError
from tests.refusing import refusing_grid
from tests.stranger import try_connect
from tests.waiting import until, wait_until
from tests.workers import Steps


def states(cluster: GridEngineCluster) -> list[str]:
    return [node.state.value for node in cluster.jobs()]


def test_one_line_makes_a_cluster_and_leaves_nothing(
    options: dict[str, Any], shared: Path
) -> None:
    """Client(GridEngineCluster(...)) computes, and after close() nothing is left."""
    with GridEngineCluster(jobs=2, **options) as cluster, Client(cluster) as client:
        client.wait_for_workers(2, timeout=30)
        x = da.arange(1000, chunks=100)
        assert int((x**2).sum().compute()) == sum(i * i for i in range(1000))
        assert {w["name"] for w in cluster.scheduler_info["workers"].values()} == {
            "ge-0",
            "ge-1",
        }
        assert list(shared.iterdir())
    assert states(cluster) == ["gone", "gone"]
    assert list(shared.iterdir()) == []


def test_numbers_may_be_numpys(options: dict[str, Any]) -> None:
    """An int of any type counts wherever an int does; a bool is none."""
    one, size = np.int64(1), np.int64(10**9)
    given: dict[str, Any] = {"cores": one, "processes": one, "max_jobs": np.int8(9)}
    with GridEngineCluster(one, memory=size, **given, **options) as cluster:
        for asked in ({"n": one}, {"jobs": one}, {"cores": one}, {"memory": size}):
            cluster.scale(**asked)
            assert len(cluster.worker_spec) == 1
            assert json.dumps(cluster.wanted) == "1"
    for name in given:
        with pytest.raises(OptionError, match=name):
            GridEngineCluster(**{name: True}, **options)


@pytest.mark.parametrize(
    "given",
    [
        {"n_workers": "lots"},
        {"n_workers": -1},
        {"jobs": -1},
        {"jobs": {"nopool": 3}},
        {"jobs": {"a": -1}, "pools": {"a": {}}},
        {"jobs": {"a": "lots"}, "pools": {"a": {}}},
        {"jobs": {"a": 1}, "n_workers": 1, "pools": {"a": {}}},
    ],
)
def test_a_number_of_nodes_that_makes_no_sense_is_refused(given: Any) -> None:
    """By the name of the argument, before anything is started."""
    with pytest.raises(OptionError, match=str(next(iter(given)))):
        GridEngineCluster(launcher="process", asynchronous=True, **given)


def test_a_start_that_is_cancelled_leaves_nothing(
    options: dict[str, Any], shared: Path
) -> None:
    """async with, cancelled at any moment of its start, deletes what it queued."""

    async def main(delay: float) -> None:
        async def use() -> None:
            async with GridEngineCluster(jobs=2, asynchronous=True, **options):
                await asyncio.sleep(60)

        task = asyncio.ensure_future(use())
        await asyncio.sleep(delay)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    for delay in (0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.6):
        asyncio.run(main(delay))
        assert list(shared.iterdir()) == [], delay


def test_a_refused_array_leaves_nothing(
    options: dict[str, Any],
    shared: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The constructor raises the grid's reason, and cleans up."""
    refusing_grid(tmp_path, monkeypatch)
    options["launcher"] = "drmaa"
    with pytest.raises(SubmitError, match="unknown queue"):
        GridEngineCluster(jobs=1, **options)
    assert list(shared.iterdir()) == []


def test_nodes_of_more_cores_than_there_are_run(
    options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """One at a time, with the threads that were asked for, and one line says so."""
    with GridEngineCluster(jobs=20, cores=4, **options) as cluster:
        with Client(cluster) as client:
            client.wait_for_workers(1, timeout=60)
            assert client.submit(sum, [1, 2]).result(timeout=30) == 3
            assert set(client.nthreads().values()) == {4}
        assert states(cluster).count("queued") == 19
        (line,) = [text for text in caplog.messages if "cores=4" in text]
        assert line in str(cluster.get_logs()["Cluster"])


@pytest.mark.parametrize(
    ("change", "bound"),
    [
        ({"jobs": 20}, "slots=2"),
        ({"jobs": 2, "cores": 2}, "slots=2"),
        ({"jobs": 5, "slots": 8, "max_jobs": 3}, "max_jobs=3"),
        ({"pools": {"a": {}, "b": {"max_jobs": 1}}}, "max_jobs=1"),
    ],
)
def test_waiting_for_more_workers_than_can_run_at_once_ends(
    options: dict[str, Any], change: dict[str, Any], bound: str
) -> None:
    """With the bound that is in the way; it would never end."""
    with GridEngineCluster(**{**options, **change}) as cluster:
        with Client(cluster) as client, pytest.raises(NodesFailed, match=bound):
            client.wait_for_workers(5)
        if "pools" not in change:
            cluster.wait_for_workers(1, timeout=60)


@pytest.mark.parametrize(
    "change",
    [
        {"slots": 6, "jobs": 6},
        {"slots": 3, "jobs": 3, "cores": 5},
        {"pools": {"a": {}, "b": {}, "c": {}}, "jobs": {"a": 2, "b": 2, "c": 2}},
    ],
)
def test_memory_limits_of_local_nodes_fit_the_machine_together(
    options: dict[str, Any], change: dict[str, Any]
) -> None:
    """Where no figure was asked for, nodes that run at once share its memory."""
    count = 1 if "cores" in change else 6
    with GridEngineCluster(**{**options, **change, "nanny": False}) as cluster:
        cluster.wait_for_workers(count, timeout=60)
        workers = cluster.scheduler_info["workers"].values()
        together = sum(worker["memory_limit"] for worker in workers)
        assert 0.9 * MEMORY_LIMIT < together <= MEMORY_LIMIT


def test_a_scheduler_that_cannot_start_leaves_no_node(
    options: dict[str, Any], shared: Path
) -> None:
    """Nodes are requested before it starts, and deleted if it does not."""
    options["scheduler_options"] |= {"preload": "nothing_of_this_name"}
    with pytest.raises(RuntimeError, match="failed to start"):
        GridEngineCluster(jobs=2, **options)
    assert list(shared.iterdir()) == []


@pytest.mark.parametrize("security", [True, False])
def test_a_client_in_this_process_needs_no_network(
    options: dict[str, Any], shared: Path, security: bool
) -> None:
    """It computes, in a thread of its own or in the cluster's, and leaves nothing."""
    with GridEngineCluster(jobs=1, security=security, **options) as cluster:
        for loop in (None, cluster.loop):
            with Client(
                cluster.in_process_address, security=cluster.security, loop=loop
            ) as client:
                assert client.submit(sum, [1, 2], pure=False).result(timeout=30) == 3
                (worker,) = client.scheduler_info()["workers"]
        protocol = "tls://" if security else "tcp://"
        assert cluster.in_process_address.startswith("inproc://")
        assert cluster.scheduler_address.startswith(protocol)
        assert worker.startswith(protocol)
        with Client(cluster) as client:
            assert client.submit(sum, [3, 4]).result(timeout=30) == 7
    assert list(shared.iterdir()) == []


def test_a_cluster_is_stuck_when_all_its_nodes_have_failed(
    options: dict[str, Any],
) -> None:
    """stuck() returns the error with the reasons, until new nodes are requested."""
    options["python"] = "/nowhere/python"
    with GridEngineCluster(jobs=2, **options) as cluster:
        error = wait_until(cluster.stuck, "stuck", 30, lambda: states(cluster))
        assert isinstance(error, NodesFailed)
        assert "could not find Python" in str(error)
        cluster.scale(0)
        assert cluster.stuck() is None
        cluster.scale(1)
        assert wait_until(cluster.stuck, "stuck again", 30).reasons != error.reasons
    assert cluster.stuck() is None


def test_a_cluster_is_not_stuck_while_there_is_hope(options: dict[str, Any]) -> None:
    """With no node asked for, with nodes on their way, with one worker of two."""
    fails_second = ['test "$SGE_TASK_ID" = 1 || exit 69']
    with GridEngineCluster(job_script_prologue=fails_second, **options) as cluster:
        assert cluster.stuck() is None
        cluster.scale(2)
        assert cluster.stuck() is None
        wait_until(lambda: "gone" in states(cluster), "one has failed", 30)
        assert cluster.stuck() is None
        cluster.wait_for_workers(1, timeout=30)
        assert cluster.stuck() is None


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"python": "/nowhere/python"}, r"could not find Python.*not found.*python="),
        (
            {"local_directory": "/proc/nowhere"},
            r"could not write their scratch directory.*local_directory=",
        ),
        (
            {"worker_options": {"nthreads": "four"}},
            r"could not be given an allocation.*four",
        ),
        (
            {"worker_options": {"worker_class": "no.such.Class"}},
            r"could not start their worker.*no",
        ),
        (
            {"job_script_prologue": ["trap - EXIT; exit 69"]},
            r"could not reach the cluster.*interface=",
        ),
        ({"job_script_prologue": ["kill -9 $$"]}, r"were killed.*SIGKILL"),
    ],
)
def test_nodes_that_cannot_start_end_the_wait_with_a_sentence(
    options: dict[str, Any], change: dict[str, Any], text: str
) -> None:
    """wait_for_workers does not hang: it says what happened and what to type."""
    with (
        GridEngineCluster(jobs=2, **options, **change) as cluster,
        pytest.raises(NodesFailed) as caught,
    ):
        cluster.wait_for_workers(2, timeout=60)
    assert re.search(text, str(caught.value), re.DOTALL), caught.value


def test_nodes_come_up_though_the_working_directory_is_deleted(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read when the cluster starts; nodes that come later need not have it."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    with GridEngineCluster(**options) as cluster:
        folder.rmdir()
        cluster.scale(1)
        cluster.wait_for_workers(1, timeout=30)
        monkeypatch.chdir(tmp_path)


def test_a_node_that_is_killed_is_replaced(
    options: dict[str, Any], tmp_path: Path
) -> None:
    """By itself, in the middle of a computation, which ends right."""

    def slow(number: int) -> int:
        time.sleep(0.02)
        return number**2

    with GridEngineCluster(jobs=2, **options) as cluster, Client(cluster) as client:
        client.wait_for_workers(2, timeout=30)
        squares = client.map(slow, range(100))
        victim = cluster.jobs()[0]
        os.killpg(victim.pid, signal.SIGKILL)
        assert client.gather(squares) == [number**2 for number in range(100)]
        client.wait_for_workers(2, timeout=30)
        assert len(cluster.worker_spec) == 2
        assert [node.state.value for node in cluster.jobs()] == [
            "gone",
            "working",
            "working",
        ]
        assert "SIGKILL" in cluster.explain(str(victim.id))
        assert "Submitted 1 replacement node" in cluster.explain()


@pytest.mark.parametrize("security", [True, False])
def test_encryption_is_on_unless_it_is_switched_off(
    options: dict[str, Any], security: bool
) -> None:
    """The scheduler speaks TLS by default and refuses a client without certificate."""
    with GridEngineCluster(jobs=1, security=security, **options) as cluster:
        assert cluster.scheduler_address.startswith("tls://" if security else "tcp://")
        with Client(cluster) as client:
            assert client.submit(sum, [1, 2]).result(timeout=30) == 3
        if security:
            with pytest.raises(OSError, match=r"(?i)tls|ssl|closed|reset"):
                asyncio.run(try_connect(cluster.scheduler_address))


def hang_up(cluster: GridEngineCluster) -> None:
    """A client that breaks its connection off as soon as it stands."""
    context = cluster.security.get_connection_args("client")["ssl_context"]
    with (
        socket.create_connection(parse_host_port(cluster.scheduler_address)) as sock,
        context.wrap_socket(sock) as connection,
    ):
        connection.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("own", [False, True])
def test_a_client_that_breaks_off_disturbs_no_other(
    options: dict[str, Any], own: bool
) -> None:
    """Workers and clients stay connected, also with a `Security` of the user's own."""
    security = Security.temporary() if own else True
    with (
        GridEngineCluster(jobs=1, security=security, **options) as cluster,
        cluster.get_client() as client,
        Client(cluster.scheduler_address, security=cluster.security) as other,
    ):
        (result,) = client.map(lambda _: os.urandom(8), [0])
        before = result.result(timeout=60)
        for _ in range(5):
            hang_up(cluster)
        assert other.submit(sum, [1, 2]).result(timeout=60) == 3
        assert result.status == "finished"
        assert client.gather(result) == before
        assert len(cluster.jobs()) == 1


SCRIPT = """
import sys
from dask_gridengine import GridEngineCluster
if __name__ == "__main__":
    print("begins", flush=True)
    cluster = GridEngineCluster(
        jobs=4, launcher="process", slots=2, shared_directory=sys.argv[1], quiet=True,
        scheduler_options={"dashboard_address": ":0", "dashboard": False},
    )
    cluster.wait_for_workers(2, timeout=60)
    print("up", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("number", "delay"),
    [
        *((number, None) for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)),
        *((signal.SIGINT, delay) for delay in (0.05, 0.3, 0.8)),
    ],
)
def test_whatever_ends_python_nothing_is_left(
    number: signal.Signals, delay: float | None, shared: Path
) -> None:
    """When workers run, and Ctrl-C also at any moment of the start."""
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(shared)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as user:
        assert user.stdout is not None
        assert user.stdout.readline() == b"begins\n"
        if delay is None:
            assert user.stdout.readline() == b"up\n"
        else:
            before = time.monotonic()
            wait_until(lambda: time.monotonic() - before > delay, "the moment", 5)
        started = [child.pid for child in psutil.Process(user.pid).children(True)]
        user.send_signal(number)
        user.wait(30)
    wait_until(
        lambda: not any(map(_lives, started)),
        "all processes gone",
        30,
        lambda: [psutil.Process(pid).cmdline() for pid in started if _lives(pid)],
    )
    wait_until(lambda: not list(shared.iterdir()), "no file left", 10)


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_of_ended_nodes_the_last_are_kept_and_all_are_counted(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables and accounts do not grow for ever, and no node is forgotten in numbers."""
    monkeypatch.setattr("dask_gridengine.nodes.registry.ENDED_KEPT", 2)
    with GridEngineCluster(**options) as cluster:
        for gone in (2, 4, 6):
            cluster.scale(2)
            cluster.wait_for_workers(2, timeout=60)
            cluster.scale(0)
            wait_until(
                lambda gone=gone: cluster.counts == {"gone": gone},  # type: ignore[misc]
                "all are gone",
                60,
                lambda: cluster.counts,
            )
        assert sorted(row.worker or "" for row in cluster.jobs()) == ["ge-4", "ge-5"]
        assert "4 that ended earlier" in repr(cluster.jobs())
        assert "4 nodes ended earlier" in cluster.explain()
        assert "ge-5" in cluster.explain("ge-5")
        with pytest.raises(OptionError, match="ended long ago"):
            cluster.explain("ge-0")


def test_explain_and_jobs_tell_of_every_node(options: dict[str, Any]) -> None:
    """In sentences and as a table; of one by its worker or its job, or it says so."""
    with GridEngineCluster(jobs=2, **options) as cluster:
        cluster.wait_for_workers(2, timeout=30)
        first, second = cluster.jobs()
        assert cluster.explain().startswith("2 nodes requested: 2 working")
        assert first.worker is not None
        assert cluster.explain(first.worker).startswith(f"node {first.id}: queued for")
        assert cluster.explain("1.2").startswith("node 1.2: queued for ")
        with pytest.raises(OptionError, match=r"never had .* 'ge-9'"):
            cluster.explain("ge-9")
        table = cluster.jobs()
        header, *rows = repr(table).splitlines()
        assert header.split()[:3] == ["job", "host", "state"]
        assert [row.split()[0] for row in rows] == ["1.1", "1.2"]
        assert "<table" in table._repr_html_()
        assert table.counts() == {"working": 2}
        assert second.peak_memory == 0 or second.peak_memory > 2**20


@pytest.mark.parametrize("change", [{}, {"nanny": False}], ids=str)
def test_what_a_task_prints_is_in_the_log_at_once(
    options: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
) -> None:
    """The task has not ended, and its worker may still be killed."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)

    def run(gate: Path) -> None:
        print("item 7")  # noqa: T201 - what the test is about
        deadline = time.monotonic() + 60
        while not gate.exists() and time.monotonic() < deadline:
            time.sleep(0.05)

    logs, gate = tmp_path / "logs", tmp_path / "gate"
    with (
        GridEngineCluster(jobs=1, log_directory=logs, **options, **change) as cluster,
        Client(cluster) as client,
    ):
        future = client.submit(run, gate)
        wait_until(
            lambda: any("item 7\n" in log.read_text() for log in logs.iterdir()),
            "the line in the node's log",
            30,
        )
        assert not future.done()
        gate.touch()


def test_the_end_of_a_log_needs_no_file(
    options: dict[str, Any], tmp_path: Path
) -> None:
    """get_logs() has the end of the log of a node, also if the file is gone."""
    logs = tmp_path / "logs"
    with GridEngineCluster(jobs=1, log_directory=logs, **options) as cluster:
        cluster.wait_for_workers(1, timeout=30)
        cluster.scale(0)
        wait_until(lambda: states(cluster) == ["gone"], "the node is gone", 30)
        for log in logs.iterdir():
            log.unlink()
        text = cluster.get_logs(cluster=False, scheduler=False)
        ((title, words),) = text.items()
        assert title.startswith("ge-0 (node 1.1 on ")
        assert "Registered to" in words
        assert cluster.get_logs(False, False, workers=["ge-0"]) == text
        assert cluster.get_logs(False, False, workers=["ge-7"]) == {}
        assert cluster.get_logs(cluster=False, scheduler=False, workers=False) == {}


def test_scale_down_lets_tasks_end_and_takes_the_idle_first(
    options: dict[str, Any], steps: Steps
) -> None:
    """A busy node stays; if it must go, its task ends first, and runs once."""
    with GridEngineCluster(jobs=2, **options) as cluster, Client(cluster) as client:
        client.wait_for_workers(2, timeout=30)
        numbers = client.map(lambda i: (i, os.urandom(8)), range(20), pure=False)
        before = client.gather(numbers)
        newest = "ge-1"
        task = steps.submit(client, "task", workers=[newest], allow_other_workers=False)
        wait_until(lambda: steps.begun("task"), "it runs", 30)
        cluster.scale(1)
        wait_until(lambda: states(cluster).count("gone") == 1, "one has gone", 30)
        (info,) = cluster.scheduler_info["workers"].values()
        assert info["name"] == newest
        assert client.gather(numbers) == before
        cluster.scale(0)
        assert cluster.worker_spec == {}
        assert states(cluster).count("working") == 1, "it is given time"
        steps.end("task")
        wait_until(lambda: states(cluster) == ["gone", "gone"], "both gone", 30)
        assert steps.begun("task") == 1
        task.release()


async def test_of_many_calls_of_scale_the_last_counts(options: dict[str, Any]) -> None:
    """Fifty calls of scale() at random moments: the last number is what there is."""
    chance = random.Random(4)
    async with GridEngineCluster(jobs=1, asynchronous=True, **options) as cluster:
        for number in [*(chance.randrange(6) for _ in range(49)), 2]:
            cluster.scale(number)
            await asyncio.sleep(chance.random() / 25)

        def counts() -> dict[str, int]:
            return {
                state: n
                for state, n in cluster.jobs().counts().items()
                if state != "gone"
            }

        await until(lambda: counts() == {"working": 2}, "two", 60, cluster.explain)
        assert len(cluster.scheduler.workers) == 2
        assert len(cluster.workers) == len(cluster.worker_spec) == 2


def test_two_clusters_may_have_one_name(options: dict[str, Any], shared: Path) -> None:
    """It is the name of their jobs; neither takes the other's files."""
    options["name"] = "mine"
    with GridEngineCluster(jobs=1, **options) as one:
        with GridEngineCluster(jobs=1, **options) as other:
            for cluster in (one, other):
                assert cluster.pool().request.name == cluster.name == "mine"
                cluster.wait_for_workers(1, timeout=30)
        with Client(one) as client:
            assert client.submit(sum, [1, 2]).result(timeout=30) == 3
    assert list(shared.iterdir()) == []


def test_a_worker_that_uses_too_much_memory_is_explained(
    options: dict[str, Any],
) -> None:
    """The error names Dask's limit, and the option that raises it."""

    def devour() -> None:
        held = []
        while True:
            held.append(bytearray(os.urandom(2**20) * 16))
            time.sleep(0.01)

    config = {"distributed.scheduler.allowed-failures": 0}
    with (
        dask.config.set(config),
        GridEngineCluster(jobs=1, memory="300 MB", **options) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(1, timeout=30)
        with pytest.raises(KilledWorker) as caught:
            client.submit(devour).result(timeout=60)
        text = "".join(getattr(caught.value, "__notes__", []))
        assert "ran into the memory limit" in text
        assert "memory=" in text
        assert "ran into the memory limit" in cluster.explain("ge-0")
        assert "restarted" in cluster.explain()


def test_a_retired_worker_is_not_replaced(options: dict[str, Any]) -> None:
    """client.retire_workers() lowers the desired number, and explain() says so."""
    with GridEngineCluster(jobs=2, **options) as cluster, Client(cluster) as client:
        client.wait_for_workers(2, timeout=30)
        client.retire_workers(names=["ge-0"])
        wait_until(lambda: states(cluster).count("gone") == 1, "it is gone", 30)
        text = "was retired; requested from now on: 1"
        wait_until(lambda: text in cluster.explain(), text, 10, cluster.explain)
        assert cluster.explain().startswith("1 node requested: 1 working")
        assert list(cluster.worker_spec) == ["ge-1"]
        assert len(cluster.jobs()) == 2


@pytest.mark.parametrize("state", ["queued", "arrived", "importing"])
def test_close_while_nodes_start_leaves_nothing(
    options: dict[str, Any], shared: Path, state: str
) -> None:
    """In any state of their start; a second close() does nothing."""
    with GridEngineCluster(jobs=4, **options) as cluster:
        passed = ["queued", "arrived", "importing", "working"]
        wait_until(
            lambda: any(
                passed.index(now) >= passed.index(state) for now in states(cluster)
            ),
            f"one is {state}",
            30,
        )
        cluster.close()
        assert set(states(cluster)) == {"gone"}
        cluster.close()
    assert list(shared.iterdir()) == []


async def test_it_is_closed_when_nothing_is_left(
    options: dict[str, Any], shared: Path
) -> None:
    """Not before: Python's exit does not wait for a cluster that is closed."""

    def left() -> list[Path]:
        return list(shared.iterdir())

    async with GridEngineCluster(jobs=2, asynchronous=True, **options) as cluster:
        await cluster.wait_for_workers(2, timeout=30)
        closing = asyncio.ensure_future(cluster.close())
        while not closing.done():
            await asyncio.sleep(0.002)
            if cluster.status is Status.closed:
                assert left() == []
        assert cluster.status is Status.closed


def test_max_jobs_bounds_what_is_requested(
    options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """For all requests; the log has the number requested and the number allowed."""
    with GridEngineCluster(jobs=9, max_jobs=3, **options) as cluster:
        assert cluster.wanted == len(cluster.jobs()) == 3
        cluster.scale(jobs=50)
        assert cluster.wanted == len(cluster.jobs()) == 3
        assert "50 nodes requested, max-jobs allows 3" in caplog.text
        cluster.scale(2)
        assert cluster.wanted == 2


def test_max_queued_jobs_bounds_the_queue(
    options: dict[str, Any], tmp_path: Path
) -> None:
    """The others follow when the first ones start."""
    gate = [f"while ! test -e {tmp_path}/go; do sleep 0.05; done"]
    with GridEngineCluster(
        jobs=4, max_queued_jobs=1, job_script_prologue=gate, **options
    ) as cluster:
        assert len(cluster.jobs()) == 1
        assert "3 not submitted yet" in cluster.explain()
        (tmp_path / "go").touch()
        wait_until(
            lambda: states(cluster) == ["working", "working", "queued"],
            "two work and one queues",
            30,
            lambda: states(cluster),
        )
        cluster.scale(2)
        wait_until(lambda: states(cluster)[2:] == ["gone"], "deleted", 20)
        assert cluster.wanted == 2


HUNG_LOGS = """
import os, signal, sys
from pathlib import Path
from distributed import Client
from dask_gridengine import GridEngineCluster

shared, logs = Path(sys.argv[1]), Path(sys.argv[2])
with GridEngineCluster(
    6, launcher="process", slots=6, nanny=False, quiet=True, memory="400 MB",
    shared_directory=shared, log_directory=logs,
    scheduler_options={"dashboard_address": ":0", "dashboard": False},
) as cluster, Client(cluster) as client:
    client.wait_for_workers(6, timeout=60)
    before = set(client.scheduler_info(n_workers=-1)["workers"])
    pids = client.run(os.getpid).values()
    for log in logs.glob("*.log"):
        log.unlink()
        os.mkfifo(log)  # to open it blocks until something is written
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    while len(set(client.scheduler_info(n_workers=-1)["workers"]) - before) < 6:
        client.sync(client.scheduler.identity)
    print("replaced")
"""


def test_a_dead_file_server_stops_neither_replacement_nor_exit(
    shared: Path, tmp_path: Path
) -> None:
    """Nodes whose logs cannot be read are replaced, and Python ends."""
    command = [sys.executable, "-c", HUNG_LOGS, str(shared), str(tmp_path / "logs")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ran.stdout == "replaced\n", ran.stderr
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("pools", [{}, {"pools": {"a": {}, "b": {}}}])
async def test_scale_changes_the_specification_at_once(
    options: dict[str, Any], pools: dict[str, Any]
) -> None:
    """Before what it returns is awaited, up and down, as LocalCluster does."""
    pool = {"pool": "b"} if pools else {}
    async with GridEngineCluster(asynchronous=True, **options, **pools) as cluster:
        for count in (2, 5, 1, 0, 3):
            waiting = cluster.scale(count, **pool)
            assert len(cluster.worker_spec) == cluster.wanted == count
        with pytest.raises(OptionError):
            cluster.scale(1, pool="nope")
        with pytest.raises(OptionError):
            cluster.scale(memory="1 GB", **pool)
        assert len(cluster.worker_spec) == 3
        await waiting
        assert len(cluster.jobs()) == len(cluster.worker_spec) == 3


@pytest.mark.parametrize("pools", [{}, {"pools": {"a": {}, "b": {}}}])
def test_a_cluster_without_nodes_explains_how_to_request_some(
    options: dict[str, Any], pools: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """In explain(), its repr, timeouts and a warning while a task waits.

    The line works when it is typed.
    """
    with (
        GridEngineCluster(**options, **pools) as cluster,
        Client(cluster) as client,
    ):
        with pytest.raises(asyncio.TimeoutError) as late:
            cluster.wait_for_workers(1, timeout=0.1)
        result = client.submit(sum, [1])
        wait_until(
            lambda: "no nodes requested" in caplog.text, "a warning while a task waits"
        )
        for text in (cluster.explain(), repr(cluster), str(late.value), caplog.text):
            assert "no nodes requested" in text
            assert "Hint: cluster.scale(" in text
        typed = cluster.explain().splitlines()[-1].removeprefix("Hint: ")
        eval(typed, {"cluster": cluster})
        assert len(cluster.worker_spec) == 4
        assert result.result(timeout=60) == 1
        assert "Hint" not in cluster.explain()
        cluster.scale(0)
        cluster.adapt(minimum=0)
        assert "Hint" not in cluster.explain()
