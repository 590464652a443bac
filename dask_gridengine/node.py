"""``python -m dask_gridengine.node CONNECTION_FILE``: hello, worker, farewell.

Grid Engine runs this once per array task. Dask is imported only after the door has
said what this node is, so a node nobody needs costs a few hundredths of a second.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import os
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType, ModuleType
from typing import TYPE_CHECKING

from dask_gridengine.batch import dialect
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
from dask_gridengine.worker import fork_server as template
from dask_gridengine.worker import job_resources as granted

if TYPE_CHECKING:
    from dask_gridengine.worker.nanny import WorkerOutcome

TERMINATION_SIGNALS = (signal.SIGTERM, *template.NOTIFY_SIGNALS)
STDERR_GRACE = 4096  # bytes of the log that go into the farewell


class TerminationRequested(BaseException):
    """A signal came while there was nothing to hand over yet."""


class Signals:
    """What the grid's signals ask of this node, from its first moment to its last.

    They are noted, and looked at when it is safe. An exception raised in the midst of
    an import breaks it, or is lost in some callback, and then the node stays (seen, in
    2 of 168 nodes). Only the talk at the door is interrupted: it may last for hours.
    """

    def __init__(self) -> None:
        self.asked = ""  # the first one's name
        self._interrupting = False
        self._tell: Callable[[str], object] | None = None
        for number in TERMINATION_SIGNALS:
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked = self.asked or signal.Signals(number).name
        if self._tell is not None:
            self._tell(self.asked)
        elif self._interrupting:
            raise TerminationRequested(self.asked)

    def check(self) -> None:
        """Raise AskedToGo if one has come."""
        if self.asked:
            raise TerminationRequested(self.asked)

    @contextlib.contextmanager
    def interrupting(self) -> Iterator[None]:
        """Raise AskedToGo in this block, at once."""
        self._interrupting = True
        try:
            self.check()
            yield
        finally:
            self._interrupting = False
        self.check()

    @contextlib.contextmanager
    def telling(self, tell: Callable[[str], object]) -> Iterator[None]:
        """Call `tell` with the name of one that has come, or comes in this block."""
        self._tell = tell
        try:
            if self.asked:
                tell(self.asked)
            yield
        finally:
            self._tell = None


class Failed(Exception):
    """This node cannot become a worker."""

    def __init__(self, cause: Cause, detail: str) -> None:
        super().__init__(cause, detail)
        self.cause, self.detail = cause, detail


def buffer_lines() -> None:
    """Write what is printed at each line's end: the log is a file.

    Python would keep 8 KiB of it back, and a process that is killed never writes them.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)


def main(path: str) -> int:
    """Ask what this node is, then be it. Returns the exit status, see `causes`."""
    buffer_lines()  # forked workers inherit it
    try:
        connection = Connection.read(Path(path))
    except BootstrapError as exc:
        return _give_up(Cause.UNREADABLE, exc.message)
    signals = Signals()
    hello = granted.hello(dialect(connection.dialect))
    # A job that a task submits with `qsub -V` would else look like a node of ours.
    for name in (SUBMISSION, DIRECTORY):
        os.environ.pop(name, None)
    try:
        with signals.interrupting():
            answer = request_allocation(connection, hello)
    except (BootstrapError, MessageError) as exc:
        return _give_up(Cause.UNREACHABLE, exc.message)
    except TerminationRequested as exc:
        return _give_up(Cause.DRAINED, f"{exc} before there was anything to do")
    if isinstance(answer, NotNeeded):
        return _give_up(Cause.LEFT, answer.reason)
    if isinstance(answer, Rejected):
        return _give_up(Cause.REFUSED, answer.reason)
    assert isinstance(answer, Allocation)
    semaphores.remove_stale()
    semaphores.name_after_process()
    return _work(connection, hello, answer, signals)


def _work(
    connection: Connection, hello: Hello, allocation: Allocation, signals: Signals
) -> int:
    """Be the worker, and say farewell however that ends."""
    cause, detail, life = Cause.FINISHED, "", None
    try:
        allocation = _settle(allocation)
        worker = _import_worker(allocation)
        signals.check()
        forked = allocation.start_method == "fork" and template.start()
        worker.choose_start_method(forked=forked)
        life = _run(worker, allocation, signals)
        cause, detail = life.cause, life.detail
    except TerminationRequested as exc:
        cause, detail = Cause.DRAINED, f"{exc} before there was anything to hand over"
    except Failed as exc:
        cause, detail = exc.cause, exc.detail
    exit_report = ExitReport(
        job=hello.job,
        index=hello.index,
        submission_id=hello.submission_id,
        process_token=hello.process_token,
        host=hello.host,
        cause=cause.value,
        detail=detail[:2000],
        exit_status=life.exit_status if life else None,
        signal=life.signal if life else None,
        peak_memory=life.peak_memory if life else 0,
        memory_limit=allocation.memory_limit,
        stderr=_log_tail(),
    )
    # The address that answered the hello; others need not be tried again.
    with contextlib.suppress(Exception):  # a reporter must never be what fails
        send_exit_report(connection, allocation.bootstrap_address, exit_report)
    return _give_up(cause, detail)


