"""Schedulers: started when needed, kept, closed by whatever way they go."""

from __future__ import annotations

import gc
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import psutil
import pytest

import gridengine
from dask_gridengine import (
    GridEngineCluster,
    LauncherUnavailable,
    OptionError,
    SubmitError,
)
from dask_gridengine.nodes.registry import NodeState
from gridengine import schedulers
from gridengine import settings as old_settings
from gridengine.places import TaskPlace
from gridengine.tally import Tally
from tests.refusing import refusing_grid
from tests.waiting import wait_until


@pytest.fixture(autouse=True)
def here(session_directory: Path) -> Iterator[None]:
    """All clusters of these tests keep their files in a place of their own."""
    with dask.config.set({"gridengine.shared-directory": str(session_directory)}):
        yield


def workers_of(scheduler: gridengine.ProcessScheduler) -> set[str]:
    """Addresses of the worker processes there are."""
    return set(scheduler.client.scheduler_info()["workers"])


def run(code: str, directory: Path, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    """A fresh Python, as a user's script would be."""
    script = directory / "script.py"
    script.write_text(code)
    return subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=directory,
        env={"DASK_GRIDENGINE__SHARED_DIRECTORY": str(directory / "shared")},
        **kwargs,
    )


def test_nothing_is_started_before_it_is_needed(
    fresh: gridengine.ProcessScheduler,
) -> None:
    """Making a scheduler, or mapping over nothing, starts nothing."""
    assert gridengine.map(abs, [], scheduler=fresh) == []
    assert repr(fresh) == "<ProcessScheduler: 0/0 workers>"


def test_the_second_map_starts_no_job(fresh: gridengine.ProcessScheduler) -> None:
    """The workers of the first map are those of the second."""
    gridengine.map(abs, [-1, -2], scheduler=fresh)
    fresh.client.wait_for_workers(2, timeout=30)
    before = workers_of(fresh)
    assert gridengine.map(abs, range(-9, 0), scheduler=fresh) == list(range(9, 0, -1))
    assert workers_of(fresh) == before
    assert fresh.address.startswith("tls://")


def test_no_more_workers_than_items(fresh: gridengine.ProcessScheduler) -> None:
    """One item asks for one worker; a later map with more asks for more."""
    gridengine.map(abs, [-1], scheduler=fresh)
    assert fresh.tally().wanted == 1
    gridengine.map(abs, [-1, -2, -3], scheduler=fresh)
    assert fresh.tally().wanted == 2


def test_closed_is_closed(fresh: gridengine.ProcessScheduler) -> None:
    """close() is idempotent, also before any use; a later map is an error."""
    fresh.close()
    fresh.close()
    with pytest.raises(RuntimeError, match=r"closed.*make a new one"):
        gridengine.map(abs, [1], scheduler=fresh)


def test_killall_ends_what_runs(fresh: gridengine.ProcessScheduler) -> None:
    """The map that was running raises; the next one starts anew."""
    raised: list[BaseException] = []

    def doomed() -> None:
        try:
            gridengine.map(time.sleep, [60, 60], scheduler=fresh)
        except RuntimeError as exc:
            raised.append(exc)

    thread = threading.Thread(target=doomed)
    thread.start()
    wait_until(lambda: fresh.tally().workers == 2, "two workers", 30, fresh.tally)
    fresh.killall()
    thread.join(20)
    assert not thread.is_alive()
    assert "closed while" in str(raised[0])
    assert gridengine.map(abs, [-3], scheduler=fresh) == [3]


def test_what_is_made_from_a_class_is_closed() -> None:
    """map(f, xs, scheduler=ProcessScheduler) leaves nothing behind."""
    found = gridengine.map(abs, [-1], scheduler=gridengine.ProcessScheduler)
    assert found == [1]


def test_dropped_schedulers_close_by_themselves() -> None:
    """A scheduler that nobody refers to ends its workers; old scripts never close."""
    scheduler = gridengine.ProcessScheduler(1)
    assert gridengine.map(abs, [-1], scheduler=scheduler) == [1]
    del scheduler
    gc.collect()  # the fixture that looks for leaks waits for the rest


