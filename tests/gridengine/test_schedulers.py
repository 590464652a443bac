"""Schedulers: started when needed, kept, closed by whatever way they go."""

from __future__ import annotations

import gc
import pickle
import re
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gridengine
from dask_gridengine import LauncherUnavailable, OptionError
from gridengine import schedulers, settings
from tests.gridengine.conftest import RunScript
from tests.gridengine.helpers import requested_nodes, workers_of
from tests.waiting import wait_until

# Started when needed, and kept


def test_nothing_is_started_before_it_is_needed(
    fresh: gridengine.ProcessScheduler,
) -> None:
    """Making a scheduler, or mapping over nothing, starts nothing."""
    assert gridengine.map(abs, [], scheduler=fresh) == []
    assert fresh.cluster is None
    assert "ProcessScheduler" in repr(fresh)


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
    assert requested_nodes(fresh) == 1
    gridengine.map(abs, [-1, -2, -3], scheduler=fresh)
    assert requested_nodes(fresh) == 2


# Closed


def test_closed_is_closed(fresh: gridengine.ProcessScheduler) -> None:
    """close() is idempotent, also before any use; a later map is an error."""
    fresh.close()
    fresh.close()
    for use in (
        lambda: gridengine.map(abs, [1], scheduler=fresh),
        lambda: next(gridengine.imap(abs, [1], scheduler=fresh)),
        lambda: fresh.client,
    ):
        with pytest.raises(RuntimeError, match="closed"):
            use()


@pytest.mark.parametrize("end", ["killall", "close"])
def test_ending_it_ends_what_runs(
    fresh: gridengine.ProcessScheduler, tmp_path: Path, end: str
) -> None:
    """The map that was running raises; after killall the next one starts workers."""
    raised: list[BaseException] = []

    def work(x: int) -> None:
        (tmp_path / str(x)).touch()
        time.sleep(60)

    def run() -> None:
        try:
            gridengine.map(work, [0, 1], scheduler=fresh)
        except RuntimeError as exc:
            raised.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(lambda: len(list(tmp_path.iterdir())) == 2, "both run", 30)
    getattr(fresh, end)()
    thread.join(20)
    assert not thread.is_alive()
    assert "closed" in str(raised[0])
    if end == "killall":
        assert gridengine.map(abs, [-3], scheduler=fresh) == [3]


def test_a_scheduler_made_from_a_class_is_closed() -> None:
    """map(f, xs, scheduler=ProcessScheduler) leaves nothing behind."""
    given = gridengine.ProcessScheduler
    assert gridengine.map(abs, [-1], scheduler=given) == [1]
    assert list(gridengine.imap(abs, [-1], scheduler=given)) == [1]


def test_a_dropped_scheduler_closes_by_itself() -> None:
    """It ends its workers when nothing refers to it; old scripts never close."""
    scheduler = gridengine.ProcessScheduler(1)
    assert gridengine.map(abs, [-1], scheduler=scheduler) == [1]
    del scheduler
    gc.collect()  # the fixture that looks for leaks waits for the rest


