"""`Job`: like a thread or process, on a worker."""

from __future__ import annotations

import copy
import functools
import gc
import logging
import math
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from distributed import Client

import gridengine
from gridengine.errors import NotPicklable, RemoteTraceback, WorkerDied
from gridengine.job import Job, JobController
from tests.gridengine.conftest import RunScript
from tests.gridengine.helpers import die_after, mark_and_wait, wait_for
from tests.waiting import wait_until

pytestmark = pytest.mark.keeps_cluster

Start = Callable[..., Job]


@pytest.fixture
def start(warm: gridengine.ProcessScheduler) -> Start:
    """Start a function as a job on two warm workers."""

    def start(target: Callable[..., Any], *args: Any, **options: Any) -> Job:
        job = Job(target=target, args=args, scheduler=warm, **options)
        job.start()
        return job

    return start


def send_three(controller: JobController, *, fail: bool = False) -> str:
    for value in ("one", None, {"three": [3]}):
        controller.send(value)
    if fail:
        raise KeyError("after three")
    return controller.host_name


class Own(Job):
    """Has its own run(), and forgets super().__init__(), as the old docs allowed."""

    def __init__(self, n: int, scheduler: Any) -> None:
        self.n = n
        self.scheduler = scheduler

    def run(self) -> int:  # type: ignore[override]
        self.n += 1
        return self.n * 10


class Talking(Own):
    """Its controller has another name."""

    def run(self, handle: JobController) -> int:  # type: ignore[override]
        handle.send(handle.jobid)
        return self.n


class Mutable(Own):
    """Is brought up to date with its copy on the worker."""

    mutable = True

    def run(self) -> None:  # type: ignore[override]
        self.found = np.arange(3)
        self.n = 5
        raise KeyError("after all that")


# Life


def test_a_job_is_born_runs_and_ends(start: Start, tmp_path: Path) -> None:
    """ident, is_alive and exitcode go through the states of a thread and process."""
    job = Job(target=wait_for, args=(str(tmp_path / "go"),))
    assert (job.ident, job.pid, job.exitcode, job.is_alive()) == (None,) * 3 + (False,)
    job = start(wait_for, str(tmp_path / "go"))
    assert job.is_alive()
    assert job.exitcode is None
    assert job.join(timeout=0.01) is None  # type: ignore[func-returns-value]
    assert job.is_alive()
    (tmp_path / "go").touch()
    job.join()
    assert not job.is_alive()
    assert job.exitcode == 0
    assert job.ident == job.pid == job.id
    assert job.result() == "ended"
    assert job.exception() is None


def test_an_ident_is_no_process_id(start: Start) -> None:
    """No two jobs have the same, and a signal sent to one of them hits no process."""
    jobs = [start(abs, -1) for _ in range(3)]
    idents = {job.ident for job in jobs}
    assert len(idents) == 3
    assert min(i for i in idents if i) > int(
        Path("/proc/sys/kernel/pid_max").read_text()
    )
    assert [job.result() for job in jobs] == [1, 1, 1]


def test_start_and_join_in_the_wrong_order(start: Start) -> None:
    """A second start, and anything that waits before the first, is a RuntimeError."""
    job = start(abs, -1)
    with pytest.raises(RuntimeError, match="started"):
        job.start()
    new = Job(target=abs, args=(-1,))
    for wait in (new.join, new.result, new.exception, new.recv, new.poll, new.kill):
        with pytest.raises(RuntimeError, match="not started"):
            wait()
    job.join()


def test_names_are_made_up_and_can_be_changed() -> None:
    """Job-1, Job-2, ...; a name that was given stays, and can be set at any time."""
    first, second = Job(target=abs), Job(target=abs)
    assert int(second.name.removeprefix("Job-")) == (
        int(first.name.removeprefix("Job-")) + 1
    )
    named = Job(target=abs, name="ruler")
    assert named.name == "ruler"
    named.name = "slide"
    assert repr(named) == "<Job slide abs()>"


def test_str_is_the_call_cut_short() -> None:
    """The function's name and the beginnings of its arguments, however big they are."""
    args = ("a long text", 123456789, [0] * 10**6)
    job = Job(target=pow, args=args, kwargs={"mod": "a very long text"})
    assert str(job) == "pow(a lon, 12345, [0, 0, mod=a very l)"
    assert repr(Job(target=abs, name="j", args=(1,))) == "<Job j abs(1)>"