def test_idle_workers_are_given_back(fresh: gridengine.ProcessScheduler) -> None:
    """After the idle timeout no worker is left; the next map starts them again."""
    with dask.config.set({"gridengine.map.idle-timeout": "100ms"}):
        gridengine.map(abs, [-1, -2], scheduler=fresh)
    wait_until(lambda: fresh.tally().wanted == 0, "no workers", 20, fresh.tally)
    assert gridengine.map(abs, [-1, -2], scheduler=fresh) == [1, 2]


def test_the_tail_of_a_map_holds_no_idle_workers(tmp_path: Path) -> None:
    """One long item keeps one worker; the next map has all of them again."""

    def straggle(x: int) -> int:
        while x == 3 and not (tmp_path / "go").exists():
            time.sleep(0.02)
        return -x

    found: list[list[int]] = []
    with (
        gridengine.ProcessScheduler(3) as scheduler,
        dask.config.set({"gridengine.map.idle-timeout": "200ms"}),
    ):
        thread = threading.Thread(
            target=lambda: found.append(
                gridengine.map(straggle, range(4), scheduler=scheduler, chunksize=1)
            )
        )
        thread.start()
        wait_until(
            lambda: scheduler.tally() == Tally(1, 1, 0), "one", 30, scheduler.tally
        )
        assert thread.is_alive()
        (tmp_path / "go").touch()
        thread.join(30)
        assert found == [[0, -1, -2, -3]]
        assert gridengine.map(abs, range(-9, 0), scheduler=scheduler) == [
            *range(9, 0, -1)
        ]


def test_another_map_keeps_the_workers_of_a_tail(
    fresh: gridengine.ProcessScheduler, tmp_path: Path
) -> None:
    """It may want them in a moment."""

    def wait(x: int) -> int:
        while not (tmp_path / f"go{x}").exists():
            time.sleep(0.02)
        return x

    found: list[list[int]] = []

    def run(*items: int) -> threading.Thread:
        thread = threading.Thread(
            target=lambda: found.append(gridengine.map(wait, items, fresh))
        )
        thread.start()
        return thread

    with dask.config.set({"gridengine.map.idle-timeout": "200ms"}):
        threads = [run(0), run(1, 2)]
        wait_until(lambda: fresh.tally().workers == 2, "two", 30, fresh.tally)
        (tmp_path / "go1").touch()
        deadline = time.monotonic() + 1.5  # several ticks beyond the timeout
        wait_until(lambda: time.monotonic() > deadline, "a while", 5)
        assert fresh.tally().wanted == 2
        for x in (0, 2):
            (tmp_path / f"go{x}").touch()
        for thread in threads:
            thread.join(30)
    assert sorted(found) == [[0], [1, 2]]


@pytest.fixture
def local() -> dict[str, Any]:
    """Options of a GridEngineScheduler whose grid is this machine."""
    return {
        "launcher": "process",
        "slots": 2,
        "quiet": True,
        "scheduler_options": {"dashboard": False, "dashboard_address": ":0"},
    }


def test_quick_items_start_few_nodes(local: dict[str, Any]) -> None:
    """A thousand squares do not ask for a hundred nodes, also with imap."""
    with gridengine.GridEngineScheduler(options=local) as scheduler:
        squares = [x * x for x in range(1000)]
        assert gridengine.map(lambda x: x * x, range(1000), scheduler) == squares
        numbers = iter(range(1000))
        assert list(gridengine.imap(lambda x: x * x, numbers, scheduler)) == squares
        assert 1 <= scheduler.tally().wanted <= 10


@pytest.mark.parametrize("imap", [False, True])
def test_long_items_get_the_nodes_they_are_worth(
    local: dict[str, Any], tmp_path: Path, imap: bool
) -> None:
    """While no item ends more nodes are requested, up to max_jobs."""

    def wait(x: int) -> int:
        while not (tmp_path / "go").exists():
            time.sleep(0.02)
        return x

    found: list[int] = []
    with gridengine.GridEngineScheduler(max_jobs=12, options=local) as scheduler:
        run = gridengine.imap if imap else gridengine.map
        items = (x for x in range(100))
        thread = threading.Thread(
            target=lambda: found.extend(run(wait, items, scheduler, chunksize=1))
        )
        thread.start()
        wait_until(
            lambda: scheduler.tally().wanted == 12, "twelve", 60, scheduler.tally
        )
        (tmp_path / "go").touch()
        thread.join(60)
    assert found == list(range(100))


