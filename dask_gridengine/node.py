"""``python -m dask_gridengine.node CONNECTION_FILE``: hello, workers, exit report.

Grid Engine runs this once per array task. Dask is imported only after the cluster has
answered the hello, so a node that is not needed costs a few hundredths of a second.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType, ModuleType
from typing import TYPE_CHECKING

from dask_gridengine.batch.base import DIRECTORY, SUBMISSION
from dask_gridengine.bootstrap.client import request_allocation, send_exit_report
from dask_gridengine.bootstrap.connection_file import Connection
from dask_gridengine.bootstrap.messages import (
    Allocation,
    ExitReport,
    Hello,
    NotNeeded,
    Rejected,
)
from dask_gridengine.errors import BootstrapError, MessageError
from dask_gridengine.exit_causes import EXIT_STATUS, Cause
from dask_gridengine.launchers.local import semaphores
from dask_gridengine.worker import fork_server, job_resources
from dask_gridengine.worker.prologue import log_tail

if TYPE_CHECKING:
    from dask_gridengine.worker.nanny import WorkerOutcome

TERMINATION_SIGNALS = (signal.SIGTERM, *fork_server.NOTIFY_SIGNALS)
#: The environment variable with the process id of the node, for processes it spawns.
PROCESS_ID = "GRIDENGINE_NODE_PID"
LOG_TAIL = 4096  # bytes of the log that go into the exit report


class TerminationRequested(BaseException):
    """A signal came before there were workers to drain."""


class NodeFailed(Exception):
    """This node cannot become a worker."""

    def __init__(self, cause: Cause, detail: str) -> None:
        super().__init__(cause, detail)
        self.cause, self.detail = cause, detail


class Signals:
    """Note the grid's signals from the first moment of a node to its last.

    They are acted upon when it is safe. An exception raised during an import breaks the
    import, or is lost in some callback, and then the node stays (seen in 2 of 168
    nodes). Only the wait for an answer to the hello, perhaps hours, is interrupted.
    """

    def __init__(self) -> None:
        self.first = ""  # name of the first one
        self._interrupting = False
        self._callback: Callable[[str], object] | None = None
        for number in TERMINATION_SIGNALS:
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.first = self.first or signal.Signals(number).name
        if self._callback is not None:
            self._callback(self.first)
        elif self._interrupting:
            raise TerminationRequested(self.first)

    def check(self) -> None:
        """Raise `TerminationRequested` if a signal has come."""
        if self.first:
            raise TerminationRequested(self.first)

    @contextlib.contextmanager
    def interrupting(self) -> Iterator[None]:
        """Raise `TerminationRequested` in this block as soon as a signal comes."""
        self._interrupting = True
        try:
            self.check()
            yield
        finally:
            self._interrupting = False
        self.check()

    @contextlib.contextmanager
    def calling(self, callback: Callable[[str], object]) -> Iterator[None]:
        """Call `callback` with the name of a signal that has come, or comes here."""
        self._callback = callback
        try:
            if self.first:
                callback(self.first)
            yield
        finally:
            self._callback = None


def buffer_lines() -> None:
    """Write each printed line at once: the log is a file.

    Python would keep 8 KiB of it back, and a process that is killed never writes them.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)


def main(path: str) -> int:
    """Get an allocation from the cluster and run it. Returns the exit status."""
    buffer_lines()  # forked workers inherit it
    os.environ[PROCESS_ID] = str(os.getpid())
    try:
        connection = Connection.read(Path(path))
    except BootstrapError as exc:
        return _exit(Cause.UNREADABLE, exc.message)
    signals = Signals()
    hello = job_resources.hello(connection.batch_system)
    # Otherwise a job that a task submits with `qsub -V` would look like one of ours.
    for name in (SUBMISSION, DIRECTORY):
        os.environ.pop(name, None)
    try:
        with signals.interrupting():
            answer = request_allocation(connection, hello)
    except (BootstrapError, MessageError) as exc:
        return _exit(Cause.UNREACHABLE, exc.message)
    except TerminationRequested as exc:
        return _exit(Cause.DRAINED, f"{exc} before there was anything to do")
    if isinstance(answer, NotNeeded):
        return _exit(Cause.LEFT, answer.reason)
    if isinstance(answer, Rejected):
        return _exit(Cause.REFUSED, answer.reason)
    assert isinstance(answer, Allocation)
    semaphores.remove_stale()
    semaphores.name_after_process()
    return _run_and_report(connection, hello, answer, signals)