def test_group_and_daemon_are_as_for_a_thread(start: Start) -> None:
    """group is None; daemon is False, and cannot be set once the job is started."""
    with pytest.raises(ValueError, match="group"):
        Job(target=abs, group="a group")  # type: ignore[arg-type]
    job = Job(target=abs)
    assert job.daemon is False
    job.daemon = True
    assert Job(target=abs, daemon=True).daemon is job.daemon is True
    with pytest.raises(RuntimeError, match="daemon"):
        start(abs, -1).daemon = True


def test_a_closed_job_is_gone(start: Start, tmp_path: Path) -> None:
    """close() is an error while it runs; after it, using the job is one."""
    job = start(wait_for, str(tmp_path / "go"))
    with pytest.raises(ValueError, match="running"):
        job.close()
    (tmp_path / "go").touch()
    job.join()
    job.close()
    job.close()
    assert "closed" in repr(job)
    for use in (job.start, job.join, job.is_alive, job.result, job.terminate, job.recv):
        with pytest.raises(ValueError, match="closed"):
            use()
    for name in ("exitcode", "ident", "pid", "daemon"):
        with pytest.raises(ValueError, match="closed"):
            getattr(job, name)


def test_a_job_works_on_copies(start: Start) -> None:
    """What a job does to its arguments is seen on the worker only."""
    values: list[int] = []
    job = start(lambda some: some.append(1) or some, values)
    assert job.result() == [1]
    assert values == []


def test_a_copy_of_a_job_is_not_started(start: Start) -> None:
    """Where a job runs and how it went does not travel with it."""
    job = start(abs, -1)
    other = copy.deepcopy(job)
    assert (other.ident, other.is_alive(), other.args) == (None, False, (-1,))
    other.scheduler = job.scheduler
    other.start()
    assert job.result() == other.result() == 1


# What it can run


def test_nothing_to_run_is_a_type_error() -> None:
    """A job has a target that can be called, or a run() of its own."""
    with pytest.raises(TypeError, match="target"):
        Job()
    with pytest.raises(TypeError, match="not callable"):
        Job(target=3)  # type: ignore[arg-type]


def test_what_cannot_be_sent_is_named(warm: gridengine.ProcessScheduler) -> None:
    """The target when the job is made, an argument when it is started."""
    guard = threading.Lock()
    with pytest.raises(NotPicklable, match="guard"):
        Job(target=lambda: guard)
    job = Job(target=print, args=(1, {"key": guard}), scheduler=warm)
    with pytest.raises(NotPicklable, match=r"args.*'key'"):
        job.start()
    job.args = (1,)
    job.start()
    assert job.result() is None


def test_subclasses_need_no_super_init(warm: gridengine.ProcessScheduler) -> None:
    """An own run() is enough; it runs on a copy, and its result is the job's."""
    job = Own(3, warm)
    assert not job.is_alive()
    job.start()
    assert (job.result(), job.n, job.mutable) == (40, 3, False)


def test_a_controller_under_any_name(warm: gridengine.ProcessScheduler) -> None:
    """A run() that needs an argument gets the controller, as in the old library."""
    job = Talking(3, warm)
    job.start()
    assert list(job.messages()) == [job.id]
    assert job.result() == 3


def with_one(x: int, controller: Any = None) -> Any:
    return controller


def by_name_only(*, controller: Any) -> Any:
    return controller


def with_any(**kwargs: Any) -> Any:
    return kwargs.get("controller")


@functools.wraps(with_one)
def wrapped(*args: Any, **kwargs: Any) -> Any:
    return with_one(*args, **kwargs)


@pytest.mark.parametrize(
    ("target", "args", "kwargs", "result"),
    [
        (with_one, (1,), {}, "it"),
        (with_one, (1, 2), {}, 2),
        (with_one, (1,), {"controller": 3}, 3),
        (by_name_only, (), {}, "it"),
        (with_any, (), {}, None),
        (wrapped, (1,), {}, "it"),
        (functools.partial(with_one, 1), (), {}, "it"),
        (functools.partial(with_one, 1, 2), (), {}, 2),
        (math.sqrt, (4,), {}, 2),
        (dict, (), {}, {}),
    ],
)
def test_a_controller_goes_to_a_parameter_of_that_name(
    target: Any, args: Any, kwargs: Any, result: Any
) -> None:
    """If the arguments leave it free. Calling run() runs here, as with a thread."""
    job = Job(target=target, args=args, kwargs=kwargs)
    assert job.run("it") == result  # type: ignore[arg-type]