def test_a_cluster_that_waits_gets_the_idle_nodes_of_another(
    local: dict[str, Any],
) -> None:
    """Long before the idle timeout, also if it is a cluster of the user's own."""
    with gridengine.GridEngineScheduler(options=local) as idle:
        gridengine.map(abs, range(-9, 0), scheduler=idle)
        wait_until(lambda: idle.tally().workers == 2, "two workers", 30, idle.tally)
        with GridEngineCluster(3, **local) as waiting:
            wait_until(lambda: waiting.counts.get("queued"), "one waits", 30)
            wait_until(lambda: idle.tally().wanted == 0, "no nodes", 60, idle.tally)
        assert gridengine.map(abs, [-1, -2], scheduler=idle) == [1, 2]


def test_nodes_at_work_are_not_given_to_a_cluster_that_waits(
    local: dict[str, Any], tmp_path: Path
) -> None:
    """A map keeps what it needs, and gives up what only its tail would hold."""

    def wait(x: int) -> int:
        while x == 1 and not (tmp_path / "go").exists():
            time.sleep(0.02)
        return x

    found: list[int] = []
    with gridengine.GridEngineScheduler(options=local) as busy:
        gridengine.map(abs, [-1, -2], scheduler=busy)
        busy.client.wait_for_workers(2, timeout=30)
        thread = threading.Thread(
            target=lambda: found.extend(gridengine.map(wait, [0, 1], busy))
        )
        thread.start()
        with GridEngineCluster(3, **local):
            wait_until(lambda: busy.tally().wanted == 1, "one node", 60, busy.tally)
            (tmp_path / "go").touch()
            thread.join(30)
    assert found == [0, 1]


def working(scheduler: gridengine.ProcessScheduler) -> dict[str, int]:
    """Process ids of the nodes that work, by the names of their workers."""
    cluster = scheduler.cluster
    assert cluster is not None
    rows = [row for row in cluster.jobs() if row.state is NodeState.WORKING]
    return {row.worker or "": row.pid for row in rows}


def map_while(
    scheduler: gridengine.ProcessScheduler, go: Path, harm: Callable[[], None]
) -> list[int]:
    """Map over 200 items while `harm` is done; the map does not end before that."""

    def slow(x: int) -> int:
        time.sleep(0.01)
        while x == 199 and not go.exists():
            time.sleep(0.02)
        return x

    def harm_then_go() -> None:
        try:
            harm()
        finally:
            go.touch()

    gridengine.map(abs, [-1, -2], scheduler=scheduler)
    scheduler.client.wait_for_workers(2, timeout=30)
    thread = threading.Thread(target=harm_then_go)
    thread.start()
    found = gridengine.map(slow, range(200), scheduler=scheduler, progress=False)
    thread.join()
    return found


def test_all_nodes_are_lost_at_once(
    fresh: gridengine.ProcessScheduler, tmp_path: Path
) -> None:
    """The map goes on with others, and its results are right."""

    def kill_all() -> None:
        lost = working(fresh)
        for pid in lost.values():
            os.kill(pid, signal.SIGKILL)
        wait_until(
            lambda: working(fresh).keys() - lost.keys(),
            "another node",
            30,
            lambda: fresh.cluster and fresh.cluster.explain(),
        )

    assert map_while(fresh, tmp_path / "go", kill_all) == list(range(200))
    wait_until(lambda: fresh.tally() == Tally(2, 2, 0), "healed", 30, fresh.tally)


def test_nodes_are_lost_one_by_one(
    fresh: gridengine.ProcessScheduler, tmp_path: Path
) -> None:
    """Each is replaced, as often as it happens, and no result is lost."""

    def kill_each() -> None:
        for _ in range(3):
            before = wait_until(
                lambda: len(found := working(fresh)) == 2 and found,
                "two nodes",
                30,
                lambda: fresh.cluster and fresh.cluster.explain(),
            )
            worker, pid = min(before.items())
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda lost=worker: lost not in working(fresh), "its end", 30)

    assert map_while(fresh, tmp_path / "go", kill_each) == list(range(200))


