"""The crew behind started jobs: there while it is needed, gone when it is not."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from distributed import Client

import gridengine
from gridengine import background
from gridengine.job import Job
from gridengine.places import ClientPlace
from tests.gridengine.deeds import mark_and_wait, wait_for
from tests.waiting import wait_until

pytestmark = pytest.mark.keeps_cluster


def crews() -> list[str]:
    """Threads that see to jobs."""
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith("gridengine-Job")]


def test_one_thread_for_all_jobs_of_a_client(
    warm: gridengine.ProcessScheduler, tmp_path: Path
) -> None:
    """However many there are; it goes with the last of them."""
    go = str(tmp_path / "go")
    jobs = [Job(target=wait_for, args=(go,), scheduler=warm) for _ in range(5)]
    for job in jobs:
        job.start()
    assert len(crews()) == 1
    assert background._counts == {id(warm): 5}
    (tmp_path / "go").touch()
    assert [job.result(30) for job in jobs] == ["ended"] * 5
    wait_until(lambda: not crews(), "no crew", 5, crews)
    assert not background._crews
    assert not background._counts


def test_jobs_started_from_many_threads(warm: gridengine.ProcessScheduler) -> None:
    """All are run, whoever starts them, while others end."""
    results: list[int] = []

    def work(n: int) -> None:
        for i in range(10):
            job = Job(target=pow, args=(n, i), scheduler=warm)
            job.start()
            results.append(job.result(60) == n**i)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 50


def test_somebodys_worker_is_left_alone(client: Client, tmp_path: Path) -> None:
    """A job that is terminated there counts as ended, and goes on to its end."""
    go, mark = tmp_path / "go", tmp_path / "mark"
    job = Job(target=mark_and_wait, args=(str(mark), str(go)))
    job.scheduler = ClientPlace(client)
    before = set(client.scheduler_info()["workers"])
    job.start()
    wait_until(mark.exists, "running", 10)
    job.terminate()
    job.join(10)
    assert job.exitcode == -15
    assert set(client.scheduler_info()["workers"]) == before
    go.touch()
    again = Job(target=os.getpid, scheduler=ClientPlace(client))
    again.start()
    assert again.result(10) == os.getpid()


def test_a_scheduler_that_cannot_start_is_told_by_start() -> None:
    """start() raises, and the job can be started elsewhere."""
    job = Job(target=abs, args=(-1,), scheduler=lambda: 3)
    with pytest.raises(TypeError, match="scheduler="):
        job.start()
    assert job.ident is None
    assert not job.is_alive()
    assert not background._counts
