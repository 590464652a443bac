"""`Job`: a function that runs on a worker, handled like a thread or a process."""

from __future__ import annotations

import contextlib
import itertools
import signal
import weakref
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from gridengine.controller import JobController, needs_argument, takes_controller
from gridengine.errors import short_repr
from gridengine.run import AtHost, Run, Stopped
from gridengine.sealed import Sealed

__all__ = ["Job", "JobController"]

_numbers = itertools.count(1)


def _new_name() -> str:
    return f"Job-{next(_numbers)}"


def best_available() -> Any:
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
        What to run. Not needed where a subclass has its own ``run(self)`` or
        ``run(self, controller)``; that need not call ``super().__init__()`` either.
    name
        What to call it; ``Job-3`` or so by default.
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
    - it works on copies: of its arguments and of itself, made when it is started (of
      arrays of 64 KiB and more when they are sent: leave those alone until it ends).
      What it changes, prints or returns is seen there only, but for `result`, for what
      its controller sends, and for its own attributes if it is mutable;
    - it has a `result`, and an `exception` that is not printed, but logged if nobody
      has asked for it when the job is forgotten;
    - `daemon` is not inherited, and `ident` says nothing to an operating system.
    """

    mutable: bool = False
    target: Callable[..., Any] | None = None
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = MappingProxyType({})
    #: Its place among those dispatched with it; its `ident` if started by itself.
    id: int | None = None

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
        scheduler: Any = best_available,
    ) -> None:
        if group is not None:
            raise ValueError(f"group={group!r}; it is None, as for a thread")
        if target is None:
            self._check_has_work()
        else:
            _check_target(target)
            self.target = target
        if mutable:
            self.mutable = True
        self.args, self.kwargs = tuple(args), dict(kwargs or {})
        self.name = _new_name() if name is None else name
        self.scheduler = scheduler
        self._host.daemon = bool(daemon)

    # What a subclass may override

    def run(self, controller: JobController | None = None) -> Any:
        """Call the target; what this returns is the job's result.

        Runs on the worker. To be overridden, with or without the `controller`.
        """
        if self.target is None:
            raise TypeError(_nothing_to_run(self))
        kwargs = dict(self.kwargs)
        if takes_controller(self.target, self.args, kwargs):
            kwargs["controller"] = controller
        return self.target(*self.args, **kwargs)

    # As with a thread

    def start(self) -> None:
        """Send the job to a worker; returns when it is on its way.

        The first job on a scheduler starts its cluster, which takes about a second.

        Raises
        ------
        RuntimeError
            If it was started before.
        ValueError
            If it was closed.
        NotPicklable
            If the job or its arguments cannot be sent. Nothing was started then.
        GridEngineError
            If a cluster cannot be started.
        """
        from gridengine.background import launch

        host = self._open_host
        if host.run is not None:
            raise RuntimeError(f"{self.name} was started before; a job runs once")
        self._check_has_work()
        run = self._begin(None)
        try:
            launch(self, run, host.scheduler, listens=self._listens())
        except BaseException as exc:
            run.asked = True  # it is told here
            run.end(None, exc)
            host.run = None
            raise

    def join(self, timeout: float | None = None) -> None:
        """Wait until the job has ended, or for `timeout` seconds.

        Ctrl-C ends the waiting and not the job, as with a thread.

        Raises
        ------
        RuntimeError
            If it was not started.
        """
        self._wait_with(lambda run: run.wait(timeout))

    def is_alive(self) -> bool:
        """Whether it was started and has not ended; it may be waiting for a worker."""
        run = self._open_host.run
        return run is not None and not run.ended

    @property
    def name(self) -> str:
        """What to call it."""
        if "_name" not in self.__dict__:
            self._name = _new_name()
        return self._name

    @name.setter
    def name(self, name: object) -> None:
        self._name = str(name)

    @property
    def daemon(self) -> bool:
        """Whether Python may end before it does; can be set until it is started."""
        return self._open_host.daemon

    @daemon.setter
    def daemon(self, daemon: bool) -> None:
        if self._open_host.run is not None:
            raise RuntimeError(f"{self.name} was started; set daemon before")
        self._host.daemon = bool(daemon)

    @property
    def scheduler(self) -> Any:
        """Where `start` runs it; can be set until then. It is not sent with the job."""
        return self._host.scheduler

    @scheduler.setter
    def scheduler(self, scheduler: Any) -> None:
        self._host.scheduler = scheduler

    @property
    def ident(self) -> int | None:
        """A number that no other job of this process has; None before the start.

        It is above all process ids there can be on Linux, so that a signal that is
        sent to it by mistake reaches nobody.
        """
        run = self._open_host.run
        return None if run is None else run.ident

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
        run = self._open_host.run
        return None if run is None else run.exitcode

    def terminate(self) -> None:
        """End the job, if need be with the worker process it runs in; returns at once.

        That process is started anew. Whatever else it was running ends too, which
        is nothing unless its cluster has ``cores`` above 1. On somebody else's Dask
        cluster, that is in a task of one, a job that runs goes on to its end there,
        though it counts as ended.

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
        """Forget the result and all else; using the job is an error from then on.

        Raises
        ------
        ValueError
            If it is running.
        """
        if self._host.run is not None and not self._host.run.ended:
            raise ValueError(f"{self.name} is running; join or terminate it first")
        self._host.run, self._host.closed = None, True

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
        RuntimeError
            If it was not started.
        BaseException
            Whatever it has raised, from the traceback on the worker.
        """
        return self._wait_with(lambda run: run.result(timeout))

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What `result` would raise for how the job has ended, or None; waits for it.

        Raises
        ------
        TimeoutError
            `gridengine.TimeoutError`, if it has not ended within `timeout` seconds.
        RuntimeError
            If it was not started.
        """
        error: BaseException | None = self._wait_with(
            lambda run: run.exception(timeout)
        )
        return error

    def recv(self, timeout: float | None = None) -> Any:
        """The next thing that the job's controller has sent; waits for it.

        Raises
        ------
        TimeoutError
            `gridengine.TimeoutError`, if nothing came within `timeout` seconds.
        EOFError
            If the job has ended and nothing is left.
        RuntimeError
            If it was not started.
        """
        return self._wait_with(lambda run: run.receive(timeout))

    def poll(self, timeout: float | None = 0) -> bool:
        """Whether `recv` has something, within `timeout` seconds.

        Raises
        ------
        RuntimeError
            If it was not started.
        """
        return bool(self._wait_with(lambda run: run.poll(timeout)))

    def messages(self) -> Iterator[Any]:
        """All that the job's controller sends, until the job ends."""
        while True:
            try:
                message = self.recv()
            except EOFError:
                return
            yield message

    def __str__(self) -> str:
        if self.target is None:
            return repr(self)
        words = [_clipped(value, 5) for value in self.args]
        words += [f"{key}={_clipped(self.kwargs[key], 8)}" for key in self.kwargs]
        return f"{_name_of(self.target)}({', '.join(words)})"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._title}{self._host.state}>"

    # Steps of the above

    @property
    def _title(self) -> str:
        """What messages call it, which is the same from its start to its end."""
        return self.name if self.target is None else f"{self.name} {self}"

    @property
    def _host(self) -> AtHost:
        """What of this job is not sent; made late, for want of super().__init__()."""
        host = self.__dict__.get("_at_host")
        if host is None:
            host = self.__dict__["_at_host"] = AtHost(best_available)
        return host

    @property
    def _open_host(self) -> AtHost:
        if self._host.closed:
            raise ValueError(f"{self.name} is closed")
        return self._host

    def _check_can_begin(self) -> None:
        """As for `start`, but that one which has ended may be dispatched once more."""
        self._check_has_work()
        if self.is_alive():
            raise RuntimeError(f"{self.name} is under way")

    def _check_has_work(self) -> None:
        if self.target is None and type(self).run is Job.run:
            raise TypeError(_nothing_to_run(self))

    def _listens(self) -> bool:
        """Whether the job can send messages."""
        if type(self).run is Job.run and self.target is not None:
            return takes_controller(self.target, self.args, self.kwargs)
        return takes_controller(self.run) or needs_argument(self.run)

    def _begin(self, index: int | None) -> Run:
        """A new run; `index` is the job's place among those dispatched with it."""
        run = Run(self.name, daemon=self.daemon)
        self._host.run, self._ident = run, run.ident
        self.id = run.ident if index is None else index
        return run

    def _stop(self, what: str, code: int) -> None:
        run = self._started()
        if run.ended:
            return
        if run.stop is None:
            raise RuntimeError(
                f"{self.name} runs in one task with others of its dispatcher and cannot"
                f" be ended alone; close() that"
            )
        run.stop(Stopped(f"{self.name} was ended by {what}", code))

    def _started(self) -> Run:
        run = self._open_host.run
        if run is None:
            raise RuntimeError(f"{self.name} was not started")
        return run

    def _wait_with(self, ask: Callable[[Run], Any]) -> Any:
        from gridengine.background import waiting

        run = self._started()
        with waiting():
            return ask(run)


def _check_target(target: Any) -> None:
    global _last_checked
    if not callable(target):
        raise TypeError(f"'{type(target).__name__}' object is not callable: {target!r}")
    if _last_checked() is target:
        return  # a thousand jobs often have one target, which may be slow to pickle
    Sealed.of(target, _name_of(target))
    with contextlib.suppress(TypeError):
        _last_checked = weakref.ref(target)


_last_checked: Callable[[], Any] = lambda: None  # noqa: E731


def _nothing_to_run(job: Job) -> str:
    return f"{type(job).__name__} has neither a target nor a run() of its own"


def _name_of(target: Any) -> str:
    name = getattr(target, "__name__", None)
    return name if isinstance(name, str) else type(target).__name__


def _clipped(value: Any, width: int) -> str:
    text = value if isinstance(value, str) else short_repr(value)
    return text[:width]
