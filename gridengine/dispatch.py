"""`JobDispatcher`: many jobs at once, on one scheduler."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from distributed import Client, Queue

from dask_gridengine.scheduler.exception_notes import annotate
from gridengine._chunk import Serialized
from gridengine._mapping import KILL_SECONDS, ItemSource, Mapping
from gridengine.errors import TimeoutError
from gridengine.job import Job, MutableResult, Run, Stopped, run_job
from gridengine.schedulers import best_available, get_scheduler, thread_for_others

logger = logging.getLogger(__name__)

#: Seconds for which Ctrl-C waits until the rest is cancelled.
CANCEL_SECONDS = 1.5


class JobDispatcher:
    """Runs lists of jobs, one list after the other.

    Jobs are sent to the workers in chunks, as the items of `gridengine.map` are: a
    thousand small ones take little longer than one. If a worker dies, its unfinished
    jobs are run again elsewhere; a job that ends its worker each time is found out.

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
        self.scheduler = get_scheduler(scheduler)
        self._owns_scheduler = isinstance(scheduler, type)
        self._batch: Batch | None = None  # until it is joined
        self._closed = False
        #: When the last `dispatch` was.
        self.start_time: datetime | None = None
        self._end_time: datetime | None = None

    def dispatch(self, jobs: Iterable[Job]) -> None:
        """Start jobs; returns at once. Each gets its place in the list as its ``id``.

        A job that has ended may be dispatched again. If the script ends before they are
        joined, Python waits for them at its end, and logs what failed.

        Raises
        ------
        RuntimeError
            If the last ones were not joined, a job is running, or this is closed.
        TypeError
            If one of them is not a job, or has nothing to run.
        ValueError
            If a job is listed twice, or was closed.
        """
        if self._closed:
            raise RuntimeError("this dispatcher is closed; make a new one")
        if self._batch is not None:
            raise RuntimeError("the jobs dispatched before are not joined; join() them")
        jobs = list(jobs)
        for job in jobs:
            if not isinstance(job, Job):
                raise TypeError(f"{job!r} is not a gridengine.Job")
            job._check_has_work()
            if job.is_alive():
                raise RuntimeError(f"{job.name} is running")
        if len({id(job) for job in jobs}) < len(jobs):
            raise ValueError("a job is listed twice; make a job for each run")
        self.start_time, self._end_time = datetime.now(), None
        self._batch = Batch(self.scheduler, jobs)

    def join(self, timeout: float | None = None) -> list[Any]:
        """Wait for all jobs.

        Ctrl-C cancels what is left and passes on within 2 s.

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
            If all workers are lost, and none will come; likewise.
        """
        batch = self._batch
        if batch is None:
            raise RuntimeError("no jobs were dispatched since the last join()")
        try:
            with thread_for_others():
                in_time = batch.ended.wait(timeout)
        except BaseException:  # KeyboardInterrupt
            batch.cancel(_stopped("its dispatcher was interrupted"))
            batch.ended.wait(CANCEL_SECONDS)
            self._forget_batch()
            raise
        if not in_time:
            left = sum(run.exitcode is None for run in batch.runs)
            raise batch.late(
                f"{left} of {len(batch.runs)} jobs have not ended in {timeout} s"
            )
        self._forget_batch()
        if batch.error is not None:
            raise batch.error
        return [run.value if run.error is None else run.error for run in batch.runs]

    @property
    def address(self) -> str:
        """Address of Dask's scheduler for workers; starts a cluster if need be."""
        return str(self.scheduler.address)

    @property
    def finished(self) -> bool:
        """Whether no job is running. Those that ended may have to be joined yet."""
        return self._batch is None or self._batch.ended.is_set()

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
        """Cancel what is running, and end the scheduler if it was made here."""
        self._closed = True
        if self._batch is not None:
            self._batch.cancel(_stopped("its dispatcher was closed"))
            self._batch.ended.wait()
            self._forget_batch()
        if self._owns_scheduler:
            self.scheduler.close()

    def __enter__(self) -> JobDispatcher:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _forget_batch(self) -> None:
        assert self._batch is not None
        self._batch.was_joined = True
        self._end_time = self._batch.end_time or datetime.now()
        self._batch = None


def start(job: Job) -> None:
    """Start a single job; returns when it has been sent."""
    Serialized.of([job], str(job))
    scheduler = get_scheduler(job.scheduler)
    batch = Batch(
        scheduler, [job], once=True, close_scheduler=isinstance(job.scheduler, type)
    )
    batch.sent.wait()
    if batch.error is not None and not batch.was_sent:
        job._host_run = None
        raise batch.error


