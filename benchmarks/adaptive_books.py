"""What became of every job of a run, from four sources that have to agree.

qmaster's job log (``man 5 reporting``) has every job's submission, start, deletion and
end; qacct has a record of every job that has started; ``qstat -xml`` was asked all the
time; and who has submitted knows the ids. Of a job that is deleted while it queues
qacct knows nothing (Son of Grid Engine 8.1.9), so the log decides and the others have
to fit. What does not fit ends the benchmark.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import threading
import time
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import NamedTuple

LOGGED = (
    "accounting=true reporting=true flush_time=00:00:01 joblog=true"
    " accounting_flush_time=00:00:01 sharelog=00:00:00"
)
EVERY = 0.5  # seconds between questions to qstat
LATE = 20.0  # seconds a record of the accounting may be late
#: Daemons whose deletions are not requests: each job ends with one.
DAEMONS = ("master", "scheduler", "execution daemon")


class Job(NamedTuple):
    """A job, or a task of an array."""

    id: str
    task: int  # 0 unless it is of an array


class Fate(Enum):
    """How a job ended."""

    ENDED = "ended normally"
    QUEUED = "deleted while queued"
    RUNNING = "deleted while running"


class Event(NamedTuple):
    """A line of qmaster's job log, as far as it matters."""

    when: int  # seconds since the epoch
    what: str
    job: Job  # its task is -1 for a whole array
    by: str


@dataclass
class JobList:
    """What the job log says of a run's jobs, found to fit all else that is known."""

    fates: dict[Job, Fate] = field(default_factory=dict)
    submitted: list[int] = field(default_factory=list)  # when, for each submission

    def having(self, fate: Fate) -> set[Job]:
        return {job for job, its in self.fates.items() if its is fate}


def ask(*command: str) -> str:
    """What a command of Grid Engine prints; "" if it finds nothing."""
    return subprocess.run(command, capture_output=True, text=True).stdout


def set_configuration(lines: list[str]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "global")  # qconf goes by the file's name
        path.write_text("\n".join([*lines, ""]))
        subprocess.run(["qconf", "-Mconf", str(path)], check=True, capture_output=True)


@contextlib.contextmanager
def job_log() -> Iterator[None]:
    """Have qmaster keep one, and accounts without delay."""
    shown = ask("qconf", "-sconf").replace("\\\n", " ").splitlines()
    before = [line for line in shown if line and not line.startswith("#")]
    kept = [line for line in before if not line.startswith("reporting_params")]
    if len(kept) != len(before) - 1:
        raise SystemExit("qconf -sconf shows no reporting_params")
    set_configuration([*kept, f"reporting_params {LOGGED}"])
    try:
        yield
    finally:
        set_configuration(before)


class Watch(threading.Thread):
    """Asks qstat again and again, and notes in which states it has seen each job."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._over = threading.Event()
        self.seen: dict[Job, set[str]] = defaultdict(set)

    def run(self) -> None:
        while not self._over.wait(EVERY):
            for job, state in listed():
                self.seen[job].add(state)

    def stop(self) -> None:
        self._over.set()
        self.join()


def listed() -> Iterator[tuple[Job, str]]:
    """Every job that qstat shows, with its state."""
    for entry in ET.fromstring(ask("qstat", "-xml")).iter("job_list"):
        number, state = entry.findtext("JB_job_number"), entry.findtext("state")
        assert number
        assert state
        for task in tasks(entry.findtext("tasks") or "0"):
            yield Job(number, task), state


def tasks(shown: str) -> Iterator[int]:
    """Those of "1,4-8:2", as qstat shows an array's that are in the same state."""
    for part in shown.split(","):
        first, _, rest = part.partition("-")
        last, _, step = rest.partition(":")
        yield from range(int(first), int(last or first) + 1, int(step or 1))


