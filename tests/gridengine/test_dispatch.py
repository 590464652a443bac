"""Many jobs at once: all results in order, whatever becomes of some of them."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

import gridengine
from gridengine.errors import NotPicklable, WorkerDied
from gridengine.job import Job, JobController
from tests.gridengine.conftest import RunScript
from tests.gridengine.helpers import die_after, mark_and_wait, task_key, wait_for
from tests.waiting import wait_until

pytestmark = pytest.mark.keeps_cluster


@pytest.fixture
def dispatcher(
    warm: gridengine.ProcessScheduler,
) -> Iterator[gridengine.JobDispatcher]:
    with gridengine.JobDispatcher(warm) as dispatcher:
        yield dispatcher


def send(n: int, controller: JobController) -> int:
    for i in range(n):
        controller.send((controller.jobid, i))
    return 1 // (2 - n)


class Counting(Job):
    """Has its own run(), no super().__init__(), and comes back changed."""

    mutable = True

    def __init__(self, n: int) -> None:
        self.n = n

    def run(self) -> int:  # type: ignore[override]
        self.n += 1
        return self.n * 10


def test_results_come_in_order_with_exceptions_in_place(
    dispatcher: gridengine.JobDispatcher,
) -> None:
    """join returns them; each job knows its own, and its place in the list."""
    jobs = [Job(target=divmod, args=(12, i)) for i in range(4)]
    dispatcher.dispatch(jobs)
    results = dispatcher.join()
    assert isinstance(results[0], ZeroDivisionError)
    assert jobs[0].name in str(results[0].__cause__)
    assert results[1:] == [(12, 0), (6, 0), (4, 0)]
    assert [job.id for job in jobs] == [0, 1, 2, 3]
    assert [job.exitcode for job in jobs] == [1, 0, 0, 0]
    assert [job.is_alive() for job in jobs] == [False] * 4
    assert jobs[0].exception() is results[0]
    assert jobs[3].result() == (4, 0)


def test_jobs_go_in_chunks(dispatcher: gridengine.JobDispatcher) -> None:
    """A thousand tiny jobs are a few tasks, not a thousand."""
    dispatcher.dispatch([Job(target=task_key) for _ in range(1000)])
    assert len(set(dispatcher.join())) < 300


def test_nothing_to_do(dispatcher: gridengine.JobDispatcher) -> None:
    """No jobs, no results, and nothing is started for them."""
    dispatcher.dispatch([])
    assert dispatcher.join() == []


def test_dispatch_and_join_take_turns(
    dispatcher: gridengine.JobDispatcher, tmp_path: Path
) -> None:
    """Twice the same is a RuntimeError; a join that was too short loses nothing."""
    with pytest.raises(RuntimeError, match="dispatch"):
        dispatcher.join()
    job = Job(target=wait_for, args=(str(tmp_path / "go"),))
    dispatcher.dispatch([job])
    with pytest.raises(RuntimeError, match="join"):
        dispatcher.dispatch([])
    with pytest.raises(gridengine.TimeoutError, match=r"1 of 1"):
        dispatcher.join(timeout=0.05)
    assert not dispatcher.finished
    assert job.is_alive()
    with pytest.raises(RuntimeError, match="close"):
        job.terminate()
    (tmp_path / "go").touch()
    assert dispatcher.join(30) == ["ended"]
    dispatcher.dispatch([job])
    assert dispatcher.join(30) == ["ended"]


def test_times_are_kept(dispatcher: gridengine.JobDispatcher, tmp_path: Path) -> None:
    """Start, end and what is between them; while jobs run, until now."""
    assert dispatcher.start_time is dispatcher.end_time is None
    assert dispatcher.elapsed_time is None
    assert dispatcher.finished
    before = datetime.now()
    dispatcher.dispatch([Job(target=wait_for, args=(str(tmp_path / "go"),))])
    assert dispatcher.end_time is None
    first = dispatcher.elapsed_time
    assert first is not None
    wait_until(lambda: dispatcher.elapsed_time != first, "time passing")
    (tmp_path / "go").touch()
    wait_until(lambda: dispatcher.finished, "finished before it is joined")
    dispatcher.join()
    assert before <= dispatcher.start_time <= dispatcher.end_time <= datetime.now()
    elapsed = dispatcher.end_time - dispatcher.start_time
    assert dispatcher.elapsed_time == elapsed > timedelta(0)


def test_only_jobs_that_can_run(dispatcher: gridengine.JobDispatcher) -> None:
    """What is no job, is in the list twice, or is closed, is refused at once."""
    job, closed = Job(target=abs, args=(-1,)), Job(target=abs)
    closed.close()
    for jobs, error in (
        ([abs], TypeError),
        ([Job.__new__(Job)], TypeError),
        ([job, job], ValueError),
        ([closed], ValueError),
    ):
        with pytest.raises(error):
            dispatcher.dispatch(jobs)  # type: ignore[arg-type]
    dispatcher.dispatch([job])
    assert dispatcher.join() == [1]


def test_what_cannot_be_sent_is_named(dispatcher: gridengine.JobDispatcher) -> None:
    """join raises before anything is run, and the dispatcher can be used again."""
    jobs = [Job(target=print, args=(i,)) for i in range(3)]
    jobs[2].args = (threading.Lock(),)
    dispatcher.dispatch(jobs)
    with pytest.raises(NotPicklable, match="args"):
        dispatcher.join()
    assert [job.exitcode for job in jobs] == [1, 1, 1]
    dispatcher.dispatch(jobs[:2])
    assert dispatcher.join() == [None, None]


def test_jobs_send_messages(dispatcher: gridengine.JobDispatcher) -> None:
    """Each to its own owner, in order, nothing lost, also where it failed."""
    jobs = [Job(target=send, args=(n,)) for n in range(5)]
    dispatcher.dispatch(jobs)
    assert list(jobs[4].messages()) == [(4, i) for i in range(4)]
    results = dispatcher.join()
    assert isinstance(results[2], ZeroDivisionError)
    for job in jobs[:4]:
        assert list(job.messages()) == [(job.id, i) for i in range(job.args[0])]


def test_subclasses_and_mutable_jobs(dispatcher: gridengine.JobDispatcher) -> None:
    """Own run()s run, and the attributes of mutable jobs come back."""
    jobs = [Counting(n) for n in range(3)]
    dispatcher.dispatch(jobs)
    assert dispatcher.join() == [10, 20, 30]
    assert [job.n for job in jobs] == [1, 2, 3]


def test_a_job_that_kills_its_worker_is_named(
    fresh: gridengine.ProcessScheduler, tmp_path: Path
) -> None:
    """It has WorkerDied for a result and -9 for an exit code; the others are done."""
    jobs: list[Any] = [Job(target=abs, args=(-i,)) for i in range(6)]
    (tmp_path / "go").touch()
    jobs[2] = Job(target=die_after, args=(str(tmp_path / "go"), str(tmp_path / "log")))
    with gridengine.JobDispatcher(fresh) as dispatcher:
        dispatcher.dispatch(jobs)
        results = dispatcher.join(60)
    died = results.pop(2)
    assert isinstance(died, WorkerDied)
    assert died.index == 2
    assert "reraise" not in str(died)
    assert results == [0, 1, 3, 4, 5]
    assert [job.exitcode for job in jobs] == [0, 0, -9, 0, 0, 0]


def test_close_calls_back_what_is_left(
    fresh: gridengine.ProcessScheduler, tmp_path: Path
) -> None:
    """Its jobs say so; the dispatcher is of no more use, its scheduler is."""
    jobs = [
        Job(target=mark_and_wait, args=(str(tmp_path / f"{i}"), "/never"))
        for i in range(4)
    ]
    dispatcher = gridengine.JobDispatcher(fresh)
    dispatcher.dispatch(jobs)
    wait_until(lambda: any(tmp_path.iterdir()), "running", 30)
    dispatcher.close()
    dispatcher.close()
    assert {job.exitcode for job in jobs} == {-15}
    assert "closed" in str(jobs[0].exception())
    with pytest.raises(RuntimeError, match="closed"):
        dispatcher.dispatch([])
    assert gridengine.map(abs, [-1, -2], scheduler=fresh) == [1, 2]


def test_ctrl_c_in_join_calls_back_the_rest(
    fresh: gridengine.ProcessScheduler, tmp_path: Path
) -> None:
    """KeyboardInterrupt goes on, and the dispatcher can be used again."""
    mark = tmp_path / "runs"
    jobs = [Job(target=mark_and_wait, args=(str(mark), "/never")) for _ in range(4)]

    def interrupt() -> None:
        wait_until(mark.exists, "running", 30)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    with gridengine.JobDispatcher(fresh) as dispatcher:
        dispatcher.dispatch(jobs)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            dispatcher.join()
        thread.join()
        assert dispatcher.finished
        assert {job.exitcode for job in jobs} == {-15}
        dispatcher.dispatch([Job(target=abs, args=(-1,))])
        assert dispatcher.join(30) == [1]


def test_what_is_made_from_a_class_is_closed() -> None:
    """With the dispatcher, or with the last reference to it; others stay warm."""
    with gridengine.JobDispatcher(gridengine.ProcessScheduler) as dispatcher:
        dispatcher.dispatch([Job(target=abs, args=(-1,))])
        assert dispatcher.join() == [1]
        assert dispatcher.address.startswith("tls://")
    with pytest.raises(RuntimeError, match="closed"):
        dispatcher.scheduler.client  # noqa: B018
    dispatcher = gridengine.JobDispatcher(gridengine.ProcessScheduler)
    dispatcher.dispatch([Job(target=os.getppid)])
    nanny = dispatcher.join()[0]
    del dispatcher
    gc.collect()
    wait_until(lambda: not os.path.exists(f"/proc/{nanny}"), "node gone", 10)


def test_a_dispatcher_in_a_task_of_another_cluster(client: Client) -> None:
    """It uses the workers of that cluster."""

    def outer() -> tuple[list[int], str]:
        dispatcher = gridengine.JobDispatcher()
        dispatcher.dispatch([Job(target=send, args=(i,)) for i in (0, 1)])
        return dispatcher.join(30), dispatcher.address

    found = client.submit(outer, pure=False).result(40)
    assert found == ([0, 1], client.scheduler.address)


def test_a_dispatcher_inside_of_a_job(warm: gridengine.ProcessScheduler) -> None:
    """It uses the workers of the one that runs it, and holds none while it waits."""

    def outer(n: int) -> int:
        dispatcher = gridengine.JobDispatcher()
        dispatcher.dispatch([gridengine.Job(target=abs, args=(-i,)) for i in range(n)])
        return int(sum(dispatcher.join(30)))

    assert gridengine.map(outer, [2, 3, 4], scheduler=warm) == [1, 3, 6]


# When Python ends

#: Dispatches three jobs; the second one raises with the argument `raise`.
SCRIPT = """
import gridengine, pathlib, sys, time