def _settle(allocation: Allocation) -> Allocation:
    """Take up the user's working directory, ``sys.path`` and environment.

    And check that there is scratch space.

    Returns
    -------
    Allocation
        The same, with the scratch directory as it is called on this host.
    """
    import tempfile  # like what follows the hello in general: not before it

    if "TMP" in os.environ:
        # Grid Engine takes TMPDIR, but not TMP, from jobs of root (seen with 8.1.9).
        os.environ.setdefault("TMPDIR", os.environ["TMP"])
    os.environ.update(allocation.environment)
    if os.path.isdir(allocation.working_directory):
        os.chdir(allocation.working_directory)
        # ``python -m`` put the directory Grid Engine started us in there: the root.
        sys.path[0] = allocation.working_directory
    _extend_path(allocation.import_path)
    place = allocation.local_directory or os.environ.get("TMPDIR") or "/tmp"
    scratch = os.path.expanduser(os.path.expandvars(place))
    try:
        os.makedirs(scratch, exist_ok=True)
        with tempfile.TemporaryFile(dir=scratch):
            pass
    except OSError as exc:
        raise Failed(Cause.NO_SCRATCH, str(exc)) from exc
    return replace(allocation, local_directory=scratch)


def _extend_path(entries: list[str]) -> None:
    """Import from where the client does, too, as far as that is on this host.

    Behind the node's own entries: the client's must not replace what is installed here.
    """
    for entry in entries:
        archive = entry.endswith((".zip", ".egg", ".whl")) and os.path.isfile(entry)
        if entry not in sys.path and (archive or os.path.isdir(entry)):
            sys.path.append(entry)


def _import_worker(allocation: Allocation) -> ModuleType:
    """Import Dask under the cluster's settings; the slow part of a node's start."""
    gc.disable()  # a collector that runs while everything is new takes 7 % longer
    try:
        from dask_gridengine.worker import fast_import as light

        # Several workers share what they would else import each for itself.
        alone = allocation.processes == 1
        numpy = light.import_dask_without_numpy() if alone else contextlib.nullcontext()
        with light.yaml_in_c(), numpy:
            import dask

            dask.config.update(dask.config.config, allocation.config, priority="new")
            worker = importlib.import_module("dask_gridengine.worker.run")
        if not alone and allocation.start_method == "fork":
            worker.preload()
        return worker
    except Exception as exc:  # a broken package raises anything while it is imported
        import traceback

        traceback.print_exc()
        raise Failed(Cause.NO_IMPORT, f"{type(exc).__name__}: {exc}") from exc
    finally:
        gc.freeze()  # and forked workers keep sharing what it does not touch
        gc.enable()


def _run(worker: ModuleType, allocation: Allocation, signals: Signals) -> WorkerOutcome:
    import asyncio  # 40 ms that a node which is told to leave does not need

    async def live() -> WorkerOutcome:
        loop = asyncio.get_running_loop()
        asked: asyncio.Future[str] = loop.create_future()

        def go(name: str) -> None:
            if not asked.done():
                asked.set_result(name)

        with signals.telling(lambda name: loop.call_soon_threadsafe(go, name)):
            life: WorkerOutcome = await worker.live(allocation, asked)
        return life

    return asyncio.run(live())


def _log_tail() -> str:
    """The end of this node's log, where its standard error is a file."""
    try:
        sys.stderr.flush()
        if not stat.S_ISREG(os.fstat(2).st_mode):
            return ""
        with open("/proc/self/fd/2", "rb") as log:
            log.seek(max(0, os.fstat(2).st_size - STDERR_GRACE))
            return log.read(STDERR_GRACE).decode(errors="replace")
    except OSError:
        return ""


def _give_up(cause: Cause, detail: str) -> int:
    """Say it where the user will look; the log's last line is read by the cluster."""
    one_line = " ".join(detail.split()) or cause.value
    sys.stderr.write(f"on {os.uname().nodename}: {one_line}\n")
    return EXIT_STATUS[cause]


if __name__ == "__mp_main__":
    # A spawned worker, on its way up: the signals of its group are the node's to obey.
    for _courtesy in template.NOTIFY_SIGNALS:
        signal.signal(_courtesy, signal.SIG_IGN)
    buffer_lines()

if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
