"""A job on its worker: it is run here, and may speak to the host meanwhile.

Workers import this and nothing of clusters, which would cost each 0.2 s.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import BuiltinFunctionType, FunctionType
from typing import Any

from dask.sizeof import sizeof
from distributed import get_worker

from gridengine.errors import NotPicklable, WorkerDied
from gridengine.failure import Failure
from gridengine.sealed import Sealed

#: Attributes of a job that are the host's business and stay as they are there.
HOST_ATTRIBUTES = frozenset({"_at_host", "_ident", "id", "target"})
#: Up to so many bytes of a started job's result are kept beside it until it is fetched.
KEPT_BYTES = 64 * 2**10


class JobController:
    """What a job gets as `controller`: its id, and a way to the host.

    Parameters
    ----------
    jobid
        The job's place among those dispatched with it; its ``ident`` if it was started
        by itself.
    ident
        The number under which its host knows it.
    channel
        Name of the Dask queue to the host; None if nobody listens there.
    """

    def __init__(self, jobid: int, ident: int, channel: str | None) -> None:
        self.jobid, self._ident, self._channel = jobid, ident, channel
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
        """Name and address of the worker this runs on; empty without one."""
        if self._worker is None:
            return ""
        host = self._worker.address.partition("://")[2].rpartition(":")[0]
        return f"{self._worker.name}@{host}"

    def send(self, value: Any) -> None:
        """Send an intermediate result; returns when it is safe from this worker's end.

        It is kept until the host has asked for it. It passes through Dask's scheduler:
        what is big should rather be the job's result. May be called in any thread.

        Raises
        ------
        NotPicklable
            If `value` cannot be sent; it names the part.
        RuntimeError
            If nobody listens: the host has ended or given up the job, or this is a copy
            of a controller in another process.
        """
        if self._worker is None or self._channel is None:
            raise RuntimeError(f"job {self.jobid} has no host to send to")
        record = [self._ident, *_as_bytes(Sealed.of(value, "the message"))]
        putting = self._worker.scheduler.queue_put(name=self._channel, data=record)
        try:
            _run_in_loop(self._worker, putting)
        except KeyError:
            raise RuntimeError(
                f"job {self.jobid} has no host to send to: that has given it up"
            ) from None

    def store(self, jobid: int, data: Any) -> None:
        """`send`, by the old library's name; a job can only speak for itself.

        Raises
        ------
        ValueError
            If `jobid` is another job's.
        """
        if jobid != self.jobid:
            raise ValueError(f"this is job {self.jobid}; it cannot store for {jobid}")
        self.send(data)

    def __reduce__(self) -> tuple[Any, ...]:
        return JobController, (self.jobid, self._ident, None)


def _as_bytes(sealed: Sealed) -> list[bytes]:
    return [bytes(memoryview(frame)) for frame in sealed.frames]


def _run_in_loop(worker: Any, work: Any) -> Any:
    return asyncio.run_coroutine_threadsafe(work, worker.loop.asyncio_loop).result()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What comes back of a job that does not simply return or raise."""

    value: Any = None
    failure: Failure | None = None
    attributes: dict[str, Any] = field(
        default_factory=dict
    )  # of a mutable job, by then


def perform(channel: str | None, job: Any) -> Any:
    """Run a job, on a worker.

    Returns
    -------
    Any
        The job's result; an `Ended` for a mutable job, which does not raise.
    """
    controller = JobController(job.id, job._ident, channel)
    if not job.mutable:
        return _run(job, controller)
    return _run_to_end(job, controller)


def ticket_name(channel: str, ident: int) -> str:
    """Name of the queue with the one permission to run a job."""
    return f"{channel}-{ident}"


def perform_once(channel: str, job: Any) -> Ended:
    """Run a job, but only if it was never begun before.

    Dask runs a task again when the worker that has its result is lost, and, unless told
    otherwise, when one dies on the way. Its queues let one of them through. What that
    one leaves there, if it is small, is found by the others: results are fetched some
    time after they were made, by when another job may have ended their worker.

    Raises
    ------
    WorkerDied
        If it was begun before, and there is no word of its end.
    """
    worker = get_worker()
    name = ticket_name(channel, job._ident)
    found = _run_in_loop(worker, worker.scheduler.queue_get(name=name, batch=True))
    if not found:
        last = "it was begun before; its result, if any, was lost with that worker"
        raise WorkerDied(None, job._title, 1, last)
    if (kept := found[0]["value"]) is not True:
        _put(worker, name, kept)
        before: Ended = Sealed("the result", *kept).open()
        return before
    ended = _run_to_end(job, JobController(job.id, job._ident, channel))
    if sizeof((ended.value, ended.attributes)) <= KEPT_BYTES:
        with contextlib.suppress(NotPicklable):  # will be told of the result itself
            _put(worker, name, _as_bytes(Sealed.of(ended, "the result")))
    return ended


def _put(worker: Any, name: str, kept: list[bytes]) -> None:
    putting = worker.scheduler.queue_put(name=name, data=kept)
    with contextlib.suppress(KeyError, OSError):  # the host has given it up
        _run_in_loop(worker, putting)


def _run_to_end(job: Any, controller: JobController) -> Ended:
    value, failure = None, None
    try:
        value = _run(job, controller)
    except BaseException as exc:  # noqa: BLE001 - it travels beside the attributes
        place = 0 if job.id == job._ident else job.id
        failure = Failure.of(exc, place, job, controller.worker)
    attributes = vars(job).items() if job.mutable else ()
    kept = {key: value for key, value in attributes if key not in HOST_ATTRIBUTES}
    return Ended(value=value, failure=failure, attributes=kept)


def _run(job: Any, controller: JobController) -> Any:
    run = job.run
    try:
        if takes_controller(run):
            return run(controller=controller)
        return run(controller) if needs_argument(run) else run()
    except SystemExit as exc:
        if exit_code(exc):
            raise
        return None  # sys.exit() is a way to end well


def exit_code(error: BaseException | None) -> int:
    """What a process would exit with: 0, n for SystemExit(n), 1 for all else."""
    if error is None:
        return 0
    if not isinstance(error, SystemExit):
        return 1
    code = error.code
    if code is None:
        return 0
    return code & 0xFF if isinstance(code, int) else 1


def takes_controller(
    function: Callable[..., Any],
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
) -> bool:
    """Whether a function has a parameter `controller` which these arguments leave free.

    ``**kwargs`` does not count: such functions hand on what they are given, often to
    one that takes no controller.
    """
    if isinstance(function, BuiltinFunctionType):
        return False
    if isinstance(function, FunctionType) and not hasattr(function, "__wrapped__"):
        # Five times faster than a signature, where there are jobs by the thousand.
        code = function.__code__
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        if "controller" not in names:
            return False
    try:
        signature = inspect.signature(function)
        given = signature.bind_partial(*args, **(kwargs or {})).arguments
    except (TypeError, ValueError):
        return False  # no signature, or arguments that it will refuse when called
    parameter = signature.parameters.get("controller")
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return (
        parameter is not None
        and parameter.kind in by_name
        and "controller" not in given
    )


def needs_argument(run: Callable[..., Any]) -> bool:
    """Whether a `run` has to be given one: a controller under another name."""
    try:
        inspect.signature(run).bind()
    except TypeError:
        return True
    except ValueError:
        return False
    return False
