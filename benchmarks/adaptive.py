"""A square wave of demand and a slow queue: what does following it cost?

Run it on the master host of a cell of its own, that has fewer slots than are wanted at
once, with dask-jobqueue installed; it takes about five minutes::

    ci/grid up 2 2
    ci/grid run gridmaster .venv/bin/python benchmarks/adaptive.py
    ci/grid down

In each of ten periods there is work for eight workers; afterwards there is no work
for as long as both take to shrink. The queue starts jobs only for 1.5 s out of 6.5, and
at most four at once, so half of what is asked for still queues when demand falls. Both
keep idle workers for 3 s: dask-jobqueue by Dask's ``interval`` and ``wait_count``.

Each task enters its beginning and its end into a book, with the job it runs in. What
became of each job is in `adaptive_books`, which fails loudly if anything is left over.
Exits with 1 if a goal is not met.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adaptive_books import (
    EndNotices,
    Fate,
    Job,
    JobList,
    Watch,
    ask,
    job_log,
    listed,
    wait_for_empty_queue,
)
from distributed import Client
from map_report import goal, say

MEMORY = "500 MB"
MOST, TASKS, SECONDS = 8, 80, 0.5  # jobs; tasks of a rise, and how long each takes
LULL = 6.0  # seconds
SHUT, OPEN = 5.0, 1.5  # seconds for which the queue starts no job, and does
IDLE = 3.0  # seconds after which an idle worker goes, with both
LONGEST = 120.0  # seconds a rise may take, or the end
QUIET = {"dashboard": False, "dashboard_address": ":0"}


@dataclass(kw_only=True)
class Contender:
    """An adaptive cluster, and the jobs that it has submitted."""

    name: str
    cluster: Any
    jobs: Callable[[], list[Job]]


@dataclass
class Run:
    """The results of one contender."""

    name: str
    books: JobList = field(default_factory=JobList)
    began: list[float] = field(default_factory=list)  # of each rise, by the clock
    took: list[float] = field(default_factory=list)  # seconds, each rise
    total: float = 0.0  # seconds
    begun: Counter[str] = field(default_factory=Counter)  # runs of each task
    cut: Counter[Job] = field(default_factory=Counter)  # tasks begun only, by job
    notes: dict[str, int] = field(default_factory=dict)

    @property
    def most_in_a_rise(self) -> int:
        """Submissions between the beginnings of two rises, at most."""
        starts = [int(when) for when in self.began]
        per = Counter(sum(start <= when for start in starts) for when in self.submitted)
        return max(per.values(), default=0)

    @property
    def submitted(self) -> list[int]:
        return self.books.submitted

    @property
    def again(self) -> int:
        return sum(count > 1 for count in self.begun.values())


def ours() -> Contender:
    from dask_gridengine import GridEngineCluster

    cluster = GridEngineCluster(
        launcher="drmaa", memory=MEMORY, scheduler_options=QUIET, quiet=True
    )
    cluster.adapt(maximum_jobs=MOST, idle_grace=IDLE)
    return Contender(
        name="dask-gridengine",
        cluster=cluster,
        jobs=lambda: [Job(*row.id) for row in cluster.jobs()],
    )


def jobqueue() -> Contender:
    from dask_jobqueue.sge import SGECluster, SGEJob

    submitted = []

    class KnownJob(SGEJob):  # type: ignore[misc]
        def _job_id_from_submit_output(self, out: str) -> str:
            submitted.append(Job(super()._job_id_from_submit_output(out), 0))
            return submitted[-1].id

    cluster = SGECluster(
        job_cls=KnownJob,
        cores=1,
        processes=1,
        memory=MEMORY,
        scheduler_options=QUIET,
        log_directory=tempfile.mkdtemp(prefix="adaptive-logs-", dir="/var/tmp"),
    )
    cluster.adapt(minimum_jobs=0, maximum_jobs=MOST)
    return Contender(name="dask-jobqueue", cluster=cluster, jobs=lambda: submitted)


class SlowQueue:
    """A thread that opens the queues now and then; begins with them shut."""

    def __enter__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            ask("qmod", "-d", "*")
            over = self._over.wait(SHUT)
            ask("qmod", "-e", "*")
            if over or self._over.wait(OPEN):
                return

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()


def work(name: str, seconds: float, book: str) -> str:
    """Take some seconds; record a line at the beginning and one at the end."""
    task = os.environ.get("SGE_TASK_ID", "undefined")
    job = f"{os.environ['JOB_ID']} {0 if task == 'undefined' else task}"
    path = f"{book}/{os.environ['JOB_ID']}-{task}-{os.getpid()}"
    with open(path, "a", buffering=1) as file:
        file.write(f"{name} {job} begun\n")
        time.sleep(seconds)
        file.write(f"{name} {job} ended\n")
    return name


def wave(contender: Contender, periods: int, run: Run, book: str) -> None:
    """Run ten periods of work; then wait until no node is left."""
    with Client(contender.cluster) as client:
        for period in range(periods):
            run.began.append(time.time())
            names = [f"{period}-{number}" for number in range(TASKS)]
            futures = client.map(work, names, seconds=SECONDS, book=book, pure=False)
            if client.gather(futures) != names:
                raise SystemExit(f"{run.name} computes something else")
            run.took.append(time.time() - run.began[-1])
            del futures
            time.sleep(LULL)
        wait_for_empty_queue(LONGEST)


def measure(make: Callable[[], Contender], periods: int) -> Run:
    with tempfile.TemporaryDirectory(prefix="adaptive-", dir="/var/tmp") as book:
        ledger, watch = EndNotices(), Watch()
        watch.start()
        started = time.monotonic()
        contender = make()
        run = Run(contender.name)
        with contender.cluster, SlowQueue():
            wave(contender, periods, run, book)
            run.total = time.monotonic() - started
        watch.stop()
        wait_for_empty_queue(LONGEST)
        run.books = ledger.close(contender.jobs(), watch.seen)
        read(book, run)
    return run


def read(book: str, run: Run) -> None:
    for path in Path(book).iterdir():
        for line in path.read_text().splitlines():
            name, number, task, what = line.split()
            run.begun[name] += what == "begun"
            run.cut[Job(number, int(task))] += 1 if what == "begun" else -1


def table(runs: list[Run]) -> None:
    say(f"{'':<38}" + "".join(f"{run.name:>18}" for run in runs))
    for what, tell in ROWS:
        say(f"{what:<38}" + "".join(f"{tell(run):>18}" for run in runs))


def spread(run: Run) -> str:
    low, middle, high = min(run.took), statistics.median(run.took), max(run.took)
    return f"{middle:.1f} ({low:.1f}-{high:.1f})"


def with_work(run: Run) -> int:
    return sum(run.cut[job] > 0 for job in run.books.having(Fate.RUNNING))


ROWS: list[tuple[str, Callable[[Run], Any]]] = [
    ("submissions", lambda run: len(run.submitted)),
    ("  most in one rise", lambda run: run.most_in_a_rise),
    ("jobs", lambda run: len(run.books.fates)),
    *[
        (f"  {fate.value}", lambda run, fate=fate: len(run.books.having(fate)))
        for fate in Fate
    ],
    ("    of these with a task under way", with_work),
    ("tasks", lambda run: len(run.begun)),
    ("  begun more than once", lambda run: run.again),
    ("seconds to finish a rise", spread),
    ("seconds in all", lambda run: f"{run.total:.0f}"),
]


def slots() -> int:
    shown = ask("qstat", "-f").splitlines()
    used = [line.split()[2].split("/")[-1] for line in shown if "@" in line]
    return sum(map(int, used))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--periods", type=int, default=10)
    periods = parser.parse_args().periods
    if not 0 < slots() < MOST or [*listed()]:
        raise SystemExit(f"it needs an empty cell of 1 to {MOST - 1} slots")
    say(
        f"{periods} rises of {TASKS} tasks of {SECONDS:g} s, {MOST} jobs at most,"
        f" {slots()} slots, a queue that is shut for {SHUT:g} s out of"
        f" {SHUT + OPEN:g}\n"
    )
    with job_log():
        runs = [measure(make, periods) for make in (ours, jobqueue)]
    table(runs)
    say("\nthe job log, qacct, qstat and the clusters agree on every job\n")
    our = runs[0]
    met = [
        goal("queued jobs deleted", len(our.books.having(Fate.QUEUED)), most=0),
        goal("arrays in one rise", our.most_in_a_rise, most=1),
        goal("running jobs deleted with a task", with_work(our), most=0),
        goal("tasks begun more than once", our.again, most=0),
    ]
    return 0 if all(met) else 1


if __name__ == "__main__":
    raise SystemExit(main())