class Batch:
    """Jobs that run together, and the thread that maps `run_job` over them.

    `once` is for a single job that was started: it is not run again if its worker dies.
    """

    waiting = staticmethod(thread_for_others)

    def __init__(
        self,
        scheduler: Any,
        jobs: Sequence[Job],
        *,
        once: bool = False,
        close_scheduler: bool = False,
    ) -> None:
        self.once = once
        self.sent = threading.Event()  # to the workers; or it ended before that
        self.ended = threading.Event()
        self.end_time: datetime | None = None
        self.error: BaseException | None = None  # why not all of them were run
        self.was_joined = once
        self._scheduler, self._jobs = scheduler, list(jobs)
        self._close_scheduler = close_scheduler
        self._stopped: Stopped | None = None
        self._queue: Queue | None = None
        self._receiving = threading.Lock()
        self.runs = [
            Run(job, self, None if once else index) for index, job in enumerate(jobs)
        ]
        self._by_ident = {run.ident: run for run in self.runs}
        if not all(job.daemon for job in jobs):
            _awaited.add(self)
        # A daemon, since `_wait_for_jobs` waits for the jobs when Python ends.
        threading.Thread(target=self._work, name="gridengine-jobs", daemon=True).start()

    @property
    def was_sent(self) -> bool:
        """Whether any job was sent to a worker."""
        return self._queue is not None

    def cancel(self, reason: Stopped) -> None:
        """Cancel what has not ended; returns at once."""
        self._stopped = reason

    def receive(self) -> None:
        """Take what the jobs have sent."""
        with self._receiving, contextlib.suppress(Exception):  # the cluster was closed
            records = self._queue.get(batch=True) if self._queue is not None else ()
            for ident, *frames in records:
                run = self._by_ident[ident]
                if not frames:
                    run.begun = True
                    continue
                # Arrays in bytes could not be written to.
                pickled, *buffers = frames
                message = Serialized("a message", pickled, *map(bytearray, buffers))
                run.inbox.append(message)

    def late(self, evidence: str) -> TimeoutError:
        """An error with a note on what the nodes are doing."""
        error = TimeoutError(evidence)
        with contextlib.suppress(Exception):  # the cluster may be another's, or closed
            annotate(error, self._scheduler.cluster.explain())
        return error

    def failures(self) -> str:
        """Describe failures that `join` would have returned."""
        failed = [run for run in self.runs if run.error is not None]
        if not failed or self.was_joined:
            return ""
        return (
            f"{len(failed)} of {len(self.runs)} dispatched jobs failed, and were not"
            f" joined; {failed[0].name}: {failed[0].error!r}"
        )

    def _work(self) -> None:
        try:
            if self._jobs:
                self._map()
        except BaseException as exc:  # noqa: BLE001 - raised where the jobs are joined
            self.error = exc
        if self._close_scheduler:
            with contextlib.suppress(Exception):  # the jobs have ended all the same
                self._scheduler.close()
        for run in self.runs:
            # `join` returns the errors of dispatched jobs, `start` raises its own.
            run.was_asked |= not self.once or not self.was_sent
            run.end(None, self.error)
        self.end_time = datetime.now()
        # A job that is forgotten can be freed, though this is not.
        self._jobs.clear()
        self._by_ident.clear()
        self._scheduler = None
        if self.once:
            self.runs.clear()
        _awaited.discard(self)
        self.sent.set()
        self.ended.set()

    def _map(self) -> None:
        name = f"gridengine-{uuid.uuid4().hex}"
        mapping = Mapping(
            self._scheduler,
            functools.partial(run_job, name, self.once),
            "Job",
            ItemSource(self._jobs),
            chunksize=1 if self.once else None,
            session=functools.partial(self._session, name),
            on_sent=self.sent.set,
            on_tick=self._check_stopped,
            run=self.runs[0] if self.once else None,
            kill_after=0.0 if self.once else KILL_SECONDS,
        )
        with contextlib.closing(mapping.blocks()) as blocks:
            for block in blocks:
                for offset, value in enumerate(block.values):
                    error = block.failures.get(offset)
                    self._settle(block.start + offset, value, error)

    @contextlib.contextmanager
    def _session(self, name: str) -> Iterator[Client]:
        """A client with the queue for messages, and nodes for the jobs."""
        session = self._scheduler.session(len(self._jobs), begin_small=not self.once)
        with session as client, contextlib.closing(Queue(name, client)) as self._queue:
            try:
                yield client
            finally:
                self.receive()

    def _settle(self, index: int, value: Any, error: BaseException | None) -> None:
        """End the run of one job."""
        if isinstance(value, MutableResult):
            vars(self._jobs[index]).update(value.attributes)
            if value.failure is not None:
                error = value.failure.rebuild(None if self.once else index)
            value = value.value
        self.runs[index].end(value, error)

    def _check_stopped(self) -> None:
        if self._stopped is not None:
            raise self._stopped


def _stopped(why: str) -> Stopped:
    return Stopped(f"the job was ended: {why}", -signal.SIGTERM)


#: Batches that Python's end waits for.
_awaited: set[Batch] = set()


def _wait_for_jobs() -> None:
    for batch in list(_awaited):
        batch.ended.wait()
        if failures := batch.failures():
            logger.error("%s", failures)


# Not by atexit: before that, concurrent.futures ends the threads in which connections
# are made, so no worker could come any more. A fork has none of the jobs' threads.
getattr(threading, "_register_atexit")(_wait_for_jobs)  # noqa: B009 - not in typeshed
os.register_at_fork(after_in_child=_awaited.clear)