def test_a_worker_without_its_nanny(
    fresh: gridengine.ProcessScheduler, tmp_path: Path
) -> None:
    """A Nanny that is stopped for good takes nothing with it but its own worker."""

    def kill_nanny() -> None:
        worker, pid = min(working(fresh).items())
        children = psutil.Process(pid).children(recursive=True)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: worker not in working(fresh), "its end", 30)
        wait_until(
            lambda: not any(child.is_running() for child in children),
            "no process of it left",
            10,
            lambda: children,
        )

    assert map_while(fresh, tmp_path / "go", kill_nanny) == list(range(200))


def test_workers_are_lost_but_not_their_nodes(
    fresh: gridengine.ProcessScheduler, tmp_path: Path
) -> None:
    """Nannies start new ones in the same nodes; the map goes on there."""

    def kill_workers() -> None:
        client = fresh.client
        before = set(workers_of(fresh))
        killed = client.run(
            lambda dask_worker: os.kill(dask_worker.process.pid, signal.SIGKILL),
            nanny=True,
        )
        assert len(killed) == 2
        wait_until(lambda: workers_of(fresh) - before, "another worker", 30)

    assert map_while(fresh, tmp_path / "go", kill_workers) == list(range(200))
    assert fresh.cluster is not None
    assert len(fresh.cluster.jobs()) == 2


def test_the_default_is_shared_and_inside_a_task_the_workers() -> None:
    """best_available() is one scheduler until it is closed."""
    first = schedulers.best_available()
    assert isinstance(first, schedulers.Scheduler)
    assert schedulers.best_available() is first
    first.close()
    second = schedulers.best_available()
    assert second is not first

    def inside(x: int) -> str:
        return type(schedulers.best_available()).__name__

    with gridengine.ProcessScheduler(1) as scheduler:
        assert gridengine.map(inside, [1], scheduler=scheduler) == [TaskPlace.__name__]