def wait_for_empty_queue(timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while left := [str(job) for job, _ in listed()]:
        if time.monotonic() > deadline:
            raise SystemExit(f"still in the queue after {timeout:g} s: {left}")
        time.sleep(EVERY)


class EndNotices:
    """The job log from the moment that this is made."""

    def __init__(self) -> None:
        cell = Path(os.environ["SGE_ROOT"], os.environ.get("SGE_CELL", "default"))
        self._path = cell / "common" / "reporting"
        self._start = self._path.stat().st_size if self._path.exists() else 0

    def events(self) -> list[Event]:
        with self._path.open() as file:
            file.seek(self._start)
            # The first line is a comment, and the last one may be half written.
            lines = [line for line in file if line.endswith("\n") and ":" in line]
        fields = [line.rstrip("\n").split(":") for line in lines]
        return [
            Event(int(f[2]), f[3], Job(f[4], int(f[5])), f[8])
            for f in fields
            if f[1:2] == ["job_log"]
        ]

    def close(self, known: Collection[Job], seen: dict[Job, set[str]]) -> JobList:
        """Classify each job, and compare that with all other sources.

        Parameters
        ----------
        known
            The jobs that the cluster has submitted.
        seen
            The states in which qstat has shown each.
        """
        deadline = time.monotonic() + LATE
        while True:
            books, faults = self._close(known, seen)
            if not faults:
                return books
            if time.monotonic() > deadline:
                raise SystemExit("THE BOOKS DO NOT BALANCE\n  " + "\n  ".join(faults))
            time.sleep(1)

    def _close(
        self, known: Collection[Job], seen: dict[Job, set[str]]
    ) -> tuple[JobList, list[str]]:
        books, story = JobList(), defaultdict[Job, list[Event]](list)
        for event in self.events():
            if event.what == "pending" and event.job.task == -1:
                books.submitted.append(event.when)
            else:
                story[event.job].append(event)
        faults = []
        for job, events in story.items():
            fate = fate_of(events)
            if fate is None:
                faults.append(f"{job}: no class for {[e[1:] for e in events]}")
            else:
                books.fates[job] = fate
        started = {*books.fates} - books.having(Fate.QUEUED)
        ran = {job for job, states in seen.items() if "r" in states}
        faults += differ("submitted", known, "in the job log", books.fates)
        faults += differ("started, says the log", started, "in qacct", accounts(story))
        faults += differ("seen by qstat", {*seen} - {*known}, "submitted", ())
        faults += differ("seen running", ran - started, "started, says the log", ())
        if len({job.id for job in known}) != len(books.submitted):
            faults.append(f"{len(books.submitted)} submissions in the log")
        if len(books.fates) != sum(len(books.having(fate)) for fate in Fate):
            faults.append("the classes do not sum up")
        return books, faults


def fate_of(events: list[Event]) -> Fate | None:
    """Return how a job ended by its events, in their order; None if unknown."""
    started = finished = deleted = False
    for event in events:
        started |= event.what in ("sent", "delivered")
        # A deletion of a finished job deletes nothing.
        deleted |= event.what == "deleted" and event.by not in DAEMONS and not finished
        finished |= event.what == "finished"
    if not finished or not (started or deleted):
        return None
    if deleted:
        return Fate.RUNNING if started else Fate.QUEUED
    return Fate.ENDED


def accounts(jobs: Collection[Job]) -> set[Job]:
    """Those that qacct has a record of."""
    found = set()
    for number in {job.id for job in jobs}:
        for line in ask("qacct", "-j", number).splitlines():
            name, _, value = line.partition(" ")
            if name == "taskid":
                task = value.strip()
                found.add(Job(number, 0 if task == "undefined" else int(task)))
    return found


def differ(
    one: str, these: Collection[Job], other: str, those: Collection[Job]
) -> list[str]:
    """A line for each way in which the two are not the same."""
    more, less = sorted({*these} - {*those}), sorted({*those} - {*these})
    return [
        *([f"{one} but not {other}: {[*map(str, more)]}"] if more else []),
        *([f"{other} but not {one}: {[*map(str, less)]}"] if less else []),
    ]