def test_a_mutable_job_comes_back(warm: gridengine.ProcessScheduler) -> None:
    """Its attributes are those of the worker's copy, even where it failed."""
    job = Mutable(3, warm)
    job.start()
    error = job.exception()
    assert isinstance(error, KeyError)
    assert isinstance(error.__cause__, RemoteTraceback)
    assert job.n == 5
    assert job.found.tolist() == [0, 1, 2]
    assert job.exitcode == 1


def test_a_job_may_start_jobs(start: Start) -> None:
    """Inside a job, the default scheduler is the workers of the one it is in."""

    def outer(n: int) -> int:
        inner = [gridengine.Job(target=abs, args=(-i,)) for i in range(n)]
        for job in inner:
            job.start()
        return sum(job.result(30) for job in inner)

    assert [job.result(60) for job in (start(outer, 3), start(outer, 4))] == [3, 6]


# How it can end


def fail() -> None:
    raise FileNotFoundError(2, "no such thing", "/some/where")


def test_an_exception_comes_home(start: Start) -> None:
    """Of the same type and state, from its remote traceback; exitcode 1."""
    job = start(fail)
    with pytest.raises(FileNotFoundError) as caught:
        job.result()
    assert caught.value.filename == "/some/where"
    assert "in fail\n" in str(caught.value.__cause__)
    assert job.exception() is caught.value
    assert job.exitcode == 1


@pytest.mark.parametrize(
    ("code", "exitcode"), [(None, 0), (0, 0), (7, 7), (-1, 255), ("a reason", 1)]
)
def test_exit_codes_are_those_of_a_process(
    start: Start, code: Any, exitcode: int
) -> None:
    """sys.exit() ends a job as it ends a process; 0 is not an exception."""
    job = start(sys.exit, code)
    job.join()
    assert job.exitcode == exitcode
    assert isinstance(job.exception(), SystemExit if exitcode else type(None))


def test_a_death_ends_one_job_and_no_other(
    fresh: gridengine.ProcessScheduler, tmp_path: Path
) -> None:
    """It is not run again: WorkerDied and exitcode -9. Those behind it are run."""
    go, log = tmp_path / "go", tmp_path / "log"
    killers = [Job(target=die_after, args=(str(go), str(log))) for _ in range(2)]
    others = [Job(target=abs, args=(-i,)) for i in range(6)]
    for job in [killers[0], *others[:3], killers[1], *others[3:]]:
        job.scheduler = fresh
        job.start()
    go.touch()
    for i, job in enumerate(others):
        # A result that was on its way is lost with the worker.
        assert job.exception(60) is not None or job.result() == i
    for job in killers:
        with pytest.raises(WorkerDied, match=job.name) as caught:
            job.result(30)
        assert (caught.value.index, caught.value.others_lost) == (None, False)
        assert job.exitcode == -9
    assert log.read_text() == "once\nonce\n"


@pytest.mark.parametrize(("how", "exitcode"), [("terminate", -15), ("kill", -9)])
def test_a_running_job_can_be_ended(
    fresh: gridengine.ProcessScheduler, tmp_path: Path, how: str, exitcode: int
) -> None:
    """Its worker process goes, another takes its place; the error names the call."""
    mark = tmp_path / "mark"
    job = Job(target=mark_and_wait, args=(str(mark), "/never"), scheduler=fresh)
    job.start()
    wait_until(mark.exists, "running", 30)
    getattr(job, how)()
    job.join(20)
    assert job.exitcode == exitcode
    with pytest.raises(CancelledError, match=rf"{job.name}.*{how}"):
        job.result()
    getattr(job, how)()
    assert gridengine.map(abs, [-1, -2, -3], scheduler=fresh) == [1, 2, 3]


def test_a_job_can_be_ended_at_any_time(
    fresh: gridengine.ProcessScheduler, tmp_path: Path
) -> None:
    """Before there is a worker, on its way there, and while its interpreter is busy."""
    jobs = [Job(target=wait_for, args=("/never",), scheduler=fresh) for _ in range(5)]
    jobs.append(Job(target=pow, args=(7, 10**9), scheduler=fresh))
    for job in jobs:
        job.start()
        job.terminate()
        job.join(30)
        assert job.exitcode == -15
    assert gridengine.map(abs, [-1, -2, -3], scheduler=fresh) == [1, 2, 3]


