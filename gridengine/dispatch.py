"""`JobDispatcher`: many jobs at once, on one scheduler."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from distributed import Client

from gridengine import ending, reasons
from gridengine.background import place_for, waiting
from gridengine.channel import Channel, new_name
from gridengine.controller import perform
from gridengine.engine import Block, Engine
from gridengine.errors import TimeoutError
from gridengine.job import Job
from gridengine.pace import Pace
from gridengine.run import Stopped, settle
from gridengine.schedulers import best_available
from gridengine.sealed import Sealed
from gridengine.source import Source

#: Seconds that Ctrl-C waits for the rest to be called back.
CANCEL_SECONDS = 1.5


class JobDispatcher:
    """Runs lists of jobs, one list after the other.

    Jobs go to the workers in chunks, as the items of `gridengine.map` do: a thousand
    small ones take little longer than one. Where a worker dies, what it had not
    finished is run again elsewhere; a job that ends its worker each time is found out.

    Parameters
    ----------
    scheduler
        A scheduler, or a class or another callable that makes one. What is made from a
        class is closed with the dispatcher; an instance, and the default, stay warm.

    Raises
    ------
    TypeError
        If `scheduler` is none of these.
    """

    def __init__(self, scheduler: Any = best_available) -> None:
        self.scheduler = place_for(scheduler)
        self._owns_scheduler = isinstance(scheduler, type)
        self._batch: _Batch | None = None  # until it is joined
        self._closed = False
        #: When the last `dispatch` was.
        self.start_time: datetime | None = None
        self._end_time: datetime | None = None

    def dispatch(self, jobs: Iterable[Job]) -> None:
        """Start jobs; returns at once. Each gets its place in the list as its ``id``.

        A job that has ended may be dispatched again. Where the script ends before they
        are joined, Python's end waits for them, and tells what failed. Python 3.12.0
        and 3.12.1 cannot start a worker any more by then: join there.

        Raises
        ------
        RuntimeError
            If the last ones were not joined, a job is under way, or this is closed.
        TypeError
            If one of them is no job, or has nothing to run.
        ValueError
            If a job is in there twice, or was closed.
        """
        if self._closed:
            raise RuntimeError("this dispatcher is closed; make a new one")
        if self._batch is not None:
            raise RuntimeError("the jobs dispatched before are not joined; join() them")
        jobs = list(jobs)
        _check(jobs)
        self.start_time, self._end_time = datetime.now(), None
        self._batch = _Batch(self.scheduler, jobs)
        ending.tell_of(self._batch)

    def join(self, timeout: float | None = None) -> list[Any]:
        """Wait for all jobs.

        Ctrl-C calls back what is left and passes on within 2 s.

        Returns
        -------
        list
            In the order of the jobs: the result of each, or the exception that it has
            raised.

        Raises
        ------
        TimeoutError
            `gridengine.TimeoutError`, if it takes longer than `timeout` seconds. The
            jobs go on; join again.
        RuntimeError
            If nothing was dispatched since the last join.
        NotPicklable
            If a job cannot be sent. Those that were not run have it as their exception.
        NodesFailed
            If no worker can be had any more; likewise.
        """
        batch = self._batch
        if batch is None:
            raise RuntimeError("no jobs were dispatched since the last join()")
        try:
            with waiting():
                in_time = batch.over.wait(timeout)
        except BaseException:  # KeyboardInterrupt
            batch.cancel("its dispatcher was interrupted")
            batch.over.wait(CANCEL_SECONDS)
            self._forget_batch()
            raise
        if not in_time:
            late = (
                f"{batch.left} of {len(batch.jobs)} jobs have not ended in {timeout} s"
            )
            raise reasons.noted(TimeoutError(late), self.scheduler)
        self._forget_batch()
        if batch.error is not None:
            raise batch.error
        return batch.results

    @property
    def address(self) -> str:
        """Where workers find the scheduler of Dask; starts a cluster if need be."""
        if hasattr(self.scheduler, "address"):
            return str(self.scheduler.address)
        with self.scheduler.session(0) as client:
            return str(client.scheduler.address)

    @property
    def finished(self) -> bool:
        """Whether no job is under way. Those that ended may have to be joined yet."""
        return self._batch is None or self._batch.over.is_set()

    @property
    def end_time(self) -> datetime | None:
        """When the last of them ended; None while they run."""
        return self._end_time if self._batch is None else self._batch.end_time

    @property
    def elapsed_time(self) -> timedelta | None:
        """From the start to the end; while they run, until now."""
        if self.start_time is None:
            return None
        return (self.end_time or datetime.now()) - self.start_time

    def close(self) -> None:
        """Call back what is under way, and end the scheduler if it was made here.

        Idempotent.
        """
        self._closed = True
        if self._batch is not None:
            self._batch.cancel("its dispatcher was closed")
            self._batch.over.wait()
            self._forget_batch()
        if self._owns_scheduler:
            self.scheduler.close()

    def __enter__(self) -> JobDispatcher:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _forget_batch(self) -> None:
        assert self._batch is not None
        ending.joined(self._batch)
        self._end_time = self._batch.end_time or datetime.now()
        self._batch = None


class _Batch:
    """Jobs dispatched together, and the thread that runs the engine for them."""

    def __init__(self, place: Any, jobs: Sequence[Job]) -> None:
        self.jobs, self.results = jobs, [None] * len(jobs)
        self.left = len(jobs)
        self.error: BaseException | None = None  # why not all of them were run
        self.end_time: datetime | None = None
        self.over = threading.Event()
        self._cancelled: str | None = None
        self._place = place
        self._channel: Channel | None = None
        self._runs = [job._begin(index) for index, job in enumerate(jobs)]
        for run in self._runs:
            run.explain = functools.partial(reasons.explain, place)
        # A daemon: Python's end waits for the jobs themselves (gridengine.ending).
        threading.Thread(
            target=self._work, name=f"{ending.WATCHERS}dispatch", daemon=True
        ).start()

    def cancel(self, why: str) -> None:
        """Call back what is left; returns at once."""
        self._cancelled = why

    def failures(self) -> str:
        """What `join` would have told; "" if all went well."""
        failed = [run for run in self._runs if run.error is not None]
        if not failed:
            return ""
        return (
            f"{len(failed)} of {len(self.jobs)} dispatched jobs have failed, and nobody"
            f" joined them; {failed[0].name}: {failed[0].error!r}"
        )

    def _work(self) -> None:
        try:
            if self.jobs:
                self._run()
        except BaseException as exc:  # noqa: BLE001 - told to whoever joins
            self.error = exc
        finally:
            for run in self._runs:
                run.asked = True  # it is told by join()
                run.end(None, self.error)
            self.end_time = datetime.now()
            self.over.set()

    def _run(self) -> None:
        with (
            self._place.session(len(self.jobs)) as client,
            self._listening(client) as channel,
            contextlib.closing(self._engine(channel).blocks()) as blocks,
        ):
            for block in blocks:
                self._take(block)

    def _engine(self, channel: str | None) -> Engine:
        return Engine(
            self._place,
            Sealed.of(functools.partial(perform, channel), "a job"),
            "Job",
            Source(self.jobs),
            pace=Pace(),
            on_tick=self._check_cancelled,
        )

    def _check_cancelled(self) -> None:
        if self._cancelled is not None:
            raise Stopped(f"the job was ended: {self._cancelled}", -15)

    @contextlib.contextmanager
    def _listening(self, client: Client) -> Iterator[str | None]:
        """The name of a channel, if any job can send something."""
        speaking = [
            run
            for job, run in zip(self.jobs, self._runs, strict=True)
            if job._listens()
        ]
        if not speaking:
            yield None
            return
        name = new_name()
        self._channel = Channel(client, name)
        for run in speaking:
            self._channel.add(run)
        try:
            yield name
        finally:
            self._channel.close()

    def _take(self, block: Block) -> None:
        if self._channel is not None:
            self._channel.flush()
        for offset, value in enumerate(block.values):
            index = block.start + offset
            self._runs[index].asked = True  # it is told by join()
            self.results[index] = settle(
                self.jobs[index], self._runs[index], value, block.failures.get(offset)
            )
        self.left -= len(block.values)


def _check(jobs: Sequence[Job]) -> None:
    seen = set()
    for job in jobs:
        if not isinstance(job, Job):
            raise TypeError(f"{job!r} is no gridengine.Job")
        if id(job) in seen:
            raise ValueError(f"{job!r} is there twice; make a job for each run")
        seen.add(id(job))
        job._check_can_begin()