def write(i):
    time.sleep(0.2)
    if i == 1 and "raise" in words:
        raise ValueError("broken")
    pathlib.Path(f"out{i}").touch()

if __name__ == "__main__":
    words = sys.argv
    dispatcher = gridengine.JobDispatcher(gridengine.ProcessScheduler(2))
    jobs = [gridengine.Job(target=write, args=(i,), name=f"job {i}") for i in range(3)]
    dispatcher.dispatch(jobs)
    if "join" in words:
        dispatcher.join()
"""

needs_threads_at_end = pytest.mark.skipif(
    (3, 12) <= sys.version_info < (3, 12, 2),
    reason="this Python starts no thread when the script has ended",
)


@needs_threads_at_end
def test_python_waits_for_dispatched_jobs(
    run_script: RunScript, tmp_path: Path
) -> None:
    """A script that does not join leaves no job undone."""
    ran = run_script(SCRIPT)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert sorted(path.name for path in tmp_path.glob("out*")) == [
        "out0",
        "out1",
        "out2",
    ]


@needs_threads_at_end
def test_a_failure_that_was_not_joined_is_printed(run_script: RunScript) -> None:
    """With the job's name and its exception; not if it was joined."""
    ran = run_script(SCRIPT, "raise")
    assert ran.returncode == 0
    for part in ("1 of 3", "job 1", "broken"):
        assert part in ran.stderr
    assert run_script(SCRIPT, "raise", "join").stderr == ""