def test_compiled_code_can_be_ended(
    fresh: gridengine.ProcessScheduler, tmp_path: Path
) -> None:
    """Also a function that holds the interpreter, so that its worker cannot answer."""
    mark = tmp_path / "runs"

    def compute() -> int:
        mark.touch()
        return cast(int, 7 ** (10**9))

    job = Job(target=compute, scheduler=fresh)
    job.start()
    wait_until(mark.exists, "running", 30)
    job.terminate()
    job.join(30)
    assert job.exitcode == -15


def test_a_job_that_waits_for_a_worker_can_be_ended(
    start: Start, tmp_path: Path
) -> None:
    """It is never begun, and what runs on that worker is left alone."""
    running = [
        start(mark_and_wait, str(tmp_path / f"runs{i}"), str(tmp_path / "go"))
        for i in range(2)
    ]
    wait_until(lambda: len(list(tmp_path.iterdir())) == 2, "two running")
    waiting = [start(mark_and_wait, str(tmp_path / f"x{i}"), "/") for i in range(2)]
    for job in waiting:
        job.terminate()
        job.join(10)
    assert [job.exitcode for job in waiting] == [-15, -15]
    (tmp_path / "go").touch()
    assert [job.result(30) for job in running] == ["ended", "ended"]
    assert not list(tmp_path.glob("x*"))


def test_waiting_has_a_limit(start: Start, tmp_path: Path) -> None:
    """result, exception and recv raise gridengine.TimeoutError; the job goes on."""
    job = start(wait_for, str(tmp_path / "go"))
    for wait in (job.result, job.exception, job.recv):
        with pytest.raises(gridengine.TimeoutError, match=job.name):
            wait(0.01)
    assert job.poll(0.01) is False
    (tmp_path / "go").touch()
    assert job.result(30) == "ended"


def test_closing_the_scheduler_ends_its_jobs(
    fresh: gridengine.ProcessScheduler, tmp_path: Path
) -> None:
    """Their error says so."""
    job = Job(target=wait_for, args=(str(tmp_path / "never"),), scheduler=fresh)
    job.start()
    fresh.close()
    with pytest.raises(RuntimeError, match="closed"):
        job.result(20)


def test_a_scheduler_from_a_class_is_the_jobs_own() -> None:
    """It is closed when the job has ended."""
    job = Job(target=os.getppid, scheduler=gridengine.ProcessScheduler)
    job.start()
    nanny = job.result()
    wait_until(lambda: not Path(f"/proc/{nanny}").exists(), "its node gone", 10)


def test_a_scheduler_that_cannot_be_made_is_an_error_of_start() -> None:
    """The job can be started elsewhere then."""
    job = Job(target=abs, args=(-1,), scheduler=lambda: 3)
    with pytest.raises(TypeError, match="scheduler="):
        job.start()
    assert job.ident is None
    assert not job.is_alive()


def test_jobs_started_from_many_threads(warm: gridengine.ProcessScheduler) -> None:
    """All are run, while others end."""
    results: list[bool] = []

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


def test_a_worker_of_another_dask_cluster_is_left_alone(
    client: Client, tmp_path: Path
) -> None:
    """A job that is terminated there counts as ended, and goes on to its end."""
    mark, go = tmp_path / "mark", tmp_path / "go"

    def outer() -> int | None:
        job = Job(target=mark_and_wait, args=(str(mark), str(go)))
        job.start()
        wait_for(str(mark))
        job.terminate()
        job.join(20)
        return job.exitcode

    before = set(client.scheduler_info()["workers"])
    assert client.submit(outer, pure=False).result(40) == -15
    assert set(client.scheduler_info()["workers"]) == before
    go.touch()
    assert client.submit(abs, -1).result(20) == 1


