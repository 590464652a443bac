"""`Job`: a function that runs on a worker, used like a thread or a process."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import logging
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from distributed import get_worker

from gridengine._chunk import Failure, Serialized, worker_name
from gridengine.errors import WorkerDied, short_repr

if TYPE_CHECKING:
    from gridengine.dispatch import Batch

__all__ = ["Job", "JobController"]

logger = logging.getLogger(__name__)

_numbers = itertools.count(1)
#: Identities begin above every process id of Linux, so that ``os.kill(job.pid)``, which
#: is right for a `multiprocessing.Process`, ends no other process.
_idents = itertools.count(2**22 + 1)
#: Attributes that stay on the host, and are not sent with a job.
HOST_ATTRIBUTES = {"_host_run", "_host_closed", "_host_daemon", "scheduler"}
#: Seconds between two looks for messages, while a caller waits for one.
POLL_SECONDS = 0.02


def _best_available() -> Any:
    """`gridengine.schedulers.best_available`, which a worker need not import."""
    from gridengine import schedulers

    return schedulers.best_available()


class Job:
    """A function to be run on a worker, with the API of a thread or process.

    Parameters
    ----------
    mutable
        Whether the attributes of this object become those of the worker's copy when it
        has run, also when it has failed.
    target
        What to run. Not needed if a subclass has its own ``run(self)`` or
        ``run(self, controller)``; that need not call ``super().__init__()`` either.
    name
        The job's name; ``Job-3`` or so by default.
    args, kwargs
        What to call the target with. If it has a parameter `controller` that these
        leave free, it gets a `JobController` there.
    group
        None; there for the sake of `threading.Thread`.
    daemon
        Whether Python may end before it does; False by default. A job that is left
        alone is ended with its cluster.
    scheduler
        Where `start` runs it: a scheduler, or a class or another callable that makes
        one. What is made from a class is for this job alone, and closed with it.

    Raises
    ------
    TypeError
        If there is nothing to run, or the target is not callable.
    NotPicklable
        If the target cannot be sent to a worker; it names the part. It is a TypeError.

    Notes
    -----
    Unlike a thread or process

    - it may have to wait for a worker; `is_alive` is true meanwhile. More jobs than
      workers run one after the other, so jobs must not wait for each other;
    - it works on copies of its arguments and of itself, made when it is started (of
      arrays of 64 KiB and more when they are sent: do not change those until it ends).
      Changes to these copies are seen on the worker only, but for `result`, for what
      its controller sends, and for its own attributes if it is mutable;
    - it has a `result`, and an `exception` that is not printed, but logged if it was
      never asked for;
    - `daemon` is not inherited, and `ident` means nothing to an operating system.
    """

    mutable: bool = False
    target: Callable[..., Any] | None = None
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = MappingProxyType({})
    #: Its place among those dispatched with it; its `ident` if started alone.
    id: int | None = None
    #: Where `start` runs it; not sent with the job.
    scheduler: Any = staticmethod(_best_available)

    _name: str | None = None
    _ident: int | None = None
    _host_run: Run | None = None
    _host_closed = _host_daemon = False

    def __init__(
        self,
        mutable: bool = False,
        target: Callable[..., Any] | None = None,
        name: str | None = None,
        args: Any = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        group: None = None,
        daemon: bool | None = None,
        scheduler: Any = _best_available,
    ) -> None:
        if group is not None:
            raise ValueError(f"group={group!r}: expected None, as for a thread")
        if target is not None:
            if not callable(target):
                kind = type(target).__name__
                raise TypeError(f"'{kind}' object is not callable: {target!r}")
            Serialized.of(target, _name_of(target))
            self.target = target
        self._check_has_work()
        if mutable:
            self.mutable = True
        self.args, self.kwargs = tuple(args), dict(kwargs or {})
        self._name = f"Job-{next(_numbers)}" if name is None else str(name)
        self._host_daemon = bool(daemon)
        self.scheduler = scheduler

    def run(self, controller: JobController | None = None) -> Any:
        """Call the target; what this returns is the job's result.

        Runs on the worker. To be overridden, with or without the `controller`.
        """
        if self.target is None:
            raise TypeError(_nothing_to_run(self))
        kwargs = dict(self.kwargs)
        if _takes_controller(self.target, self.args, kwargs):
            kwargs["controller"] = controller
        return self.target(*self.args, **kwargs)

    # As with a thread

    def start(self) -> None:
        """Send the job to a worker; returns when it has been sent.

        Raises
        ------
        RuntimeError
            If it was started before.
        NotPicklable
            If the job or its arguments cannot be sent. Nothing was started then.
        GridEngineError
            If a cluster cannot be started.
        """
        from gridengine.dispatch import start

        if self._opened is not None:
            raise RuntimeError(f"{self.name} was started before; a job runs once")
        self._check_has_work()
        start(self)

    def join(self, timeout: float | None = None) -> None:
        """Wait until the job has ended, or for `timeout` seconds.

        Ctrl-C ends the waiting and not the job, as with a thread.
        """
        self._started.wait(timeout)

    def is_alive(self) -> bool:
        """Whether it was started and has not ended; it may be waiting for a worker."""
        run = self._opened
        return run is not None and run.exitcode is None

    @property
    def name(self) -> str:
        """The job's name."""
        if self._name is None:
            self._name = f"Job-{next(_numbers)}"
        return self._name

    @name.setter
    def name(self, name: object) -> None:
        self._name = str(name)

    @property
    def daemon(self) -> bool:
        """Whether Python may end before it does; can be set until it is started."""
        if self._host_closed:
            raise ValueError(f"{self.name} is closed")
        return self._host_daemon

    @daemon.setter
    def daemon(self, daemon: bool) -> None:
        if self._opened is not None:
            raise RuntimeError(f"{self.name} was started; set daemon before")
        self._host_daemon = bool(daemon)

    @property
    def ident(self) -> int | None:
        """A number that no other job, and no process, has; None before the start."""
        return None if self._opened is None else self._ident

    # As with a process

    @property
    def pid(self) -> int | None:
        """The same as `ident`, and not that of a process."""
        return self.ident

    @property
    def exitcode(self) -> int | None:
        """None until it has ended.

        Then 0, or 1 after an exception, n after ``sys.exit(n)``, -15 after `terminate`,
        -9 after `kill` and when its worker process has died.
        """
        run = self._opened
        return None if run is None else run.exitcode

    def terminate(self) -> None:
        """End the job, if need be with the worker process it runs in; returns at once.

        That process is replaced; with ``cores`` above 1 other tasks of it end, too. In
        a task, or on another's Dask cluster, a job that runs goes on to its end, though
        it counts as ended.

        Raises
        ------
        RuntimeError
            If it was not started, or was dispatched: `JobDispatcher.close` ends those.
        """
        self._stop("terminate()", -signal.SIGTERM)

    def kill(self) -> None:
        """As `terminate`, which is no gentler, but for the `exitcode`."""
        self._stop("kill()", -signal.SIGKILL)

    def close(self) -> None:
        """Forget the result and all else; a ValueError if the job is running."""
        if self._host_run is not None and self._host_run.exitcode is None:
            raise ValueError(f"{self.name} is running; join or terminate it first")
        self._host_run, self._host_closed = None, True

    # What neither has

    def result(self, timeout: float | None = None) -> Any:
        """What the job has returned; waits for it.

        Raises
        ------
        TimeoutError
            `gridengine.TimeoutError`, if it has not ended within `timeout` seconds.
        WorkerDied
            If its worker process has died. The job is not run again.
        concurrent.futures.CancelledError
            If it was ended by `terminate` or `kill`.
        BaseException
            Whatever it has raised, with the worker's traceback as its cause.
        """
        error = self.exception(timeout)
        if error is not None:
            raise error
        return self._started.value

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What `result` would raise for how the job has ended, or None; waits for it.

        Raises
        ------
        TimeoutError
            `gridengine.TimeoutError`, if it has not ended within `timeout` seconds.
        """
        run = self._started
        if not run.wait(timeout):
            raise run.batch.late(f"{self.name} has not ended within {timeout} s")
        run.was_asked = True
        return run.error

    def recv(self, timeout: float | None = None) -> Any:
        """The next message that the job's controller has sent; waits for it.

        Raises
        ------
        TimeoutError
            `gridengine.TimeoutError`, if nothing came within `timeout` seconds.
        EOFError
            If the job has ended and nothing is left.
        """
        run = self._started
        if run.poll(timeout):
            return run.inbox.popleft().load()
        if run.exitcode is None:
            raise run.batch.late(f"{self.name} sent nothing for {timeout} s")
        raise EOFError(f"{self.name} has ended, and all it sent was received")

    def poll(self, timeout: float | None = 0) -> bool:
        """Whether `recv` has something, within `timeout` seconds."""
        return self._started.poll(timeout)

    def messages(self) -> Iterator[Any]:
        """All that the job's controller sends, until the job ends."""
        while self.poll(None):
            yield self.recv()

    def __str__(self) -> str:
        if self.target is None:
            return repr(self)
        words = [_clipped(value, 5) for value in self.args]
        words += [f"{key}={_clipped(self.kwargs[key], 8)}" for key in self.kwargs]
        return f"{_name_of(self.target)}({', '.join(words)})"

    def __repr__(self) -> str:
        state = ", closed" if self._host_closed else ""
        if (run := self._host_run) is not None:
            ended = run.exitcode is not None
            state = f", ended with {run.exitcode}" if ended else ", started"
        return f"<{type(self).__name__} {self._title}{state}>"

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if k not in HOST_ATTRIBUTES}

    @property
    def _title(self) -> str:
        """What messages call it, from its start to its end."""
        return self.name if self.target is None else f"{self.name} {self}"

    @property
    def _opened(self) -> Run | None:
        if self._host_closed:
            raise ValueError(f"{self.name} is closed")
        return self._host_run

    @property
    def _started(self) -> Run:
        if (run := self._opened) is None:
            raise RuntimeError(f"{self.name} was not started")
        return run

    def _check_has_work(self) -> None:
        if self.target is None and type(self).run is Job.run:
            raise TypeError(_nothing_to_run(self))

    def _stop(self, what: str, code: int) -> None:
        run = self._started
        if run.exitcode is not None:
            return
        if not run.batch.once:
            raise RuntimeError(
                f"{self.name} runs in one task with others of its dispatcher and cannot"
                f" be ended alone; close() that"
            )
        run.batch.cancel(Stopped(f"{self.name} was ended by {what}", code))


