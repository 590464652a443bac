"""One run of a job, as its host knows it: whether it has ended, how, and what it said.

Nothing of Dask is in here. A job's owner waits in any thread; `background` and
`dispatch` say from theirs what has happened.
"""

from __future__ import annotations

import itertools
import logging
import signal
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

from dask_gridengine.scheduler.exception_notes import annotate
from gridengine import ending
from gridengine.controller import Ended, exit_code
from gridengine.errors import TimeoutError, WorkerDied
from gridengine.sealed import Sealed

logger = logging.getLogger(__name__)

#: Identities begin above every process id that Linux has, so that ``os.kill(job.pid)``,
#: right for a `multiprocessing.Process`, ends nobody.
_idents = itertools.count(2**22 + 1)


class Stopped(CancelledError):
    """A job was ended by `terminate` or `kill`, or with its dispatcher.

    Parameters
    ----------
    message
        Which, and by what.
    code
        Its exit code.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message, code)
        self.code = code

    def __str__(self) -> str:
        return str(self.args[0])


class Run:
    """One run of a job.

    Parameters
    ----------
    name
        What to call the job in messages.
    daemon
        Whether Python may end before it does.
    """

    def __init__(self, name: str, *, daemon: bool) -> None:
        self.name, self.ident = name, next(_idents)
        #: Ends it early, for the reason given; None where that cannot be done.
        self.stop: Callable[[Stopped], None] | None = None
        #: What its cluster says of its nodes; "" if nothing is known.
        self.explain: Callable[[], str] = str
        self.value: Any = None
        self.error: BaseException | None = None
        self.exitcode: int | None = None  # None until it has ended
        self.asked = False  # whether anybody wanted to know how it ended
        self._inbox: deque[Sealed] = deque()
        self._changed = threading.Condition()
        if not daemon:
            ending.wait_for(self)

    # What background threads say

    def deliver(self, message: Sealed) -> None:
        """The job has sent this. Ignored after the end."""
        with self._changed:
            if self.exitcode is None:
                self._inbox.append(message)
                self._changed.notify_all()

    def end(self, value: Any, error: BaseException | None) -> None:
        """The job has ended; what it sent has been delivered. The first end counts."""
        with self._changed:
            if self.exitcode is None:
                self.value, self.error = value, error
                self.exitcode = _code(error)
                self.explain = str
                self._changed.notify_all()
        ending.forget(self)

    # What the job's owner asks

    @property
    def ended(self) -> bool:
        """Whether it has."""
        return self.exitcode is not None

    def wait(self, timeout: float | None) -> bool:
        """Wait for the end; whether it came within `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self.ended, timeout)

    def poll(self, timeout: float | None) -> bool:
        """Wait for a message; whether there is one within `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._inbox or self.ended, timeout)
            return bool(self._inbox)

    def receive(self, timeout: float | None) -> Any:
        """The next message.

        Raises
        ------
        TimeoutError
            If there is none within `timeout` seconds.
        EOFError
            If there will be none any more.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._inbox or self.ended, timeout)
            if not self._inbox and self.ended:
                raise EOFError(f"{self.name} has ended, and all it sent was received")
            if not self._inbox:
                raise self._late(f"{self.name} sent nothing for {timeout} s")
            message = self._inbox.popleft()
        return message.open()

    def result(self, timeout: float | None) -> Any:
        """The job's result.

        Raises
        ------
        TimeoutError
            If it has not ended within `timeout` seconds.
        BaseException
            The job's own.
        """
        error = self.exception(timeout)
        if error is not None:
            raise error
        return self.value

    def exception(self, timeout: float | None) -> BaseException | None:
        """What the job has raised; waits as `result` does."""
        if not self.wait(timeout):
            raise self._late(f"{self.name} has not ended within {timeout} s")
        self.asked = True
        return self.error

    def _late(self, evidence: str) -> TimeoutError:
        """With a note on what its cluster is at: perhaps it waits for a node."""
        error = TimeoutError(evidence)
        annotate(error, self.explain())
        return error

    def __del__(self) -> None:
        failed = getattr(self, "exitcode", None) == 1 and not self.asked
        # Once Python ends only daemons are left, which fail with their cluster.
        if failed and threading.main_thread().is_alive():
            # As asyncio does for tasks: a thread would have printed a traceback.
            logger.error(
                "%s has failed, and nobody asked for its result",
                self.name,
                exc_info=self.error,
            )


class AtHost:
    """What a job has at home: where to run, and its run. None of it travels with it.

    Parameters
    ----------
    scheduler
        Where to run.
    """

    def __init__(self, scheduler: Any) -> None:
        self.scheduler, self.daemon = scheduler, False
        self.run: Run | None = None
        self.closed = False

    @property
    def state(self) -> str:
        """For a repr; empty before the start, and on a worker."""
        if self.closed:
            return ", closed"
        if self.run is None:
            return ""
        if self.run.exitcode is None:
            return ", started"
        return f", ended with {self.run.exitcode}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _nothing, ()


def _nothing() -> None:
    return None


def settle(job: Any, run: Run, value: Any, error: BaseException | None) -> Any:
    """Take what came back of a job, and end its run; the result or the exception.

    Parameters
    ----------
    job
        Its attributes are brought up to date if it is mutable.
    run
        Is ended.
    value
        As `perform` returned it.
    error
        What was raised instead.
    """
    if isinstance(value, Ended):
        vars(job).update(value.attributes)
        alone = job.id == run.ident
        failure = value.failure
        error = None if failure is None else failure.rebuild(alone=alone)
        value = value.value
    run.end(value, error)
    return value if error is None else error


def _code(error: BaseException | None) -> int:
    if isinstance(error, WorkerDied):
        return -signal.SIGKILL
    return error.code if isinstance(error, Stopped) else exit_code(error)