def test_what_nobody_asked_about_is_logged(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """A job that failed and is forgotten does not do so in silence."""
    with caplog.at_level(logging.ERROR, "gridengine"):
        job = start(fail)
        name = job.name
        job.join()
        del job
        gc.collect()
        wait_until(lambda: name in caplog.text, "logged", 5, lambda: caplog.text)
        asked = start(fail)
        name = asked.name
        assert asked.exception()
        del asked
        gc.collect()
    assert name not in caplog.text
    assert "no such thing" in caplog.text


# What it says on the way


def test_messages_come_in_order_and_none_is_lost(start: Start) -> None:
    """Also when the job fails after them, and when they are read after its end."""
    for failing in False, True:
        job = start(send_three, kwargs={"fail": failing})
        job.join()
        assert job.poll() is True
        assert job.recv() == "one"
        assert list(job.messages()) == [None, {"three": [3]}]
        with pytest.raises(EOFError, match=job.name):
            job.recv()
        assert job.poll(None) is False
        assert isinstance(job.exception(), KeyError if failing else type(None))


def test_messages_come_while_the_job_runs(start: Start, tmp_path: Path) -> None:
    """The host has a message before the job has ended."""

    def half_way(path: str, controller: JobController) -> int:
        controller.store(controller.jobid, "half")
        wait_for(path)
        return controller.id

    job = start(half_way, str(tmp_path / "go"))
    assert job.recv(30) == "half"
    assert job.is_alive()
    (tmp_path / "go").touch()
    assert job.result(30) == job.id


def test_big_arrays_are_messages_too(start: Start) -> None:
    """100 MB in one piece, as they were, and they can be written to."""

    def send(controller: JobController) -> None:
        controller.send((np.arange(12_500_000), "and more"))

    job = start(send)
    array, more = job.recv(60)
    array[0] = 7
    assert (array.nbytes, int(array[-1]), more) == (100_000_000, 12_499_999, "and more")
    job.join()


def test_messages_before_a_death_arrive(fresh: gridengine.ProcessScheduler) -> None:
    """What was sent is safe whatever becomes of the worker; no queue stays behind."""

    def send_and_die(controller: JobController) -> None:
        for i in range(100):
            controller.send(i)
        os._exit(1)

    job = Job(target=send_and_die, scheduler=fresh)
    job.start()
    assert list(job.messages()) == list(range(100))
    assert job.exitcode == -9
    assert_empty(fresh)


def test_a_message_that_cannot_be_sent_is_an_error_there(start: Start) -> None:
    """The job gets it, where it can do something about it."""

    def send(controller: JobController) -> tuple[str, str]:
        with pytest.raises(NotPicklable) as unpicklable:
            controller.send({"lock": threading.Lock()})
        with pytest.raises(ValueError, match="99") as wrong:
            controller.store(99, 1)
        return str(unpicklable.value), str(wrong.value)

    for message, part in zip(start(send).result(30), ("lock", "99"), strict=True):
        assert part in message


def assert_empty(scheduler: gridengine.ProcessScheduler) -> None:
    """Check that Dask's scheduler has nothing of jobs any more."""

    def left(dask_scheduler: Any) -> list[str]:
        queues = dask_scheduler.extensions["queues"].queues
        return [*queues, *dask_scheduler.tasks]

    def ask() -> Any:
        return scheduler.client.run_on_scheduler(left)

    wait_until(lambda: not ask(), "nothing left", 10, ask)


def test_nothing_stays_in_the_scheduler(
    warm: gridengine.ProcessScheduler, start: Start
) -> None:
    """Queues and tasks go with their jobs, whether they were read or not."""
    jobs = [start(send_three), start(send_three, kwargs={"fail": True}), start(fail)]
    for job in jobs:
        job.exception(30)
    assert_empty(warm)


# When Python ends

SCRIPT = """
import gridengine, os, pathlib, sys, time

def write(path):
    time.sleep({seconds})
    pathlib.Path(path).write_text("done")

if __name__ == "__main__":
    scheduler = gridengine.ProcessScheduler(1)
    job = gridengine.Job(
        target=write, args=("out",), daemon={daemon}, scheduler=scheduler
    )
    job.start()
    {end}
"""


def test_python_does_not_wait_for_daemons(
    run_script: RunScript, tmp_path: Path
) -> None:
    """A daemon job is ended with its cluster, in silence."""
    end = "time.sleep(0.1)"
    ran = run_script(SCRIPT.format(seconds=300, daemon=True, end=end))
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert not (tmp_path / "out").exists()


def test_python_waits_for_jobs_also_after_ctrl_c(
    run_script: RunScript, tmp_path: Path
) -> None:
    """As with threads: Ctrl-C ends a join and not the job, and Python ends after it."""
    end = (
        "import signal; signal.setitimer(signal.ITIMER_REAL, 0.2)\n"
        "    signal.signal(signal.SIGALRM, signal.default_int_handler)\n"
        "    try: job.join()\n"
        "    except KeyboardInterrupt: print(job.is_alive())"
    )
    ran = run_script(SCRIPT.format(seconds=0.5, daemon=False, end=end))
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "True\n", "")
    assert (tmp_path / "out").read_text() == "done"