class Stopped(CancelledError):
    """A job was ended by `terminate` or `kill`, or with its dispatcher."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message, code)
        self.code = code

    def __str__(self) -> str:
        return str(self.args[0])


class Run:
    """One run of a job, on the host: how it ends, and what it sends.

    `index` is its place in the batch; None if it was started by itself.
    """

    def __init__(self, job: Job, batch: Batch, index: int | None) -> None:
        self.name, self.title, self.batch = job.name, job._title, batch
        self.value: Any = None
        self.error: BaseException | None = None
        self.exitcode: int | None = None
        self.begun = False
        self.was_asked = False  # whether its end is known to the caller
        self.inbox: deque[Serialized] = deque()
        self._ended = threading.Event()
        self.ident = job._ident = next(_idents)
        job._host_run = self
        job.id = self.ident if index is None else index

    def end(self, value: Any, error: BaseException | None) -> None:
        """The job has ended. The first end counts."""
        if self.exitcode is None:
            self.value, self.error = value, error
            self.exitcode = _exit_code(error)
            self._ended.set()

    def wait(self, timeout: float | None) -> bool:
        """Wait for the end; whether it came within `timeout` seconds."""
        with self.batch.waiting():
            return self._ended.wait(timeout)

    def poll(self, timeout: float | None) -> bool:
        """Wait for a message; whether there is one within `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self.batch.waiting():
            while True:
                ended = self.exitcode is not None  # then no other is sent
                if not self.inbox:
                    self.batch.receive()
                late = deadline is not None and time.monotonic() >= deadline
                if self.inbox or ended or late:
                    return bool(self.inbox)
                self._ended.wait(POLL_SECONDS)

    def has_begun(self) -> bool:
        """Whether it has begun on a worker."""
        self.batch.receive()
        return self.begun

    def __del__(self) -> None:
        failed = getattr(self, "exitcode", None) == 1 and not self.was_asked
        # When Python ends only daemons are left, which fail with their cluster.
        if failed and threading.main_thread().is_alive():
            logger.error(
                "%s has failed, and its result was never asked for",
                self.name,
                exc_info=self.error,
            )


# On the worker


class JobController:
    """What a job gets as `controller`: its id, and a way to the host.

    `jobid` is the job's `id`; `queue` is the name of a Dask queue to the host.
    """

    def __init__(self, jobid: int, ident: int, queue: str = "") -> None:
        self.jobid, self._ident, self._queue = jobid, ident, queue
        self._worker: Any = None
        with contextlib.suppress(ValueError):  # run directly, without a worker
            self._worker = get_worker()

    @property
    def id(self) -> int:
        """The same as `jobid`."""
        return self.jobid

    @property
    def host_name(self) -> str:
        """Name of the host this runs on."""
        return socket.gethostname()

    @property
    def worker(self) -> str:
        """Name and host of the worker this runs on; empty without one."""
        return worker_name()

    def send(self, value: Any) -> None:
        """Send an intermediate result; returns when Dask's scheduler has it.

        Large values should rather be the job's result. Safe in any thread.

        Raises
        ------
        NotPicklable
            If `value` cannot be sent; it names the part.
        RuntimeError
            If the host does not listen: it has ended or given up the job, or this is a
            copy of a controller in another process.
        """
        self._put(Serialized.of(value, "the message").frames)

    def store(self, jobid: int, data: Any) -> None:
        """`send`, by the old library's name; a ValueError for another job's id."""
        if jobid != self.jobid:
            raise ValueError(f"this is job {self.jobid}; it cannot store for {jobid}")
        self.send(data)

    def _put(self, frames: Iterable[Any] = ()) -> None:
        """Put a message into the queue; an empty one says that the job has begun."""
        worker = self._worker
        if worker is None or not self._queue:
            raise RuntimeError(f"job {self.jobid} has no host to send to")
        record = [self._ident, *(bytes(memoryview(frame)) for frame in frames)]
        putting = worker.scheduler.queue_put(name=self._queue, data=record)
        loop = worker.loop.asyncio_loop
        try:
            asyncio.run_coroutine_threadsafe(putting, loop).result()
        except KeyError:
            raise RuntimeError(
                f"job {self.jobid} has no host to send to: the host has given it up"
            ) from None

    def __reduce__(self) -> tuple[Any, ...]:
        return JobController, (self.jobid, self._ident)


@dataclass(frozen=True, slots=True)
class MutableResult:
    """What comes back of a mutable job: also what it has raised, and its attributes."""

    value: Any
    failure: Failure | None
    attributes: dict[str, Any]


def run_job(queue: str, once: bool, job: Job) -> Any:
    """Run a job on a worker; `once` tells the host when it begins."""
    assert job.id is not None
    assert job._ident is not None
    controller = JobController(job.id, job._ident, queue)
    if once:
        controller._put()
    if not job.mutable:
        return _call_run(job, controller)
    value, failure = None, None
    try:
        value = _call_run(job, controller)
    except BaseException as exc:  # noqa: BLE001 - it travels beside the attributes
        failure = Failure.of(exc, 0, job)
    attributes = {k: v for k, v in job.__getstate__().items() if k not in _KEPT}
    return MutableResult(value, failure, attributes)


#: Attributes of a mutable job that the host keeps as they are there.
_KEPT = {"_ident", "id", "target"}


def _call_run(job: Job, controller: JobController) -> Any:
    run = job.run
    try:
        if type(job).run is Job.run or _takes_controller(run):
            return run(controller=controller)
        return run(controller) if _needs_argument(run) else run()
    except SystemExit as exc:
        if _exit_code(exc):
            raise
        return None  # sys.exit() is a way to end well


def _exit_code(error: BaseException | None) -> int:
    """What a process would exit with."""
    if error is None:
        return 0
    if isinstance(error, Stopped):
        return error.code
    if isinstance(error, WorkerDied):
        return -signal.SIGKILL
    if not isinstance(error, SystemExit):
        return 1
    if error.code is None:
        return 0
    return error.code & 0xFF if isinstance(error.code, int) else 1


def _takes_controller(
    function: Callable[..., Any],
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
) -> bool:
    """Whether a function has a parameter `controller` which these arguments leave free.

    ``**kwargs`` does not count: such functions often pass it on to one that takes none.
    """
    try:
        bound = inspect.signature(function).bind_partial(*args, **(kwargs or {}))
    except (TypeError, ValueError):
        return False  # no signature, or arguments that it will refuse when called
    parameter = bound.signature.parameters.get("controller")
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    is_free = "controller" not in bound.arguments
    return parameter is not None and parameter.kind in by_name and is_free


def _needs_argument(run: Callable[..., Any]) -> bool:
    """Whether a `run` takes a controller by another name."""
    try:
        inspect.signature(run).bind()
    except TypeError:
        return True
    except ValueError:
        return False
    return False


def _nothing_to_run(job: Job) -> str:
    return f"{type(job).__name__} has neither a target nor a run() of its own"


def _name_of(target: Any) -> str:
    name = getattr(target, "__name__", None)
    return name if isinstance(name, str) else type(target).__name__


def _clipped(value: Any, width: int) -> str:
    return (value if isinstance(value, str) else short_repr(value))[:width]