def test_threads_may_close_it_at_once(fresh: gridengine.ProcessScheduler) -> None:
    """It closes once."""
    gridengine.map(abs, [-1], scheduler=fresh)
    threads = [threading.Thread(target=fresh.close) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert fresh.cluster is None


def test_a_script_that_closes_nothing(run_script: RunScript, tmp_path: Path) -> None:
    """Python's end closes the default scheduler: no process, no file, no complaint."""
    ran = run_script(
        "import gridengine\n"
        "if __name__ == '__main__':\n"
        "    print(gridengine.map(lambda x: x + 1, [1, 2]))\n"
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "[2, 3]\n", "")
    assert list((tmp_path / "shared").iterdir()) == []


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing(
    run_script: RunScript, tmp_path: Path, signum: signal.Signals
) -> None:
    """Ctrl-C in a map ends Python at once; nothing is left, as after SIGTERM."""
    ran = run_script(
        "import gridengine, os, time\n"
        "if __name__ == '__main__':\n"
        "    pid = os.getpid()\n"
        "    def work(x):\n"
        f"        os.kill(pid, {int(signum)})\n"
        "        time.sleep(300)\n"
        "    gridengine.map(work, [0])\n"
    )
    assert ran.returncode in (-signum, 130, 1)
    shared = tmp_path / "shared"
    wait_until(
        lambda: not list(shared.iterdir()), "no files", 20, lambda: [*shared.iterdir()]
    )


def test_ctrl_c_frees_the_workers(
    fresh: gridengine.ProcessScheduler, tmp_path: Path
) -> None:
    """After Ctrl-C the next map does not wait for the items of the last one."""
    main = threading.main_thread().ident
    assert main is not None

    def work(x: int) -> None:
        (tmp_path / str(x)).touch()
        time.sleep(300)

    def interrupt() -> None:
        wait_until(lambda: len(list(tmp_path.iterdir())) == 2, "both run", 30)
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        gridengine.map(work, [0, 1], scheduler=fresh)
    thread.join()
    assert gridengine.map(abs, [-1, -2], scheduler=fresh) == [1, 2]


# The default


def test_the_default_is_shared_until_it_is_closed() -> None:
    """best_available() is one scheduler; in a task it is the workers of the map."""
    first = schedulers.best_available()
    assert isinstance(first, schedulers.Scheduler)
    assert schedulers.best_available() is first
    assert gridengine.map(abs, [-1]) == [1]
    assert first.cluster is not None
    first.close()
    second = schedulers.best_available()
    assert second is not first

    def is_scheduler(x: int) -> bool:
        return isinstance(schedulers.best_available(), schedulers.Scheduler)

    with gridengine.ProcessScheduler(1) as scheduler:
        assert gridengine.map(is_scheduler, [1], scheduler=scheduler) == [False]


@pytest.mark.parametrize("broken", ["SGE_ROOT", "DRMAA_LIBRARY_PATH"])
def test_the_default_does_not_leave_a_grid_that_is_set_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """If the grid does not work, map raises why; it does not use local processes."""
    close_default()  # another test's
    for name in ("SGE_ROOT", "DRMAA_LIBRARY_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(broken, str(tmp_path / "broken"))
    with pytest.raises(LauncherUnavailable, match="launcher="):
        gridengine.map(abs, [-1])
    close_default()


def close_default() -> None:
    default = schedulers.best_available()
    assert isinstance(default, schedulers.Scheduler)
    default.close()


def test_where_there_is_no_grid_it_says_so(run_script: RunScript) -> None:
    """GridEngineScheduler on a laptop: local processes, and a line that says why."""
    ran = run_script(
        "import gridengine\n"
        "if __name__ == '__main__':\n"
        "    with gridengine.GridEngineScheduler() as scheduler:\n"
        "        print(gridengine.map(abs, [-1], scheduler=scheduler))\n"
    )
    assert ran.returncode == 0, ran.stderr
    assert re.search(r"local processes.*no Grid Engine here", ran.stdout), ran.stdout
    assert ran.stdout.endswith("[1]\n")


# What it is given


def test_a_scheduler_cannot_be_pickled() -> None:
    """The error says what to do instead."""
    with pytest.raises(TypeError, match="without scheduler="):
        pickle.dumps(gridengine.ProcessScheduler(1))


def test_resources_and_options_reach_the_cluster(
    local_options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keywords become -l, h_rt the walltime, and settings are the defaults."""
    monkeypatch.setitem(settings.DEFAULT_RESOURCES, "hostname", "!node7")
    with gridengine.GridEngineScheduler(
        h_rt="02:00:00",
        h_vmem="10G",
        name="my job",
        options={**local_options, "queue": "long.q"},
    ) as scheduler:
        assert scheduler.resources == {
            "hostname": "!node7",
            "h_rt": "02:00:00",
            "h_vmem": "10G",
        }
        assert scheduler.address
        assert scheduler.cluster is not None
        options = scheduler.cluster.options
    assert (options.name, options.queue) == ("myjob", "long.q")
    assert options.resource_spec == "hostname=!node7,h_vmem=10G"
    assert options.walltime == 7200


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


def test_an_option_that_does_not_exist_is_named() -> None:
    """When it is used, and nothing is left of the attempt."""
    with (
        gridengine.GridEngineScheduler(options={"nonsense": 1}) as scheduler,
        pytest.raises(TypeError, match="nonsense"),
    ):
        gridengine.map(abs, [1], scheduler=scheduler)


def test_numbers_of_workers() -> None:
    """An int of any type, at least 1; refused when the scheduler is made."""
    wrong: Any
    for wrong in (0, -1, True, 1.5, "2", np.int64(0)):
        with pytest.raises(OptionError, match="max_threads"):
            gridengine.ProcessScheduler(wrong)
        with pytest.raises(OptionError, match="max_jobs"):
            gridengine.GridEngineScheduler(max_jobs=wrong)
    with gridengine.ProcessScheduler(np.int64(2)) as scheduler:
        assert scheduler.max_threads == 2
    gridengine.GridEngineScheduler(max_jobs=np.int8(3)).close()