def _run_and_report(
    connection: Connection, hello: Hello, allocation: Allocation, signals: Signals
) -> int:
    cause, detail, outcome = Cause.FINISHED, "", None
    try:
        outcome = _run(allocation, signals)
        cause, detail = outcome.cause, outcome.detail
    except TerminationRequested as exc:
        cause, detail = Cause.DRAINED, f"{exc} before there was anything to hand over"
    except NodeFailed as exc:
        cause, detail = exc.cause, exc.detail
    report = ExitReport(
        job=hello.job,
        index=hello.index,
        submission_id=hello.submission_id,
        process_token=hello.process_token,
        host=hello.host,
        cause=cause.value,
        detail=detail[:2000],
        exit_status=outcome.exit_status if outcome else None,
        signal=outcome.signal if outcome else None,
        peak_memory=outcome.peak_memory if outcome else 0,
        memory_limit=allocation.memory_limit,
        stderr=log_tail(LOG_TAIL),
    )
    # To the address that answered the hello; others need not be tried again.
    with contextlib.suppress(Exception):  # the exit status reports the cause, too
        send_exit_report(connection, allocation.bootstrap_address, report)
    return _exit(cause, detail)


def _run(allocation: Allocation, signals: Signals) -> WorkerOutcome:
    allocation = _enter_environment(allocation)
    worker = _import_worker(allocation)
    signals.check()
    forked = allocation.start_method == "fork" and fork_server.start()
    if allocation.nanny:
        fork_server.kill_workers_to_end_them()
    worker.choose_start_method(forked=forked)
    import asyncio  # 40 ms, which a node that is not needed saves

    async def run_workers() -> WorkerOutcome:
        loop = asyncio.get_running_loop()
        signalled: asyncio.Future[str] = loop.create_future()

        def note(name: str) -> None:
            if not signalled.done():
                signalled.set_result(name)

        with signals.calling(lambda name: loop.call_soon_threadsafe(note, name)):
            outcome: WorkerOutcome = await worker.run_workers(allocation, signalled)
        return outcome

    return asyncio.run(run_workers())


def _enter_environment(allocation: Allocation) -> Allocation:
    """Adopt the user's working directory, ``sys.path`` and environment.

    Returns the allocation with the scratch directory's path on this host.
    """
    import tempfile  # not needed for the hello, like all that follows it

    if "TMP" in os.environ:
        # Grid Engine takes TMPDIR, but not TMP, from jobs of root (seen with 8.1.9).
        os.environ.setdefault("TMPDIR", os.environ["TMP"])
    # Tasks find the programs of this Python's environment, as in a shell that has
    # activated it.
    programs = os.path.dirname(sys.executable)
    path = os.environ.get("PATH", os.defpath)
    if programs not in path.split(os.pathsep):
        os.environ["PATH"] = os.pathsep.join([programs, path])
    os.environ.update(allocation.environment)
    if os.path.isdir(allocation.working_directory):
        os.chdir(allocation.working_directory)
        # ``python -m`` put the directory Grid Engine started us in there: the root.
        sys.path[0] = allocation.working_directory
    _extend_path(allocation.import_path)
    scratch = allocation.local_directory or os.environ.get("TMPDIR") or "/tmp"
    scratch = os.path.expanduser(os.path.expandvars(scratch))
    try:
        os.makedirs(scratch, exist_ok=True)
        with tempfile.TemporaryFile(dir=scratch):
            pass
    except OSError as exc:
        raise NodeFailed(Cause.NO_SCRATCH, str(exc)) from exc
    return replace(allocation, local_directory=scratch)


def _extend_path(entries: list[str]) -> None:
    """Append to ``sys.path`` the client's entries that exist on this host.

    After the node's own: the client's must not replace what is installed here.
    """
    for entry in entries:
        archive = entry.endswith((".zip", ".egg", ".whl")) and os.path.isfile(entry)
        if entry not in sys.path and (archive or os.path.isdir(entry)):
            sys.path.append(entry)


def _import_worker(allocation: Allocation) -> ModuleType:
    """Import Dask under the cluster's settings; the slow part of a node's start."""
    gc.disable()  # a collector that runs while everything is new takes 7 % longer
    try:
        from dask_gridengine.worker import fast_import

        # Several workers share numpy, which each would else import for itself.
        alone = allocation.processes == 1
        without = fast_import.import_dask_without_numpy
        numpy = without() if alone else contextlib.nullcontext()
        with fast_import.yaml_in_c(), numpy:
            import dask

            dask.config.update(dask.config.config, allocation.config, priority="new")
            worker = importlib.import_module("dask_gridengine.worker.run")
        if not alone and allocation.start_method == "fork":
            worker.preload()
        return worker
    except Exception as exc:  # a broken package raises anything while it is imported
        import traceback

        traceback.print_exc()
        raise NodeFailed(Cause.NO_IMPORT, f"{type(exc).__name__}: {exc}") from exc
    finally:
        gc.freeze()  # forked workers keep sharing the pages that it does not touch
        gc.enable()


def _exit(cause: Cause, detail: str) -> int:
    """Log the cause and return its exit status; the cluster reads the last line."""
    one_line = " ".join(detail.split()) or cause.value
    sys.stderr.write(f"on {os.uname().nodename}: {one_line}\n")
    return EXIT_STATUS[cause]


if __name__ == "__mp_main__":
    # A spawned worker is starting, or a process that a task of it spawns.
    if os.environ.get(PROCESS_ID) == str(os.getppid()):
        fork_server.leave_signals_to_node()
    buffer_lines()

if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