@pytest.mark.parametrize("broken", ["SGE_ROOT", "DRMAA_LIBRARY_PATH"])
def test_the_default_does_not_leave_a_grid_that_is_set_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """If the grid does not work, map raises why; it does not use local processes."""
    schedulers.best_available().close()  # another test's
    for name in ("SGE_ROOT", "DRMAA_LIBRARY_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(broken, str(tmp_path / "broken"))
    with pytest.raises(LauncherUnavailable, match="launcher="):
        gridengine.map(abs, [-1])
    schedulers.best_available().close()


def test_a_script_that_closes_nothing(tmp_path: Path) -> None:
    """Python's end closes the default scheduler: no process, no file, no complaint."""
    ran = run(
        "import gridengine\n"
        "if __name__ == '__main__':\n"
        "    print(gridengine.map(lambda x: x + 1, [1, 2]))\n",
        tmp_path,
    )
    assert (ran.returncode, ran.stdout) == (0, "[2, 3]\n"), ran.stderr
    assert ran.stderr == ""
    assert list((tmp_path / "shared").iterdir()) == []


def test_deaths_of_an_item_are_one_error(tmp_path: Path) -> None:
    """WorkerDied says all; nothing is printed for each worker that the item ended."""
    ran = run(
        "import gridengine, os\n"
        "if __name__ == '__main__':\n"
        "    try:\n"
        "        gridengine.map(lambda x: os._exit(1) if x == 3 else x, range(9))\n"
        "    except gridengine.WorkerDied as exc:\n"
        "        print(exc.index, exc.times)\n",
        tmp_path,
    )
    assert (ran.returncode, ran.stdout) == (0, "3 3\n"), ran.stderr
    assert ran.stderr == ""


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing(tmp_path: Path, signum: signal.Signals) -> None:
    """Ctrl-C in a map ends Python at once; nothing is left, as after SIGTERM."""
    code = (
        "import gridengine, os, time\n"
        "if __name__ == '__main__':\n"
        "    pid = os.getpid()\n"
        "    def work(x):\n"
        f"        os.kill(pid, {int(signum)})\n"
        "        time.sleep(60)\n"
        "    gridengine.map(work, [0])\n"
    )
    started = time.monotonic()
    ran = run(code, tmp_path)
    assert time.monotonic() - started < 30
    assert ran.returncode in (-signum, 130, 1)
    shared = tmp_path / "shared"
    wait_until(
        lambda: not list(shared.iterdir()), "no files", 20, lambda: [*shared.iterdir()]
    )


def test_ctrl_c_frees_the_workers(fresh: gridengine.ProcessScheduler) -> None:
    """After Ctrl-C the next map does not wait for the items of the last one."""
    gridengine.map(abs, [-1, -2], scheduler=fresh)
    fresh.client.wait_for_workers(2, timeout=30)
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(0.5, signal.pthread_kill, (main, signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        gridengine.map(time.sleep, [60, 60], scheduler=fresh)
    timer.join()
    assert gridengine.map(abs, [-1, -2], scheduler=fresh) == [1, 2]


def test_a_scheduler_does_not_travel() -> None:
    """Pickling one says what to do instead."""
    with pytest.raises(TypeError, match="without scheduler="):
        pickle.dumps(gridengine.ProcessScheduler(1))


def test_resources_are_requested() -> None:
    """Keywords become -l, h_rt the walltime, and settings are the defaults."""
    made = gridengine.GridEngineScheduler(
        h_rt="02:00:00", h_vmem="10G", name="my job", options={"queue": "long.q"}
    )
    assert made._options == {
        "name": "myjob",
        "queue": "long.q",
        "resource_spec": "h_vmem=10G",
        "walltime": "02:00:00",
    }
    old_settings.DEFAULT_RESOURCES["hostname"] = "!node7"
    try:
        made = gridengine.GridEngineScheduler(h_vmem="1G")
    finally:
        del old_settings.DEFAULT_RESOURCES["hostname"]
    assert made._options == {"resource_spec": "hostname=!node7,h_vmem=1G"}


@pytest.mark.parametrize("value", ["1G,2G", "1 G", "a=b", "x\ny"])
def test_a_resource_is_one_request(value: str) -> None:
    """What would be several requests is refused before anything is submitted."""
    with pytest.raises(OptionError, match="h_vmem"):
        gridengine.GridEngineScheduler(h_vmem=value)


@pytest.mark.parametrize("name", ["queue", "memory", "cores", "walltime", "project"])
def test_an_option_is_no_resource(name: str) -> None:
    """The error says where options go; as a resource the grid would refuse it."""
    given: dict[str, Any] = {name: "4"}
    with pytest.raises(OptionError, match=rf"{name}[\s\S]*Hint: options="):
        gridengine.GridEngineScheduler(**given)
    gridengine.GridEngineScheduler(options=given).close()


def test_numbers_of_workers_that_make_no_sense() -> None:
    """They are refused when the scheduler is made."""
    wrong: Any
    for wrong in (0, -1, True, 1.0, "2", np.int64(0)):
        with pytest.raises(OptionError, match=r"max_threads.*at least 1"):
            gridengine.ProcessScheduler(wrong)
    with pytest.raises(OptionError, match="at least 1"):
        gridengine.GridEngineScheduler(max_jobs=-3)


def test_numbers_of_workers_may_be_numpys() -> None:
    """An int of any type is one."""
    with gridengine.ProcessScheduler(np.int64(2)) as scheduler:
        assert scheduler.max_threads == 2
    gridengine.GridEngineScheduler(max_jobs=np.int8(3)).close()


def test_where_there_is_no_grid_it_says_so(tmp_path: Path) -> None:
    """GridEngineScheduler on a laptop: local processes, and a line that says why."""
    ran = run(
        "import gridengine\n"
        "if __name__ == '__main__':\n"
        "    with gridengine.GridEngineScheduler() as scheduler:\n"
        "        print(gridengine.map(abs, [-1], scheduler=scheduler))\n",
        tmp_path,
    )
    assert ran.returncode == 0, ran.stderr
    assert re.search(r"local processes.*no Grid Engine here", ran.stdout), ran.stdout
    assert ran.stdout.endswith("[1]\n")


def test_refusals_come_out_of_map(
    session_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the grid refuses is an error, not a wait."""
    refusing_grid(tmp_path, monkeypatch)
    options = {
        "launcher": "drmaa",
        "quiet": True,
        "shared_directory": session_directory,
    }
    with (
        gridengine.GridEngineScheduler(options=options) as scheduler,
        pytest.raises(SubmitError, match="unknown queue"),
    ):
        gridengine.map(abs, [1], scheduler=scheduler)
